//! Messages out of what arrives on a websocket.

use std::io::{self, Cursor};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use farstep_protocol::relay::FRAME_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf, ReadHalf};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Read at once from a peer that says little, without memory of its own.
const LITTLE_BYTES: usize = 4 * 1024;

/// Read at once from a peer that fills the above.
const AHEAD_BYTES: usize = 64 * 1024;

/// Frames from here on are read into memory of their own. Below, copying costs less than asking the
/// system for each, and a frame that waits does not hold the memory of all that came with it.
const LARGE_BYTES_MIN: usize = 8 * 1024;

/// Read along with a large frame, so that the header of the next is there with it.
const TAIL_BYTES: usize = 512;

/// The payload of a control frame (RFC 6455).
const CONTROL_BYTES_MAX: usize = 125;

/// What a peer says.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::relay) enum Said {
    /// A message of the relay.
    Binary(Bytes),
    /// Wants to be answered with the same.
    Ping(Bytes),
    /// A sign of life, and nothing else to us.
    Other,
    /// Goodbye.
    Close,
}

/// How a peer breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::relay) enum Fault {
    /// A message above [`FRAME_BYTES_MAX`].
    TooLarge,
    /// Not what RFC 6455 wants from a client.
    Rules,
}

/// What arrived and was not taken yet.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// Bytes from the beginning of a frame on.
    ahead: BytesMut,
    /// The last read filled all the room there was.
    is_hungry: bool,
    large: Option<Large>,
    /// What was said so far of a message in several frames, and whether it is binary.
    parts: Option<(BytesMut, bool)>,
}

/// A frame that arrives in its own memory, with [`TAIL_BYTES`] to spare.
#[derive(Debug)]
struct Large {
    head: Head,
    bytes: BytesMut,
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug)]
struct Head {
    opcode: OpCode,
    is_final: bool,
    mask: [u8; 4],
    length: usize,
}

impl Incoming {
    /// `read` is what arrived already.
    pub(super) fn new(read: &[u8]) -> Incoming {
        Incoming {
            ahead: BytesMut::from(read),
            ..Incoming::default()
        }
    }

    /// The memory that is kept for what comes next, in bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let large = self.large.as_ref();
        self.ahead.capacity() + large.map_or(0, |large| large.bytes.capacity())
    }

    /// What was said, as far as it is here whole.
    pub(super) fn take(&mut self) -> Result<Option<Said>, Fault> {
        while let Some((head, bytes)) = self.take_frame()? {
            if let Some(said) = self.understand(head, bytes)? {
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    fn take_frame(&mut self) -> Result<Option<(Head, BytesMut)>, Fault> {
        if let Some(large) = self.large.take_if(|large| large.is_whole()) {
            let Large { head, mut bytes } = large;
            let tail = bytes.get(head.length..).unwrap_or_default();
            self.ahead.extend_from_slice(tail);
            bytes.truncate(head.length);
            return Ok(Some((head, bytes)));
        }
        if self.large.is_some() {
            return Ok(None);
        }
        let Some((head, begin)) = Head::parse(&self.ahead)? else {
            if self.ahead.is_empty() && !self.is_hungry {
                self.ahead = BytesMut::new();
            }
            return Ok(None);
        };
        let end = begin + head.length;
        if let Some(bytes) = self.ahead.get(begin..end) {
            let mut bytes = BytesMut::from(bytes);
            unmask(&mut bytes, head.mask, 0);
            self.ahead.advance(end);
            return Ok(Some((head, bytes)));
        }
        if head.length < LARGE_BYTES_MIN {
            let missing = end.saturating_sub(self.ahead.len());
            self.ahead.reserve(missing + TAIL_BYTES);
            return Ok(None);
        }
        let mut bytes = BytesMut::with_capacity(head.length + TAIL_BYTES);
        self.ahead.advance(begin);
        bytes.extend_from_slice(&self.ahead);
        unmask(&mut bytes, head.mask, 0);
        self.large = Some(Large { head, bytes });
        // What comes behind it is read as from anybody.
        self.ahead = BytesMut::new();
        self.is_hungry = false;
        Ok(None)
    }

    /// `None` for a part of something.
    fn understand(&mut self, head: Head, bytes: BytesMut) -> Result<Option<Said>, Fault> {
        let (said, is_binary) = match head.opcode {
            OpCode::Control(control) => {
                return Ok(Some(match control {
                    Control::Close => Said::Close,
                    Control::Ping => Said::Ping(bytes.freeze()),
                    Control::Pong | Control::Reserved(_) => Said::Other,
                }));
            }
            OpCode::Data(Data::Continue) => {
                let (mut said, is_binary) = self.parts.take().ok_or(Fault::Rules)?;
                if said.len() + bytes.len() > FRAME_BYTES_MAX {
                    return Err(Fault::TooLarge);
                }
                said.extend_from_slice(&bytes);
                (said, is_binary)
            }
            // A message begins only behind the end of the one before.
            OpCode::Data(_) if self.parts.is_some() => return Err(Fault::Rules),
            OpCode::Data(kind) => (bytes, kind == Data::Binary),
        };
        Ok(match (head.is_final, is_binary) {
            (true, true) => Some(Said::Binary(said.freeze())),
            (true, false) => Some(Said::Other),
            (false, _) => {
                self.parts = Some((said, is_binary));
                None
            }
        })
    }

    /// Reads once. 0 is the end of the connection.
    pub(super) fn poll_fill<S: AsyncRead>(
        &mut self,
        stream: &mut ReadHalf<S>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // Dropping the future of a read that is not ready loses nothing.
        if let Some(Large { head, bytes }) = &mut self.large {
            let begin = bytes.len();
            let count = ready!(pin!(stream.read_buf(bytes)).poll(cx))?;
            let end = bytes.len().min(head.length);
            unmask(
                bytes.get_mut(begin..end).unwrap_or_default(),
                head.mask,
                begin,
            );
            return Poll::Ready(Ok(count));
        }
        if self.ahead.is_empty() && !self.is_hungry {
            let mut room = [MaybeUninit::uninit(); LITTLE_BYTES];
            let mut room = ReadBuf::uninit(&mut room);
            ready!(Pin::new(stream).poll_read(cx, &mut room))?;
            self.is_hungry = room.remaining() == 0;
            self.ahead.extend_from_slice(room.filled());
            return Poll::Ready(Ok(room.filled().len()));
        }
        let room = if self.is_hungry {
            AHEAD_BYTES
        } else {
            LITTLE_BYTES
        };
        self.ahead.reserve(room);
        let room = self.ahead.capacity();
        let read = pin!(stream.read_buf(&mut self.ahead)).poll(cx);
        self.is_hungry = self.ahead.len() == room;
        if self.ahead.is_empty() {
            // The peer pauses: nothing is kept for it.
            self.ahead = BytesMut::new();
        }
        read
    }
}

impl Large {
    fn is_whole(&self) -> bool {
        self.bytes.len() >= self.head.length
    }
}

impl Head {
    /// The frame that begins with `bytes`, and how long its header is. `None` when that is not here
    /// whole.
    fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Fault> {
        let mut cursor = Cursor::new(bytes);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Fault::Rules)?;
        let Some((header, length)) = parsed else {
            return Ok(None);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let is_control = matches!(header.opcode, OpCode::Control(_));
        // Nothing was negotiated that would use the reserved bits.
        let is_odd = header.rsv1 || header.rsv2 || header.rsv3;
        if is_odd || (is_control && (!header.is_final || length > CONTROL_BYTES_MAX)) {
            return Err(Fault::Rules);
        }
        if length > FRAME_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let head = Head {
            opcode: header.opcode,
            is_final: header.is_final,
            mask: header.mask.ok_or(Fault::Rules)?,
            length,
        };
        let begin = usize::try_from(cursor.position()).unwrap_or(bytes.len());
        Ok(Some((head, begin)))
    }
}

/// Takes the mask off bytes that stand at `begin` of their frame. Words at a time, which the compiler
/// makes as wide as the machine is.
#[inline(never)]
fn unmask(bytes: &mut [u8], mut mask: [u8; 4], begin: usize) {
    let turned = begin % mask.len();
    mask.rotate_left(turned);
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}
