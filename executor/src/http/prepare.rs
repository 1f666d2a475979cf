//! From what a peer asks for to a request that can be sent, or what is wrong with it.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use farstep_protocol::frame;
use farstep_protocol::method::http::{RedirectPolicy, RequestHeader, RequestParams};
use http::header::{ACCEPT, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use url::Url;

use super::args::Settings;
use super::{HEAD_BYTES_MAX, HEADERS_MAX};

/// Longest URL; servers refuse far shorter ones.
const URL_BYTES_MAX: usize = 16 * 1024;

/// How long a request may take whose caller does not say (`security` SR-56: a deadline always).
pub(crate) const DEADLINE: Duration = Duration::from_secs(300);

/// The longest a caller may ask for, so that nothing is kept for ever.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A request that can be sent.
pub(crate) struct Prepared {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// Names of headers that carry a value of our environment, which no other host may see.
    pub(super) ours: Vec<HeaderName>,
    pub(super) body: Bytes,
    pub(super) follow: bool,
    /// For everything, where the caller said so.
    pub(crate) deadline: Option<Duration>,
}

impl Prepared {
    /// For what has to be over in one go.
    pub(crate) fn deadline_or_default(&self) -> Duration {
        self.deadline.unwrap_or(DEADLINE)
    }

    /// Where it goes, for records.
    pub(crate) fn host(&self) -> String {
        self.url.host_str().unwrap_or_default().to_owned()
    }
}

/// Headers may hold credentials.
impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

/// What is wrong with what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error("the method is not one HTTP can send")]
    Method,
    #[error("the URL cannot be read: {0}")]
    Url(url::ParseError),
    #[error("the URL is longer than {URL_BYTES_MAX} bytes")]
    LongUrl,
    #[error("only http and https URLs can be requested, not {0}")]
    Scheme(String),
    #[error("credentials do not belong in a URL; send them as an authorization header")]
    Userinfo,
    #[error("header {0} has a name or value HTTP cannot send")]
    Header(usize),
    #[error("more than {HEADERS_MAX} headers or {HEAD_BYTES_MAX} bytes of them")]
    ManyHeaders,
    #[error("header {0}: the variable it wants is not set, or not one it may carry")]
    Variable(usize),
    #[error("the body is not base64")]
    Body,
}

/// Checks everything that can be checked before anything is sent. `variable` reads our environment.
pub(crate) fn prepare(
    params: &RequestParams<'_>,
    settings: &Settings,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Prepared, PrepareError> {
    // CONNECT asks for a tunnel, which is no request.
    let method = Method::from_bytes(params.method.as_bytes())
        .ok()
        .filter(|method| *method != Method::CONNECT)
        .ok_or(PrepareError::Method)?;
    if params.url.len() > URL_BYTES_MAX {
        return Err(PrepareError::LongUrl);
    }
    let url = Url::parse(&params.url).map_err(PrepareError::Url)?;
    web(&url)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(PrepareError::Userinfo);
    }
    let (headers, ours) = headers(&params.headers, settings, variable)?;
    let body = match &params.body_base64 {
        Some(body) => frame::read_base64(body).ok_or(PrepareError::Body)?,
        None => Vec::new(),
    };
    let deadline = params.timeout_ms.map(Duration::from_millis);
    Ok(Prepared {
        method,
        url,
        headers,
        ours,
        body: body.into(),
        follow: params.redirect_policy == RedirectPolicy::Follow,
        deadline: deadline.map(|asked| asked.min(DEADLINE_MAX)),
    })
}

/// Whether a URL is one of the web.
pub(super) fn web(url: &Url) -> Result<(), PrepareError> {
    match url.scheme() {
        "http" | "https" => Ok(()),
        other => Err(PrepareError::Scheme(other.to_owned())),
    }
}

fn headers(
    wanted: &[RequestHeader],
    settings: &Settings,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(HeaderMap, Vec<HeaderName>), PrepareError> {
    if wanted.len() > HEADERS_MAX {
        return Err(PrepareError::ManyHeaders);
    }
    let (mut headers, mut ours, mut bytes) = (HeaderMap::new(), Vec::new(), 0);
    for (at, header) in wanted.iter().enumerate() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let name = name.map_err(|_| PrepareError::Header(at))?;
        let mut value = header.value.clone().into_bytes();
        if let Some(wanted) = &header.value_env_var {
            let found = settings
                .may_carry(wanted)
                .then(|| variable(wanted))
                .flatten();
            let found = found.filter(|found| !found.is_empty());
            let found = found.ok_or(PrepareError::Variable(at))?;
            value.extend_from_slice(found.as_encoded_bytes());
            ours.push(name.clone());
        }
        bytes += name.as_str().len() + value.len();
        let value = HeaderValue::from_bytes(&value).map_err(|_| PrepareError::Header(at))?;
        if !is_framing(&name) {
            headers.append(name, value);
        }
    }
    if bytes > HEAD_BYTES_MAX {
        return Err(PrepareError::ManyHeaders);
    }
    if !headers.contains_key(ACCEPT) {
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    }
    Ok((headers, ours))
}

/// How a message is framed and its connection kept is between us and the host: what a peer says of
/// it is left out, since it could only make two readers see two different requests.
fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "expect"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn prepared(over: Value) -> Result<Prepared, PrepareError> {
        let mut params = json!({"method": "GET", "url": "http://host/x", "requestId": "r"});
        for (name, value) in over.as_object().unwrap() {
            params[name] = value.clone();
        }
        let text = params.to_string();
        let params: RequestParams<'_> = serde_json::from_str(&text).unwrap();
        prepare(&params, &Settings::default(), |name| {
            (name == "SET").then(|| "secret".into())
        })
    }

    #[test]
    fn what_cannot_be_sent_is_refused_before_anything_is() {
        let header = |name: &str, value: &str| json!({"headers": [{"name": name, "value": value}]});
        for (over, error) in [
            (json!({"method": "G ET"}), PrepareError::Method),
            (json!({"method": ""}), PrepareError::Method),
            (json!({"method": "CONNECT"}), PrepareError::Method),
            (json!({"method": "GET\r\nX: y"}), PrepareError::Method),
            (
                json!({"url": "ftp://host/"}),
                PrepareError::Scheme("ftp".into()),
            ),
            (
                json!({"url": "file:///etc/passwd"}),
                PrepareError::Scheme("file".into()),
            ),
            (header("bad name", "x"), PrepareError::Header(0)),
            (header("a", "new\nline"), PrepareError::Header(0)),
            (header("a", "b\r\nc: d"), PrepareError::Header(0)),
            (
                json!({"url": "http://me:secret@host/"}),
                PrepareError::Userinfo,
            ),
            (json!({"bodyBase64": "!!"}), PrepareError::Body),
            (
                json!({"url": format!("http://h/{}", "x".repeat(20_000))}),
                PrepareError::LongUrl,
            ),
            (header("a", &"x".repeat(70_000)), PrepareError::ManyHeaders),
        ] {
            assert_eq!(prepared(over.clone()).unwrap_err(), error, "{over}");
        }
        assert!(matches!(
            prepared(json!({"url": "/relative"})),
            Err(PrepareError::Url(_))
        ));
    }

    #[test]
    fn how_a_message_is_framed_is_not_for_peers_to_say() {
        let names = [
            "Content-Length",
            "transfer-encoding",
            "Connection",
            "Upgrade",
        ];
        let headers = names.map(|name| json!({"name": name, "value": "1"}));
        let prepared = prepared(json!({"headers": headers})).unwrap();
        let names: Vec<_> = prepared.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["accept"]);
    }

    #[test]
    fn a_header_may_end_with_a_variable_of_ours() {
        let with = |variable: &str| {
            let header = json!({"name": "authorization", "value": "Bearer ",
                                "valueEnvVar": variable});
            prepared(json!({"headers": [header]}))
        };
        let prepared = with("SET").unwrap();
        assert_eq!(prepared.headers["authorization"], "Bearer secret");
        assert_eq!(prepared.ours, ["authorization"]);
        for variable in ["UNSET", "OPENAI_API_KEY"] {
            assert_eq!(with(variable).unwrap_err(), PrepareError::Variable(0));
        }
    }

    #[test]
    fn there_is_always_a_deadline() {
        let deadline = |over| prepared(over).unwrap().deadline_or_default();
        assert_eq!(deadline(json!({})), DEADLINE);
        assert_eq!(
            deadline(json!({"timeoutMs": 300})),
            Duration::from_millis(300)
        );
        assert_eq!(deadline(json!({"timeoutMs": u64::MAX})), DEADLINE_MAX);
    }
}
