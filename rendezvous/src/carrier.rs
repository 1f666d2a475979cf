//! The byte stream of an accepted connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use farstep_transport::tls::server::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What the kernel may receive that nobody has read yet, in bytes; it takes it twice. Everything that
/// shares the websocket waits behind it, so it is not the tens of megabytes that a kernel allows. An
/// executor that is 100 ms away still sends some 20 MiB a second.
const UNREAD_BYTES_MAX: usize = 1024 * 1024;

/// The most that a program may ask for.
const ALLOWED: &str = "/proc/sys/net/core/rmem_max";

/// With TLS or without.
#[derive(Debug)]
pub(crate) enum Carrier {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

impl Carrier {
    /// Has many streams share it, none of which is to wait long behind another.
    pub(crate) fn share(&self) {
        static ALLOWS: LazyLock<bool> = LazyLock::new(|| {
            let most = std::fs::read_to_string(ALLOWED).ok();
            let most = most.and_then(|most| most.trim().parse().ok());
            most.is_some_and(|most: usize| most >= UNREAD_BYTES_MAX)
        });
        // Where less is allowed, it is so little that who is far away would be slowed.
        if *ALLOWS {
            let socket = socket2::SockRef::from(self.tcp());
            if let Err(error) = socket.set_recv_buffer_size(UNREAD_BYTES_MAX) {
                tracing::debug!(%error, "the socket is gone already");
            }
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Carrier::Plain(tcp) => tcp,
            Carrier::Secured(tls) => tls.get_ref().0,
        }
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Carrier::Plain(tcp) => Pin::new(tcp).poll_read(cx, room),
            Carrier::Secured(tls) => Pin::new(tls).poll_read(cx, room),
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Carrier::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Carrier::Secured(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Carrier::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Carrier::Secured(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Carrier::Plain(tcp) => tcp.is_write_vectored(),
            Carrier::Secured(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Carrier::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Carrier::Secured(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Carrier::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Carrier::Secured(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
