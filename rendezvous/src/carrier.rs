//! The byte stream of an accepted connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use farstep_transport::tls::server::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// With TLS or without.
#[derive(Debug)]
pub(crate) enum Carrier {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

impl Carrier {
    /// What is below.
    pub(crate) fn tcp(&self) -> &TcpStream {
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
