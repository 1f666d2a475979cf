//! A socket that notices what arrives while much is sent over it.
//!
//! The runtime hears of arrivals when a worker has nothing else to do. A task that streams hardly
//! ever lets it, so a small request behind a flood of output would wait for the flood to pause.
//! After each large write the system itself is asked once; that costs a hundredth of the write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::os;

/// A write from here on takes so long that something may have arrived meanwhile.
const LARGE_WRITE_BYTES_MIN: usize = 16 * 1024;

/// What is read at most when the system is asked. Cleared each time.
const ASKED_BYTES_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct Eager {
    tcp: TcpStream,
    /// Something large was written since the system was asked.
    asks: bool,
}

impl Eager {
    pub(super) fn new(tcp: TcpStream) -> Eager {
        Eager { tcp, asks: false }
    }
}

impl AsyncRead for Eager {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        if read.is_ready() || !std::mem::take(&mut self.asks) {
            return read;
        }
        let room = buffer.remaining().min(ASKED_BYTES_MAX);
        // Whatever goes wrong is told to whoever waits.
        match os::read_now(&self.tcp, buffer.initialize_unfilled_to(room)) {
            Ok(count @ 1..) => {
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
            Ok(0) | Err(_) => Poll::Pending,
        }
    }
}

impl AsyncWrite for Eager {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, bytes))?;
        self.asks |= written >= LARGE_WRITE_BYTES_MIN;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.tcp).poll_write_vectored(cx, slices))?;
        self.asks |= written >= LARGE_WRITE_BYTES_MIN;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write as _;

    use futures_util::FutureExt as _;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_arrives_during_a_large_write_is_noticed_before_the_runtime_hears_of_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut eager = Eager::new(listener.accept().await.unwrap().0);
        // From here on the runtime knows that the socket takes something, and gives nothing.
        eager.write_all(b"hello").await.unwrap();
        let mut room = [0; 10];
        assert!(eager.read(&mut room).now_or_never().is_none());

        peer.write_all(b"request").unwrap();
        let mut arrival = [PollFd::new(&eager.tcp, PollFlags::IN)];
        let patience = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut arrival, Some(&patience)).unwrap(), 1);
        assert!(eager.read(&mut room).now_or_never().is_none());

        let large = [0; LARGE_WRITE_BYTES_MIN];
        let written = eager.write(&large).now_or_never().unwrap().unwrap();
        assert_eq!(written, large.len());
        let read = eager.read(&mut room).now_or_never().unwrap().unwrap();
        assert_eq!(&room[..read], b"request");
        // Once is enough.
        assert!(!eager.asks && eager.read(&mut room).now_or_never().is_none());
    }
}
