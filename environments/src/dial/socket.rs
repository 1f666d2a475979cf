//! The byte stream below a websocket, plain or secured.

use std::pin::Pin;
use std::task::{Context, Poll};

use farstep_transport::tls::{Client, Facts, TlsError, TlsStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection to an executor, or to a proxy on the way.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    /// Secured over what was there before, which may be a secured way to a proxy.
    Tls(Box<TlsStream<Socket>>),
}

impl Socket {
    /// The same way, secured to `host`.
    pub(crate) async fn secure(
        self,
        client: &Client,
        host: &str,
    ) -> Result<(Socket, Facts), TlsError> {
        let stream = client.connect(host, self).await?;
        let facts = Facts::of(&stream);
        Ok((Socket::Tls(Box::new(stream)), facts))
    }
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Socket::Tls(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        forward!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        forward!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        forward!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        forward!(self, stream => stream.poll_shutdown(cx))
    }
}
