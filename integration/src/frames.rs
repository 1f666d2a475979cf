//! Websockets as links see them: the answer to an upgrade, and frames behind it.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A websocket frame of data, whole, in one message.
const BINARY: u8 = 0x82;

/// One frame as it came.
pub(crate) struct Frame {
    /// All of it, to be passed on.
    pub(crate) raw: Vec<u8>,
    head: usize,
    mask: Option<[u8; 4]>,
}

impl Frame {
    /// The next one.
    pub(crate) async fn read(from: &mut OwnedReadHalf) -> io::Result<Frame> {
        let mut raw = vec![0; 2];
        from.read_exact(&mut raw).await?;
        let more = match raw[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let is_masked = raw[1] & 0x80 != 0;
        let mut length = vec![0; more];
        from.read_exact(&mut length).await?;
        let bytes = match more {
            0 => u64::from(raw[1] & 0x7f),
            _ => length
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        raw.extend(length);
        let mut mask = None;
        if is_masked {
            let mut key = [0; 4];
            from.read_exact(&mut key).await?;
            raw.extend(key);
            mask = Some(key);
        }
        let head = raw.len();
        raw.resize(head + usize::try_from(bytes).unwrap_or(usize::MAX), 0);
        from.read_exact(&mut raw[head..]).await?;
        Ok(Frame { raw, head, mask })
    }

    /// What it carries, if it is a message of bytes.
    pub(crate) fn payload(&self) -> Option<Vec<u8>> {
        if self.raw.first() != Some(&BINARY) {
            return None;
        }
        let mut payload = self.raw.get(self.head..)?.to_vec();
        if let Some(mask) = self.mask {
            for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= key;
            }
        }
        Some(payload)
    }
}

/// Carries the head of a request or of its answer, and says what it was.
pub(crate) async fn carry_head(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await?);
    }
    to.write_all(&head).await?;
    Ok(head)
}
