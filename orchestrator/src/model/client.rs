//! The HTTP client of a Responses API provider.
//!
//! One sampling request is one POST whose answer streams. Tries that fail before the answer begins
//! are repeated here; once it has begun, whatever goes wrong is handed to the caller as the last
//! element of the stream.

mod body;

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::error::{ModelError, ModelErrorKind};
use super::events::{self, ModelEvent};
use super::request::{InstructionsStyle, Request};
use super::{Model, Sampling};
use crate::retry::{RetryPolicy, told_by_headers, with_retries};

/// How long a connection may take to come up before it counts as refused.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the body of an error may take; what has come by then is shown.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an error's body is read. The rest is left unread and the connection dropped.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// Where a model is reached and how patient we are with it.
#[derive(Clone)]
pub struct Provider {
    /// The address in front of `/responses`, e.g. `https://api.example.com/v1`.
    pub base_url: String,
    /// Sent as a bearer token.
    pub api_key: Option<SecretString>,
    pub retry: RetryPolicy,
    /// How long a stream may be silent before it counts as broken.
    pub idle_timeout: Duration,
    pub instructions: InstructionsStyle,
}

impl Provider {
    /// A provider with the usual patience and no key.
    pub fn new(base_url: impl Into<String>) -> Provider {
        Provider {
            base_url: base_url.into(),
            api_key: None,
            retry: RetryPolicy::default(),
            idle_timeout: Duration::from_secs(300),
            instructions: InstructionsStyle::default(),
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.base_url)
    }
}

/// Why a provider cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("the base url `{url}` is not an http or https address: {reason}")]
    BaseUrl { url: String, reason: String },
    #[error("the api key holds a character that cannot be sent in a header")]
    ApiKey,
    #[error("the http client could not be built: {0}")]
    Client(#[source] reqwest::Error),
}

/// A [`Model`] behind HTTP.
#[derive(Clone)]
pub struct HttpModel {
    http: reqwest::Client,
    endpoint: Url,
    headers: HeaderMap,
    retry: RetryPolicy,
    idle_timeout: Duration,
    instructions: InstructionsStyle,
}

impl fmt::Debug for HttpModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpModel({})", self.endpoint)
    }
}

impl HttpModel {
    pub fn new(provider: &Provider) -> Result<HttpModel, SetupError> {
        let endpoint = endpoint(&provider.base_url)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &provider.api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
                .map_err(|_| SetupError::ApiKey)?;
            value.set_sensitive(true);
            headers.insert(reqwest::header::AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect would carry the conversation, and perhaps the key, somewhere else.
            .redirect(redirect::Policy::none())
            // A compressed event stream only arrives late.
            .no_gzip()
            .no_zstd()
            .user_agent(concat!("farstep/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&endpoint) {
            builder = builder.no_proxy();
        } else if endpoint.scheme() == "http" && provider.api_key.is_some() {
            tracing::warn!(
                host = endpoint.host_str(),
                "the api key travels unencrypted"
            );
        }
        Ok(HttpModel {
            http: builder.build().map_err(SetupError::Client)?,
            endpoint,
            headers,
            retry: provider.retry,
            idle_timeout: provider.idle_timeout,
            instructions: provider.instructions,
        })
    }

    /// Sends until an answer begins.
    async fn open(self, prepared: Prepared) -> Result<Events, ModelError> {
        let response = with_retries(self.retry.request(), || self.attempt(&prepared)).await?;
        let bytes = response.bytes_stream();
        Ok(Box::pin(body::events(bytes, self.idle_timeout)))
    }

    async fn attempt(&self, prepared: &Prepared) -> Result<reqwest::Response, ModelError> {
        let sent = self
            .http
            .post(self.endpoint.clone())
            .headers(self.headers.clone())
            .headers(prepared.headers.clone())
            .body(prepared.body.clone())
            .send();
        let response = match tokio::time::timeout(self.idle_timeout, sent).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.unreachable(&describe(error))),
            Err(_) => {
                let waited = self.idle_timeout.as_secs();
                return Err(self.unreachable(&format!("no answer within {waited} seconds")));
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let retry_after = told_by_headers(header, Timestamp::now());
        let body = error_body(response).await;
        Err(ModelError::from_status(status, &body, retry_after))
    }

    fn unreachable(&self, reason: &str) -> ModelError {
        let host = self.endpoint.host_str().unwrap_or_default();
        let message = format!("could not reach the provider at {host}: {reason}");
        ModelError::new(ModelErrorKind::Unreachable, message)
    }
}

impl Model for HttpModel {
    fn sample(&self, request: Request) -> Sampling {
        let client = self.clone();
        let prepared = Prepared::new(&request, self.instructions);
        let start = Progress::Waiting(Box::pin(async move { client.open(prepared?).await }));
        stream::unfold(start, Progress::next).boxed()
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<String, ModelError>> + Send>>;

/// Where one sampling request stands.
enum Progress {
    /// Not answered yet.
    Waiting(Pin<Box<dyn Future<Output = Result<Events, ModelError>> + Send>>),
    Streaming(Events),
    Over,
}

impl Progress {
    async fn next(self) -> Option<(Result<ModelEvent, ModelError>, Progress)> {
        let mut events = match self {
            Progress::Waiting(opening) => match opening.await {
                Ok(events) => events,
                Err(error) => return Some((Err(error), Progress::Over)),
            },
            Progress::Streaming(events) => events,
            Progress::Over => return None,
        };
        loop {
            let read = match events.next().await {
                Some(Ok(data)) => events::read(&data),
                Some(Err(error)) => Some(Err(error)),
                None => {
                    let message = "the stream ended before the response was complete";
                    Some(Err(ModelError::new(ModelErrorKind::Cut, message)))
                }
            };
            let Some(event) = read else { continue };
            let over = matches!(event, Ok(ModelEvent::Completed { .. }) | Err(_));
            let rest = if over {
                Progress::Over
            } else {
                Progress::Streaming(events)
            };
            return Some((event, rest));
        }
    }
}

/// What every try of one request sends; the body is shared between them.
struct Prepared {
    body: Bytes,
    headers: HeaderMap,
}

impl Prepared {
    fn new(request: &Request, style: InstructionsStyle) -> Result<Prepared, ModelError> {
        let wrong = |what: &dyn fmt::Display| {
            let message = format!("the request cannot be sent: {what}");
            ModelError::new(ModelErrorKind::InvalidRequest, message)
        };
        let body = request.body(style).map_err(|error| wrong(&error))?.into();
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers() {
            let value = HeaderValue::from_str(value).map_err(|error| wrong(&error))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(Prepared { body, headers })
    }
}

fn endpoint(base_url: &str) -> Result<Url, SetupError> {
    let wrong = |reason: &str| SetupError::BaseUrl {
        url: without_credentials(base_url),
        reason: reason.to_owned(),
    };
    let mut url = Url::parse(base_url).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("only these two schemes are spoken"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "credentials belong into the api key, not into the address",
        ));
    }
    url.path_segments_mut()
        .map_err(|()| wrong("it has no path"))?
        .pop_if_empty()
        .push("responses");
    Ok(url)
}

fn without_credentials(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}://…{}", &url[..scheme], &url[at..])
        }
        _ => url.to_owned(),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The innermost cause, which is the one that helps ("connection refused").
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// As much of an error's body as comes in time and fits.
async fn error_body(response: reqwest::Response) -> String {
    let mut body = Vec::new();
    let mut bytes = response.bytes_stream();
    let read = async {
        while let Some(Ok(chunk)) = bytes.next().await {
            let room = MAX_ERROR_BODY - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == MAX_ERROR_BODY {
                break;
            }
        }
    };
    if tokio::time::timeout(ERROR_BODY_TIMEOUT, read)
        .await
        .is_err()
    {
        tracing::debug!("the body of an error did not end in time");
    }
    String::from_utf8_lossy(&body).into_owned()
}

#[cfg(test)]
mod tests;
