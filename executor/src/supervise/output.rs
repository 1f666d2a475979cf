//! What a program writes, on its way to whoever reads us.

use std::future::poll_fn;
use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::secrets::{Masked, Secrets};
use crate::os::{Output, Read};

/// What is read at once.
const PIECE_BYTES: usize = 16 * 1024;

/// Everything a program wrote.
pub(super) enum Collected {
    Whole(Zeroizing<Vec<u8>>),
    TooMuch,
}

/// Reads to the end, at most `max` bytes.
pub(super) async fn collect(output: &mut Output, max: usize) -> io::Result<Collected> {
    let mut all = Zeroizing::new(Vec::with_capacity(max));
    let mut piece = BytesMut::with_capacity(PIECE_BYTES);
    loop {
        let read = poll_fn(|cx| output.poll_read(cx, &mut piece, PIECE_BYTES)).await?;
        let fits = all.len() + piece.len() <= max;
        if fits {
            all.extend_from_slice(&piece);
        }
        piece.as_mut().zeroize();
        piece.clear();
        match (read, fits) {
            (_, false) => return Ok(Collected::TooMuch),
            (Read::End, true) => return Ok(Collected::Whole(all)),
            (_, true) => {}
        }
    }
}

/// Passes an output on to its end, without the secrets. `seen` gets everything too. Whoever does not
/// read holds the program up; whoever is gone does not.
pub(super) async fn pass_on(
    mut from: Output,
    mut to: impl AsyncWrite + Unpin,
    secrets: Secrets,
    mut seen: impl FnMut(&[u8]),
) {
    let mut masked = Masked::new(secrets);
    let mut is_read = true;
    let mut piece = BytesMut::with_capacity(PIECE_BYTES);
    loop {
        let read = poll_fn(|cx| from.poll_read(cx, &mut piece, PIECE_BYTES)).await;
        let passed = masked.pass(&piece);
        piece.clear();
        seen(&passed);
        is_read = is_read && put(&mut to, &passed).await.is_ok();
        if !matches!(read, Ok(Read::Some | Read::Filled | Read::Nothing)) {
            break;
        }
    }
    let rest = masked.finish();
    seen(&rest);
    if is_read {
        // Nobody is left to tell.
        let _ = put(&mut to, &rest).await;
    }
}

async fn put(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    to.write_all(bytes).await?;
    to.flush().await
}
