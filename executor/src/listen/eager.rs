//! A socket that notices what arrives while much is sent over it.
//!
//! The runtime hears of arrivals when a worker has nothing else to do. A task that streams hardly
//! ever lets it, so a small request behind a flood of output would wait for the flood to pause.
//! After each large write the system itself is asked once; that costs a hundredth of the write.
//!
//! Whoever reads from it may also want to wait for a moment without sleeping. Then the system is
//! asked again and again, and the runtime hears of what came when it is read already.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use farstep_transport::Attention;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::os;

/// A write from here on takes so long that something may have arrived meanwhile.
const LARGE_WRITE_BYTES_MIN: usize = 16 * 1024;

/// What is read at most when the system is asked. Cleared each time.
const ASKED_BYTES_MAX: usize = 1024;

/// The same while it is asked again and again: a small call whole.
const WATCHED_BYTES_MAX: usize = 4 * 1024;

/// The same behind one that filled all the room there was.
const NEXT_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Eager {
    tcp: TcpStream,
    /// What to read at most without the runtime, if anything: something large was written, or there
    /// was more, since the system was asked.
    asks: usize,
    attention: Attention,
}

impl Eager {
    pub(super) fn new(tcp: TcpStream, attention: Attention) -> Eager {
        Eager {
            tcp,
            asks: 0,
            attention,
        }
    }

    /// Asks the system again and again, for a moment.
    fn watch(&mut self, moment: Duration, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let begin = Instant::now();
        loop {
            match self.ask(WATCHED_BYTES_MAX, buffer) {
                Ok(true) => {
                    self.attention.found();
                    return Poll::Ready(Ok(()));
                }
                Ok(false) if begin.elapsed() < moment => std::hint::spin_loop(),
                // Whatever goes wrong is told to whoever waits.
                Ok(false) | Err(_) => return Poll::Pending,
            }
        }
    }

    /// Asks the system once; says whether there was something. The end is for the runtime to tell.
    fn ask(&mut self, bytes_max: usize, buffer: &mut ReadBuf<'_>) -> io::Result<bool> {
        let room = buffer.remaining().min(bytes_max);
        match os::read_now(&self.tcp, buffer.initialize_unfilled_to(room)) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer.advance(count);
                if count == room {
                    self.asks = NEXT_BYTES_MAX;
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl AsyncRead for Eager {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        if read.is_ready() {
            return read;
        }
        if let Some(moment) = self.attention.due() {
            return self.watch(moment, buffer);
        }
        match std::mem::take(&mut self.asks) {
            0 => read,
            bytes_max => match self.ask(bytes_max, buffer) {
                Ok(true) => Poll::Ready(Ok(())),
                Ok(false) | Err(_) => Poll::Pending,
            },
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
        if written >= LARGE_WRITE_BYTES_MIN {
            self.asks = self.asks.max(ASKED_BYTES_MAX);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.tcp).poll_write_vectored(cx, slices))?;
        if written >= LARGE_WRITE_BYTES_MIN {
            self.asks = self.asks.max(ASKED_BYTES_MAX);
        }
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

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn what_arrives_during_a_large_write_is_noticed_before_the_runtime_hears_of_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut eager = Eager::new(listener.accept().await.unwrap().0, Attention::default());
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
        assert!(eager.asks == 0 && eager.read(&mut room).now_or_never().is_none());
    }

    #[tokio::test]
    async fn what_arrives_while_it_is_watched_is_read_whole_before_the_runtime_hears_of_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let attention = Attention::default();
        let mut eager = Eager::new(listener.accept().await.unwrap().0, attention.clone());
        eager.write_all(b"hello").await.unwrap();
        let mut room = [0; 3 * WATCHED_BYTES_MAX];
        assert!(eager.read(&mut room).now_or_never().is_none());

        // Nothing comes for a moment.
        attention.pay(Duration::from_nanos(1));
        assert!(eager.read(&mut room).now_or_never().is_none() && !attention.end());
        // Something comes, more than is read at once.
        attention.pay(PATIENCE);
        let sent = [7; 2 * WATCHED_BYTES_MAX];
        let sending = std::thread::spawn(move || peer.write_all(&sent));
        let mut read = 0;
        while read < sent.len() {
            match eager.read(&mut room[read..]).now_or_never() {
                Some(count) => read += count.unwrap(),
                // It came in pieces.
                None => attention.pay(PATIENCE),
            }
        }
        assert!(room[..read] == sent);
        sending.join().unwrap().unwrap();
    }
}
