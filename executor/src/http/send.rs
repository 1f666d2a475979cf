//! Sending a prepared request and reading what comes back.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use farstep_protocol::method::http::ResponseHeader;
use farstep_transport::tls;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName,
    HeaderValue, LOCATION, PROXY_AUTHORIZATION,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use url::{Host, Url};

use super::args::Settings;
use super::prepare::{PrepareError, Prepared, web};
use super::rules::OffLimits;
use super::{HEAD_BYTES_MAX, HEADERS_MAX, REDIRECTS_MAX};

/// How long one address may take to be connected to, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(30);

/// What never goes along to another host: the headers of HTTP that hold credentials, and those
/// that services use for theirs.
const CREDENTIALS: [HeaderName; 9] = [
    AUTHORIZATION,
    COOKIE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("api-key"),
    HeaderName::from_static("private-token"),
    HeaderName::from_static("x-amz-security-token"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-auth-token"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Names that are being looked up at once by the whole executor. A look-up holds a thread of the
/// pool until the system gives up, so a name server that is gone must not take all of them from
/// the calls that need files; more look-ups wait, within their requests' deadlines.
static LOOK_UPS: Semaphore = Semaphore::const_new(4);

/// Who says where a name leads.
pub(super) trait Resolve: Sync {
    /// The addresses of `name` now, each with `port`. Asked once for each connection, so that what
    /// was judged is what is dialled, whatever a second answer would say.
    fn resolve(
        &self,
        name: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// The system's own way.
struct System;

/// How a response begins. Its headers do not show their values.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Vec<ResponseHeader>,
}

/// What follows the head. The connection lives as long as this does.
#[derive(Debug)]
pub(crate) struct Body {
    incoming: Incoming,
    _connection: AbortOnDropHandle<()>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the host cannot be resolved: {0}")]
    Resolve(io::Error),
    #[error("{address} is not reached: {reason}")]
    OffLimits { address: IpAddr, reason: OffLimits },
    #[error("failed to connect: {0}")]
    Connect(io::Error),
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    #[error("connecting took longer than {CONNECT_MAX:?}")]
    ConnectTimedOut,
    #[error("the exchange failed: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("more than {REDIRECTS_MAX} redirects")]
    Redirects,
    #[error("the redirect leads nowhere: {0}")]
    Redirect(PrepareError),
    #[error("the request cannot be written: {0}")]
    Write(#[from] http::Error),
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
#[error("the body broke: {0}")]
pub(crate) struct BodyError(#[from] hyper::Error);

impl SendError {
    /// What a record calls a request that was not made.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        match self {
            SendError::OffLimits { .. } => Some("address"),
            _ => None,
        }
    }
}

/// Sends the request and follows redirects, if it says so.
pub(crate) async fn send(
    request: Prepared,
    settings: &Settings,
) -> Result<(Head, Body), SendError> {
    send_by(request, settings, &System).await
}

async fn send_by(
    mut request: Prepared,
    settings: &Settings,
    names: &impl Resolve,
) -> Result<(Head, Body), SendError> {
    for _ in 0..=REDIRECTS_MAX {
        let (response, connection) = once(&request, settings, names).await?;
        match redirect(&request, &response) {
            Some(location) => follow(&mut request, response.status(), &location)?,
            None => {
                let (head, incoming) = response.into_parts();
                let head = Head {
                    status: head.status.as_u16(),
                    headers: shown(&head.headers),
                };
                let body = Body {
                    incoming,
                    _connection: connection,
                };
                return Ok((head, body));
            }
        }
    }
    Err(SendError::Redirects)
}

async fn once(
    request: &Prepared,
    settings: &Settings,
    names: &impl Resolve,
) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), SendError> {
    let connecting = connect(&request.url, settings, names);
    let tcp = tokio::time::timeout(CONNECT_MAX, connecting).await;
    let tcp = tcp.unwrap_or(Err(SendError::ConnectTimedOut))?;
    if request.url.scheme() == "https" {
        let host = request.url.host_str().unwrap_or_default();
        let secured = tokio::time::timeout(CONNECT_MAX, tls::connect(host, tcp)).await;
        let stream = secured.map_err(|_| SendError::ConnectTimedOut)?;
        exchange(request, stream.map_err(SendError::Tls)?).await
    } else {
        exchange(request, tcp).await
    }
}

/// Connects to the first address that answers, of those that may be reached. One that may not
/// ends it: a name that leads there as well is not to be trusted.
async fn connect(
    url: &Url,
    settings: &Settings,
    names: &impl Resolve,
) -> Result<TcpStream, SendError> {
    let port = url.port_or_known_default().unwrap_or(80);
    let addresses: Vec<SocketAddr> = match url.host() {
        Some(Host::Ipv4(address)) => vec![(address, port).into()],
        Some(Host::Ipv6(address)) => vec![(address, port).into()],
        Some(Host::Domain(name)) => {
            let found = names.resolve(name, port).await;
            found.map_err(SendError::Resolve)?
        }
        None => Vec::new(),
    };
    for address in &addresses {
        let judged = settings.judge(address.ip());
        judged.map_err(|reason| SendError::OffLimits {
            address: address.ip(),
            reason,
        })?;
    }
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(tcp) => {
                tcp.set_nodelay(true).map_err(SendError::Connect)?;
                return Ok(tcp);
            }
            Err(error) => failed = error,
        }
    }
    Err(SendError::Connect(failed))
}

impl Resolve for System {
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let place = LOOK_UPS.acquire().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        // A task of its own, because the thread stays taken when the request is given up, and its
        // place has to be as well.
        let found = tokio::spawn(async move {
            let found = tokio::net::lookup_host((name, port)).await;
            drop(place);
            Ok(found?.collect())
        });
        found.await.map_err(io::Error::other)?
    }
}

async fn exchange<S>(
    request: &Prepared,
    stream: S,
) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), SendError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let driven = tokio::spawn(async move {
        if let Err(error) = connection.await {
            // Whoever reads the body is told as well.
            tracing::debug!(%error, "the connection of a request ended early");
        }
    });
    let driven = AbortOnDropHandle::new(driven);
    let response = sender.send_request(written(request)?).await?;
    Ok((response, driven))
}

/// The request as it is written to its host.
fn written(request: &Prepared) -> Result<Request<Full<Bytes>>, http::Error> {
    let url = &request.url;
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut written = Request::builder()
        .method(request.method.clone())
        .uri(target)
        .body(Full::new(request.body.clone()))?;
    *written.headers_mut() = request.headers.clone();
    if !request.headers.contains_key(HOST) {
        let host = url.host_str().unwrap_or_default();
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        written
            .headers_mut()
            .insert(HOST, HeaderValue::try_from(host)?);
    }
    Ok(written)
}

/// Where a response wants the request to go, if it is to be followed.
fn redirect(request: &Prepared, response: &Response<Incoming>) -> Option<HeaderValue> {
    let moved = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION);
    location.filter(|_| request.follow && moved).cloned()
}

/// Turns the request to where it is sent (RFC 9110 section 15.4).
fn follow(
    request: &mut Prepared,
    status: StatusCode,
    location: &HeaderValue,
) -> Result<(), SendError> {
    let location = std::str::from_utf8(location.as_bytes()).unwrap_or_default();
    let next = request.url.join(location);
    let next = next.map_err(|error| SendError::Redirect(PrepareError::Url(error)))?;
    web(&next).map_err(SendError::Redirect)?;
    if !next.username().is_empty() || next.password().is_some() {
        return Err(SendError::Redirect(PrepareError::Userinfo));
    }
    if next.origin() != request.url.origin() {
        for name in CREDENTIALS.iter().chain(&request.ours) {
            request.headers.remove(name);
        }
        // It named the host before.
        request.headers.remove(HOST);
    }
    let becomes_get = match status.as_u16() {
        303 => request.method != Method::HEAD,
        301 | 302 => request.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        request.method = Method::GET;
        request.body = Bytes::new();
        for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING] {
            request.headers.remove(name);
        }
    }
    request.url = next;
    Ok(())
}

fn shown(headers: &http::HeaderMap) -> Vec<ResponseHeader> {
    let texts = headers.iter().filter_map(|(name, value)| {
        let value = std::str::from_utf8(value.as_bytes()).ok()?;
        Some(ResponseHeader {
            name: name.as_str().to_owned(),
            value: value.to_owned(),
        })
    });
    texts.collect()
}

impl Body {
    /// The next piece; `None` behind the last. Trailers are left out.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        loop {
            match self.incoming.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests;
