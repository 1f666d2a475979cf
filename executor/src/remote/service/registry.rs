//! What an executor asks its registry, and the way to the relay.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use farstep_protocol::relay::attest::ATTESTATION_BYTES_MAX;
use farstep_protocol::relay::registry::{
    AnswerError, ExecutorInfo, INFO_FEATURE, REQUEST_HEADER, Refusal, Register, Registered,
    STREAM_HEADER, Validate, Verdict, route,
};
use farstep_protocol::relay::{
    FEATURES_HEADER, PublicKey, RESTART_NOTICE, RESTART_NOTICE_FEATURE, SECURITY_PROFILE,
};
use farstep_transport::relay::{PostError, Posted, post};
use farstep_transport::tls;
use farstep_transport::websocket::{Binary, Notice, Options, Upgrade, UpgradeError, upgrade};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::credential::{CredentialError, Credentials, checked};
use super::welcome::now;
use super::{Settings, link};
use crate::os;
use crate::pause::Pauses;

/// How long an answer is waited for, connecting included.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How often a credential that was turned down is read and shown again, and for how long: it may be
/// being renewed.
const REFUSALS_MAX: u32 = 3;
const REFUSALS_WITHIN: Duration = Duration::from_secs(10);

/// What the kernel may hold unsent, in bytes: two records, so that a fast stream keeps it busy.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// A text of a registry, shown to people, in characters.
const SHOWN_MAX: usize = 512;

/// Why registering came to nothing, for good.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// There is no credential to show.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The registry says no.
    #[error("{url} does not register environment {environment}: HTTP status {status}{said}")]
    Refused {
        /// Of the registry.
        url: String,
        /// Which one.
        environment: String,
        /// What it answered.
        status: u16,
        /// And in words, if any.
        said: String,
    },
    /// The answer is none.
    #[error("{url} is no registry: {reason}")]
    Answer {
        /// Whose.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why the relay was not reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum Dialled {
    #[error("it wants a new registration: HTTP status {status}")]
    Unwanted { status: u16 },
    #[error("{0}")]
    Away(String),
}

/// What came of a question to the registry.
enum Asked {
    Answered(Posted),
    /// It is away, for now.
    Away(String),
}

/// What became of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rotated {
    /// The successor is kept.
    Yes,
    /// Perhaps later.
    NotNow(String),
    /// Not with this credential.
    Never(String),
}

/// What a rotation answers; there is more, which means nothing to us.
#[derive(Deserialize)]
struct Successor {
    text: String,
}

/// What the registry says of whoever knocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Welcome,
    Unwelcome,
    /// Our own credential does not count.
    WeAreNot,
}

/// The registry, and what we show it.
#[derive(Clone, Debug)]
pub(super) struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    base: String,
    environment: String,
    credentials: Credentials,
    /// What it is told of us, if it asks: a service of the plain contract need not take more than
    /// that says.
    info: ExecutorInfo,
    is_asked: AtomicBool,
    /// Whoever gives us credentials was told that this one is due.
    is_told: AtomicBool,
    attestation: Option<PathBuf>,
}

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// A connection to the registry or the relay.
pub(super) type Socket = Box<dyn Io>;

impl std::fmt::Debug for dyn Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Io")
    }
}

impl Registry {
    pub(super) fn new(settings: &Settings, credentials: Credentials) -> Registry {
        Registry(Arc::new(Inner {
            base: settings.base.clone(),
            environment: settings.environment.clone(),
            credentials,
            info: ExecutorInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                os: std::env::consts::OS.to_owned(),
                labels: settings.labels.clone(),
            },
            is_asked: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            attestation: settings.key_attestation.clone(),
        }))
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// Registers, for as long as it takes. Fails when waiting would not help.
    /// `previous` is the registration there was.
    pub(super) async fn register(
        &self,
        key: &PublicKey,
        previous: Option<String>,
    ) -> Result<Registered, RegisterError> {
        let is_asked = || self.0.is_asked.load(Ordering::Relaxed);
        let mut body = Register {
            security_profile: SECURITY_PROFILE.to_owned(),
            executor_public_key: key.clone(),
            key_attestation: self.attestation().await,
            executor_info: None,
            previous_registration_id: None,
            features: Vec::new(),
        };
        if is_asked() {
            body.executor_info = Some(self.0.info.clone());
            body.previous_registration_id = previous;
        }
        let mut pauses = Pauses::default();
        let began = Instant::now();
        let mut refusals = 0;
        loop {
            let bearer = self.0.credentials.current()?;
            let posted = match self.ask("register", &bearer, None, &body).await {
                Asked::Answered(posted) => posted,
                Asked::Away(reason) => {
                    tracing::warn!(reason, "the registry is not reached");
                    pauses.wait(None).await;
                    continue;
                }
            };
            match posted.status {
                200..300 => {
                    let registered = self.registered(&posted, &bearer)?;
                    let asks = registered.features.iter().any(|name| name == INFO_FEATURE);
                    if !asks || is_asked() {
                        return Ok(registered);
                    }
                    // Ours: it is told more at once, and from then on.
                    self.0.is_asked.store(true, Ordering::Relaxed);
                    body.executor_info = Some(self.0.info.clone());
                }
                401 | 403 if refusals + 1 < REFUSALS_MAX && began.elapsed() < REFUSALS_WITHIN => {
                    refusals += 1;
                    pauses.wait(None).await;
                }
                408 | 429 | 500.. => {
                    tracing::warn!(status = posted.status, "the registry does not answer now");
                    match posted.retry_after {
                        Some(seconds) => tokio::time::sleep(capped(seconds)).await,
                        None => pauses.wait(None).await,
                    }
                }
                status => {
                    return Err(RegisterError::Refused {
                        url: self.0.base.clone(),
                        environment: self.0.environment.clone(),
                        status,
                        said: said(&posted.body, &bearer),
                    });
                }
            }
        }
    }

    fn registered(&self, posted: &Posted, bearer: &str) -> Result<Registered, RegisterError> {
        let wrong = |reason: String| RegisterError::Answer {
            url: self.0.base.clone(),
            reason,
        };
        if contains(&posted.body, bearer) {
            // Whoever sends it back would have us log or store it.
            return Err(wrong("its answer repeats the credential".to_owned()));
        }
        let registered: Registered = serde_json::from_slice(&posted.body)
            .map_err(|error| wrong(format!("its answer cannot be read: {error}")))?;
        let checked = registered.check(&self.0.environment);
        checked.map_err(|error: AnswerError| wrong(error.to_string()))?;
        if let Some(after) = registered.rotate_after {
            let is_late = after <= now() && !self.0.credentials.are_ours();
            if is_late && !self.0.is_told.swap(true, Ordering::Relaxed) {
                tracing::warn!(after, "the credential ends soon; give me a new one");
            } else {
                tracing::debug!(after, "the credential is to be renewed then");
            }
        }
        Ok(registered)
    }

    /// What the tenant signed about our key, as the file has it now.
    async fn attestation(&self) -> Option<String> {
        let path = self.0.attestation.as_ref()?;
        let read = tokio::fs::read_to_string(path).await;
        let text = read.map(|text| text.trim().to_owned());
        match text {
            Ok(text) if text.len() <= ATTESTATION_BYTES_MAX => Some(text),
            Ok(_) => {
                tracing::error!(path = %path.display(), "the attestation is too long to be one");
                None
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the attestation is not read");
                None
            }
        }
    }

    /// Asks for the successor of a credential that is ours, and keeps it.
    pub(super) async fn rotate(&self) -> Rotated {
        let environment = &self.0.environment;
        let path = format!("/v1/environments/{environment}/credentials/rotate");
        let bearer = match self.0.credentials.current() {
            Ok(bearer) => bearer,
            Err(error) => return Rotated::Never(error.to_string()),
        };
        let body = serde_json::Map::new();
        let posted = match ask(&self.0.base, &path, &bearer, None, &body).await {
            Asked::Answered(posted) => posted,
            Asked::Away(reason) => return Rotated::NotNow(reason),
        };
        match posted.status {
            200..300 => {}
            408 | 429 | 500.. => return Rotated::NotNow(format!("HTTP status {}", posted.status)),
            status => {
                let said = said(&posted.body, &bearer);
                return Rotated::Never(format!("HTTP status {status}{said}"));
            }
        }
        let answer: Successor = match serde_json::from_slice(&posted.body) {
            Ok(answer) => answer,
            Err(error) => return Rotated::NotNow(format!("its answer cannot be read: {error}")),
        };
        match self.0.credentials.replace(Zeroizing::new(answer.text)) {
            Ok(()) => Rotated::Yes,
            // Nobody showed it, so the next one takes its place.
            Err(error) => Rotated::NotNow(error.to_string()),
        }
    }

    /// Asks whether whoever knocked is welcome. Everything but a yes is a no.
    pub(super) async fn validate(&self, stream: &str, asked: &Validate) -> Judged {
        let Ok(bearer) = self.0.credentials.current() else {
            return Judged::WeAreNot;
        };
        let is_uuid = Uuid::try_parse(stream).is_ok();
        let header = is_uuid.then_some((STREAM_HEADER, stream));
        match self.ask("validate", &bearer, header, asked).await {
            Asked::Answered(Posted { status: 401, .. }) => Judged::WeAreNot,
            Asked::Answered(Posted {
                status: 200, body, ..
            }) => {
                let verdict: Verdict = serde_json::from_slice(&body).unwrap_or_default();
                match verdict.valid {
                    true => Judged::Welcome,
                    false => Judged::Unwelcome,
                }
            }
            Asked::Answered(Posted { status, .. }) => {
                tracing::warn!(status, "the registry did not judge a stream");
                Judged::Unwelcome
            }
            Asked::Away(reason) => {
                tracing::warn!(reason, "the registry did not judge a stream");
                Judged::Unwelcome
            }
        }
    }

    async fn ask(
        &self,
        action: &str,
        bearer: &str,
        header: Option<(&'static str, &str)>,
        body: &impl Serialize,
    ) -> Asked {
        let path = route(&self.0.environment, action);
        ask(&self.0.base, &path, bearer, header, body).await
    }
}

/// Exchanges an enrolment code for a credential, for as long as it takes.
pub(super) async fn enroll(base: &str, code: &str) -> Result<Zeroizing<String>, CredentialError> {
    let mut pauses = Pauses::default();
    let body = Code { code };
    loop {
        // The code is all there is to show.
        let posted = match ask(base, "/v1/enroll", "none", None, &body).await {
            Asked::Answered(posted) => posted,
            Asked::Away(reason) => {
                tracing::warn!(reason, "the registry is not reached");
                pauses.wait(None).await;
                continue;
            }
        };
        match posted.status {
            200..300 => {
                let enrolled: Enrolled = serde_json::from_slice(&posted.body).unwrap_or_default();
                return checked(Zeroizing::new(enrolled.credential));
            }
            408 | 500.. => pauses.wait(None).await,
            status => {
                return Err(CredentialError::Code {
                    registry: base.to_owned(),
                    status,
                    said: said(&posted.body, code),
                });
            }
        }
    }
}

#[derive(Serialize)]
struct Code<'a> {
    code: &'a str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Enrolled {
    credential: String,
}

/// Posts to a path below the base URL.
async fn ask(
    base: &str,
    path: &str,
    bearer: &str,
    header: Option<(&'static str, &str)>,
    body: &impl Serialize,
) -> Asked {
    let asking = async {
        let base = Url::parse(base).map_err(|error| error.to_string())?;
        let path = format!("{}{path}", base.path().trim_end_matches('/'));
        let host = authority(&base);
        let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
        let socket = connect(&base).await?;
        let posted = post(socket, &host, &path, bearer, header, body).await;
        posted.map_err(|error: PostError| error.to_string())
    };
    match tokio::time::timeout(ANSWER_MAX, asking).await {
        Ok(Ok(posted)) => Asked::Answered(posted),
        Ok(Err(reason)) => Asked::Away(reason),
        Err(_) => Asked::Away(format!("no answer within {ANSWER_MAX:?}")),
    }
}

/// Opens the websocket at the relay: the URL exactly as it was issued.
pub(super) async fn dial(
    url: &str,
    features: &[String],
) -> Result<(link::Websocket, Notice), Dialled> {
    let dialling = async {
        let parsed = Url::parse(url).map_err(|error| Dialled::Away(error.to_string()))?;
        let socket = connect(&parsed).await.map_err(Dialled::Away)?;
        let request = HeaderValue::try_from(format!("req_{}", Uuid::new_v4().simple()));
        let request = request.map_err(|error| Dialled::Away(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(REQUEST_HEADER), request);
        // A relay with nothing but the peer's contract is not told of more.
        if features.iter().any(|it| it == RESTART_NOTICE_FEATURE) {
            let value = HeaderValue::from_static(RESTART_NOTICE_FEATURE);
            headers.insert(HeaderName::from_static(FEATURES_HEADER), value);
        }
        let asked = Upgrade {
            url,
            headers,
            options: Options::relay(),
        };
        match upgrade(asked, socket).await {
            Ok(websocket) => {
                let notice = Notice::new(RESTART_NOTICE);
                Ok((Binary::from(websocket).noticing(notice.clone()), notice))
            }
            Err(UpgradeError::Refused {
                status: Some(status @ 400..500),
                ..
            }) => Err(Dialled::Unwanted { status }),
            Err(error) => Err(Dialled::Away(error.to_string())),
        }
    };
    let dialled = tokio::time::timeout(ANSWER_MAX, dialling).await;
    dialled.unwrap_or_else(|_| Err(Dialled::Away(format!("no answer within {ANSWER_MAX:?}"))))
}

async fn connect(url: &Url) -> Result<Socket, String> {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(80);
    let tcp = TcpStream::connect((bare, port)).await;
    let tcp = tcp.map_err(|error| error.to_string())?;
    let set_up = tcp.set_nodelay(true);
    // What the kernel holds unsent of one stream keeps the answers of the others waiting.
    let set_up = set_up.and_then(|()| os::limit_unsent(&tcp, UNSENT_BYTES_MAX));
    set_up.map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "ws" => Ok(Box::new(tcp)),
        "https" | "wss" => match tls::connect(host, tcp).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(error.to_string()),
        },
        scheme => Err(format!("the scheme {scheme:?} cannot be dialled")),
    }
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// A wait that somebody else asks for.
fn capped(seconds: u64) -> Duration {
    Duration::from_secs(seconds.clamp(1, 60))
}

/// What a refusal says in words, unless it repeats the credential.
fn said(body: &[u8], bearer: &str) -> String {
    if contains(body, bearer) {
        return String::new();
    }
    let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
    let text = match refusal {
        Some(refusal) => refusal.error.message,
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let legal = |character: &char| !character.is_control();
    let text: String = text.chars().filter(legal).take(SHOWN_MAX).collect();
    match text.is_empty() {
        true => text,
        false => format!(", {text:?}"),
    }
}

fn contains(body: &[u8], bearer: &str) -> bool {
    body.windows(bearer.len())
        .any(|part| part == bearer.as_bytes())
}
