//! Dialling: name, TCP, TLS, upgrade; all within one time limit.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, header::AUTHORIZATION};
use tokio_tungstenite::tungstenite::{self};
use url::{Host, Url};

use super::{Options, WebSocket};
use crate::DialError;

/// What to dial, and how long to try.
#[derive(Clone)]
pub struct Dial<'a> {
    /// A `ws://` or `wss://` URL.
    pub url: &'a str,
    /// Sent verbatim as `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
    /// For name, TCP, TLS and upgrade together.
    pub timeout: Duration,
    /// How the connection is set up.
    pub options: Options,
}

impl std::fmt::Debug for Dial<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is left out.
        f.debug_struct("Dial")
            .field("url", &self.url)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Opens a websocket.
///
/// Costs one round trip for TCP, one for the upgrade, and those of TLS between them.
pub async fn dial(dial: Dial<'_>) -> Result<WebSocket<Socket>, DialError> {
    let after = dial.timeout;
    let url = dial.url.to_owned();
    tokio::time::timeout(after, open(dial))
        .await
        .unwrap_or(Err(DialError::TimedOut { url, after }))
}

async fn open(dial: Dial<'_>) -> Result<WebSocket<Socket>, DialError> {
    let request = request(&dial)?;
    let refused_url = |reason: &str| DialError::Url {
        url: dial.url.to_owned(),
        reason: reason.to_owned(),
    };
    let url = Url::parse(dial.url).map_err(|error| refused_url(&error.to_string()))?;
    let is_tls = match url.scheme() {
        "ws" => false,
        "wss" => true,
        _ => return Err(refused_url("the scheme must be ws or wss")),
    };
    let port = url.port_or_known_default().unwrap_or(80);
    let socket = match url.host() {
        Some(Host::Domain(name)) => TcpStream::connect((name, port)).await,
        Some(Host::Ipv4(address)) => TcpStream::connect((address, port)).await,
        Some(Host::Ipv6(address)) => TcpStream::connect((address, port)).await,
        None => return Err(refused_url("it names no host")),
    };
    let connect_failed = |source| DialError::Connect {
        url: dial.url.to_owned(),
        source,
    };
    let socket = socket.map_err(connect_failed)?;
    socket.set_nodelay(true).map_err(connect_failed)?;
    let socket = if is_tls {
        secure(dial.url, url.host_str().unwrap_or_default(), socket).await?
    } else {
        Socket::Plain(socket)
    };
    let config = Some(dial.options.config());
    match client_async_with_config(request, socket, config).await {
        Ok((inner, _response)) => Ok(WebSocket::over(inner, &dial.options)),
        Err(tungstenite::Error::Http(response)) => Err(DialError::Refused {
            url: dial.url.to_owned(),
            reason: format!("HTTP status {}", response.status()),
            status: Some(response.status().as_u16()),
        }),
        Err(tungstenite::Error::Io(source)) => Err(connect_failed(source)),
        Err(error) => Err(DialError::Refused {
            url: dial.url.to_owned(),
            reason: error.to_string(),
            status: None,
        }),
    }
}

fn request(dial: &Dial<'_>) -> Result<Request<()>, DialError> {
    let mut request = dial
        .url
        .into_client_request()
        .map_err(|error| DialError::Url {
            url: dial.url.to_owned(),
            reason: error.to_string(),
        })?;
    if let Some(token) = dial.bearer {
        let mut value =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| DialError::Bearer)?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(request)
}

#[cfg(feature = "tls")]
async fn secure(url: &str, host: &str, socket: TcpStream) -> Result<Socket, DialError> {
    match crate::tls::connect(host, socket).await {
        Ok(stream) => Ok(Socket::Tls(Box::new(stream))),
        Err(error) => Err(DialError::Tls {
            url: url.to_owned(),
            reason: error.to_string(),
        }),
    }
}

#[cfg(not(feature = "tls"))]
async fn secure(url: &str, _host: &str, _socket: TcpStream) -> Result<Socket, DialError> {
    Err(DialError::Url {
        url: url.to_owned(),
        reason: "this program was built without TLS".to_owned(),
    })
}

/// A dialled byte stream, plain or secured.
#[derive(Debug)]
pub enum Socket {
    /// `ws://`
    Plain(TcpStream),
    /// `wss://`
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

macro_rules! forward {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            #[cfg(feature = "tls")]
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
