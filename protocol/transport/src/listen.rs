//! What everybody who accepts websockets decides about a request before anything is done for it.
//!
//! ```text
//!   TCP (, TLS) ──▶ one request ──▶ refuse? ──▶ whose? ──▶ the bare stream, for a websocket
//! ```
//!
//! Nothing here reads a body or a cookie, and of a query only whether it carries what it should
//! not.

mod failures;
mod hosts;
mod waiting;

use std::convert::Infallible;
use std::future::poll_fn;

use hyper::body::{Body, Incoming};
use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

pub use failures::{BY_ADDRESS as FAILURES_BY_ADDRESS, Failures, IN_ALL as FAILURES_IN_ALL};
pub use hosts::Hosts;
pub use waiting::{Waiting, WaitingRoom};

/// The request line and headers of one request (`security` SR-14).
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header lines of one request (`security` SR-14).
pub const HEADERS_MAX: usize = 100;

/// Longest credential that is looked at. A token of ours has 77 characters, a signed one some
/// hundreds; longer ones are wrong without a look.
const CREDENTIAL_BYTES_MAX: usize = 8 * 1024;

/// Parameters of a URL in which people put credentials. URLs end up in logs, so a credential that
/// travels in one is not a credential (`security` SR-7).
const CREDENTIAL_PARAMETERS: [&str; 6] = [
    "token",
    "access_token",
    "bearer",
    "authorization",
    "jwt",
    "api_key",
];

/// A request that gets no further: the status and a line for the person behind it.
pub type Refusal = (StatusCode, &'static str);

/// What no request may be, wherever it goes.
pub fn refuse(hosts: &Hosts, uri: &Uri, headers: &HeaderMap) -> Option<Refusal> {
    // Only browsers send `Origin`, and no page has business here: a websocket to loopback is
    // not held back by the browser, so it has to be by us. It outranks everything, also a 404.
    if headers.contains_key(ORIGIN) {
        return Some((
            StatusCode::FORBIDDEN,
            "requests from web pages are refused\n",
        ));
    }
    if headers.len() > HEADERS_MAX {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Some((status, "too many headers\n"));
    }
    let mut named = headers.get_all(HOST).iter();
    let is_ours = match (named.next(), named.next()) {
        (Some(host), None) => hosts.allow(host.as_bytes()),
        _ => false,
    };
    if !is_ours {
        return Some((
            StatusCode::FORBIDDEN,
            "nobody here is known by that host name; start this listener with --allowed-host NAME\n",
        ));
    }
    let query = uri.query().unwrap_or_default();
    let carries_credential = query.split('&').any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        CREDENTIAL_PARAMETERS
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
    });
    if carries_credential {
        return Some((
            StatusCode::BAD_REQUEST,
            "credentials do not belong in a URL; send `Authorization: Bearer ...`\n",
        ));
    }
    None
}

/// The credential of a bearer header, or what is wrong with it; the name of the scheme may be in
/// any case and blanks around the credential do not count (`exec-protocol` section 1.2).
pub fn bearer(header: Option<&[u8]>) -> Result<&str, &'static str> {
    let header = header.ok_or("no credential")?;
    if header.len() > CREDENTIAL_BYTES_MAX {
        return Err("the credential is too long");
    }
    let header = std::str::from_utf8(header).map_err(|_| "the credential is no text")?;
    let (scheme, credential) = header
        .trim()
        .split_once(' ')
        .ok_or("not a bearer credential")?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err("not a bearer credential");
    }
    let credential = credential.trim();
    if credential.is_empty() {
        return Err("the credential is empty");
    }
    Ok(credential)
}

/// The answer that turns a request into a websocket, or why it is none. Subprotocols and extensions
/// are not negotiated, so compression never is.
pub fn switch<A, B>(request: &Request<A>, body: impl FnOnce() -> B) -> Result<Response<B>, String> {
    create_response_with_body(request, body).map_err(|error| error.to_string())
}

/// Speaks HTTP until `service` has let one request be the last. Returns the stream and what was
/// read behind that request.
pub async fn converse<S, H, B>(stream: S, service: H) -> Result<(S, Vec<u8>), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: HttpService<Incoming, ResBody = B, Error = Infallible> + Unpin,
    H::Future: Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut http = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    poll_fn(|cx| http.poll_without_shutdown(cx)).await?;
    let parts = http.into_parts();
    Ok((parts.io.into_inner(), parts.read_buf.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_request_may_be_is_refused_in_order_of_weight() {
        let refused = |uri: &str, headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            let uri = uri.parse().unwrap();
            refuse(&Hosts::default(), &uri, &map).map(|(status, _)| status.as_u16())
        };
        let here = ("host", "127.0.0.1:1");
        assert_eq!(refused("/", &[here]), None);
        assert_eq!(refused("/?a=b", &[here]), None);
        assert_eq!(refused("/", &[]), Some(403));
        assert_eq!(refused("/", &[here, here]), Some(403));
        assert_eq!(refused("/", &[("host", "evil.example")]), Some(403));
        assert_eq!(refused("/", &[here, ("origin", "null")]), Some(403));
        assert_eq!(refused("/?x=1&Token=2", &[here]), Some(400));
    }

    #[test]
    fn only_one_bearer_credential_is_one() {
        assert_eq!(bearer(Some(b" bEaRer  x ")), Ok("x"));
        for wrong in [
            &b"x"[..],
            b"Basic x",
            b"Bearer ",
            b"Bearer \xff",
            &[b'a'; 9000],
        ] {
            assert!(bearer(Some(wrong)).is_err());
        }
        assert!(bearer(None).is_err());
    }
}
