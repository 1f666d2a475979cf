//! Bytes that arrive in pieces, with nothing to read in between; what is written is kept.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::task::noop_waker_ref;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A reader that gives `sizes` in turn, each piece followed by nothing for one poll, and a writer.
#[derive(Debug)]
pub struct Trickle {
    bytes: Vec<u8>,
    at: usize,
    sizes: Vec<u8>,
    next_size: usize,
    is_dry: bool,
    /// What was written.
    pub written: Vec<u8>,
}

impl Trickle {
    /// Gives `bytes` in pieces of `sizes`, over and over; all at once if there are none.
    pub fn new(bytes: &[u8], sizes: &[u8]) -> Trickle {
        Trickle {
            bytes: bytes.to_vec(),
            at: 0,
            sizes: sizes.to_vec(),
            next_size: 0,
            is_dry: false,
            written: Vec::new(),
        }
    }
}

impl AsyncRead for Trickle {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut size = room.remaining().min(this.bytes.len() - this.at);
        if !this.sizes.is_empty() {
            this.is_dry = !this.is_dry;
            if this.is_dry {
                return Poll::Pending;
            }
            let wanted = usize::from(this.sizes[this.next_size % this.sizes.len()]) + 1;
            this.next_size += 1;
            size = size.min(wanted);
        }
        room.put_slice(&this.bytes[this.at..this.at + size]);
        this.at += size;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Trickle {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Everything a stream yields until it ends; after `polls_max` polls it counts as stuck.
pub fn drain<S: Stream + Unpin>(stream: &mut S, polls_max: usize) -> Vec<S::Item> {
    let mut cx = Context::from_waker(noop_waker_ref());
    let mut out = Vec::new();
    for _ in 0..polls_max {
        match Pin::new(&mut *stream).poll_next(&mut cx) {
            Poll::Ready(Some(item)) => out.push(item),
            Poll::Ready(None) => return out,
            Poll::Pending => {}
        }
    }
    panic!("{} items, and no end after {polls_max} polls", out.len());
}
