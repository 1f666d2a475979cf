//! The credential of an executor, in each form it comes in. It is not shown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::sync::{oneshot, watch};
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use super::enrolled::{self, Enrolled};
use super::{CREDENTIAL_VARIABLES, CredentialSource, Settings, registry};
use crate::auth::{SecretFileError, read_secret};

/// A line of standard input, in bytes.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// For how long the first credential on standard input is waited for.
const FIRST_MAX: Duration = Duration::from_secs(10);

/// The version of a frame that renews the credential.
const FRAME_VERSION: u64 = 1;

/// Why there is no credential. None of it says what it holds.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error(
        "there is no credential: use --enroll CODE, set FARSTEP_API_KEY, or use --credential-file \
         FILE or --registration-bearer-stdin"
    )]
    Missing,
    #[error(transparent)]
    File(#[from] SecretFileError),
    #[error("the credential holds characters that no header may carry")]
    Characters,
    #[error("standard input holds no line of at most {LINE_BYTES_MAX} bytes with a credential")]
    Line,
    #[error("standard input said nothing within {FIRST_MAX:?}")]
    Silent,
    #[error("a credential on standard input is refused: {0}")]
    Frame(&'static str),
    #[error("there is no state folder to keep a credential in")]
    NoFolder,
    #[error(
        "{} holds no credential; move it away and enrol this executor anew", path.display()
    )]
    Content { path: PathBuf },
    #[error(
        "the credential in {} is for the rendezvous {registry}; move it away and enrol this \
         executor anew", path.display()
    )]
    Elsewhere { path: PathBuf, registry: String },
    #[error("failed to keep the credential in {}: {source}", path.display())]
    Keep {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{registry} does not take the enrolment code: HTTP status {status}{said}")]
    Code {
        registry: String,
        status: u16,
        said: String,
    },
    #[error("the credential expired, and standard input brought no other")]
    Expired,
}

/// The credential in force.
#[derive(Clone)]
pub(super) struct Credentials(Arc<Source>);

enum Source {
    Fixed(Zeroizing<String>),
    File(PathBuf),
    Renewed(Renewed),
    Enrolled(Enrolled),
}

/// Credentials that come line by line.
struct Renewed {
    current: watch::Receiver<Renewal>,
    /// How the reading ended.
    ended: tokio::sync::Mutex<oneshot::Receiver<Result<(), CredentialError>>>,
    _reader: AbortOnDropHandle<()>,
}

/// One of them.
#[derive(Clone)]
struct Renewal {
    token: Arc<Zeroizing<String>>,
    /// Unix seconds.
    expires_at: u64,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self.0 {
            Source::Fixed(_) => "Credentials(fixed)",
            Source::File(_) => "Credentials(file)",
            Source::Renewed(_) => "Credentials(renewed)",
            Source::Enrolled(_) => "Credentials(enrolled)",
        })
    }
}

impl Credentials {
    /// Takes it up from where the settings say.
    pub(super) async fn take_up(
        settings: &Settings,
        state: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Credentials, CredentialError> {
        let source = match &settings.credential {
            CredentialSource::Variable => {
                let set = CREDENTIAL_VARIABLES.iter().find_map(|name| variable(name));
                match set.filter(|value| !value.is_empty()) {
                    Some(set) => Source::Fixed(checked(Zeroizing::new(set))?),
                    None => {
                        let path = enrolled::place(settings, state);
                        let path = path.map_err(|_| CredentialError::Missing)?;
                        let kept = Enrolled::kept(settings, path)?;
                        Source::Enrolled(kept.ok_or(CredentialError::Missing)?)
                    }
                }
            }
            CredentialSource::Code(code) => {
                let path = enrolled::place(settings, state)?;
                match Enrolled::kept(settings, path.clone())? {
                    // So that the flag may stay where it is.
                    Some(kept) => {
                        tracing::info!("enrolled already, so the code is not used");
                        Source::Enrolled(kept)
                    }
                    None => {
                        let credential = registry::enroll(&settings.base, code).await?;
                        Source::Enrolled(Enrolled::begin(settings, path, credential)?)
                    }
                }
            }
            CredentialSource::File(path) => {
                from_file(path)?;
                Source::File(path.clone())
            }
            CredentialSource::LineOnStdin => {
                let mut stdin = BufReader::new(tokio::io::stdin());
                let line = tokio::time::timeout(FIRST_MAX, line(&mut stdin)).await;
                let line = line.map_err(|_| CredentialError::Silent)??;
                let line = line.ok_or(CredentialError::Line)?;
                Source::Fixed(checked(line)?)
            }
            CredentialSource::FramesOnStdin => {
                let stdin = BufReader::new(tokio::io::stdin());
                Source::Renewed(Renewed::begin(stdin, settings.environment.clone()).await?)
            }
        };
        Ok(Credentials(Arc::new(source)))
    }

    /// The credential as of now.
    pub(super) fn current(&self) -> Result<Zeroizing<String>, CredentialError> {
        match &*self.0 {
            Source::Fixed(token) => Ok(token.clone()),
            Source::File(path) => from_file(path),
            Source::Renewed(renewed) => {
                let renewal = renewed.current.borrow().clone();
                match now() < renewal.expires_at {
                    true => Ok(Zeroizing::clone(&renewal.token)),
                    false => Err(CredentialError::Expired),
                }
            }
            Source::Enrolled(enrolled) => Ok(enrolled.current()),
        }
    }

    /// Whether it is ours to renew.
    pub(super) fn are_ours(&self) -> bool {
        matches!(*self.0, Source::Enrolled(_))
    }

    /// Keeps the successor of one that is ours.
    pub(super) fn replace(&self, credential: Zeroizing<String>) -> Result<(), CredentialError> {
        match &*self.0 {
            Source::Enrolled(enrolled) => enrolled.replace(credential),
            _ => Ok(()),
        }
    }

    /// Waits until whoever renews it says that it is over, or says something wrong.
    pub(super) async fn ended(&self) -> Result<(), CredentialError> {
        match &*self.0 {
            Source::Fixed(_) | Source::File(_) | Source::Enrolled(_) => {
                std::future::pending().await
            }
            Source::Renewed(renewed) => {
                let mut ended = renewed.ended.lock().await;
                // The reader says so before it is gone.
                (&mut *ended).await.unwrap_or(Ok(()))
            }
        }
    }
}

impl Renewed {
    async fn begin(
        mut input: impl AsyncBufRead + Unpin + Send + 'static,
        environment: String,
    ) -> Result<Renewed, CredentialError> {
        let first = tokio::time::timeout(FIRST_MAX, line(&mut input)).await;
        let first = first.map_err(|_| CredentialError::Silent)??;
        let first = renewal(&first.ok_or(CredentialError::Line)?, &environment, now())?;
        let (current, seen) = watch::channel(first);
        let (over, ended) = oneshot::channel();
        let reader = tokio::spawn(async move {
            let ended = loop {
                match line(&mut input).await {
                    Ok(Some(text)) => match renewal(&text, &environment, now()) {
                        Ok(renewal) => {
                            tracing::info!("the credential was renewed");
                            current.send_replace(renewal);
                        }
                        Err(error) => break Err(error),
                    },
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            let _: Result<(), _> = over.send(ended);
        });
        Ok(Renewed {
            current: seen,
            ended: tokio::sync::Mutex::new(ended),
            _reader: AbortOnDropHandle::new(reader),
        })
    }
}

/// A line without its end; `None` when the input ended instead.
async fn line(
    input: &mut (impl AsyncBufRead + Unpin),
) -> Result<Option<Zeroizing<String>>, CredentialError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut bounded = input.take(LINE_BYTES_MAX + 1);
    let read = bounded.read_until(b'\n', &mut bytes).await;
    if read.map_err(|_| CredentialError::Line)? == 0 {
        return Ok(None);
    }
    let text = bytes.strip_suffix(b"\n").ok_or(CredentialError::Line)?;
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let text = std::str::from_utf8(text).map_err(|_| CredentialError::Line)?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// One JSON object with exactly four fields.
fn renewal(text: &str, environment: &str, now: u64) -> Result<Renewal, CredentialError> {
    let wrong = CredentialError::Frame;
    let frame: Value = serde_json::from_str(text).map_err(|_| wrong("it is no JSON"))?;
    let fields = frame.as_object().ok_or(wrong("it is no object"))?;
    let expires_at = fields.get("expires_at").and_then(Value::as_u64);
    let expires_at = expires_at.ok_or(wrong("`expires_at` is no time in Unix seconds"))?;
    let token = fields.get("token").and_then(Value::as_str);
    let token = token.ok_or(wrong("`token` is no text"))?;
    let token = checked(Zeroizing::new(token.to_owned()))?;
    if fields.get("version").and_then(Value::as_u64) != Some(FRAME_VERSION) {
        return Err(wrong("`version` is not 1"));
    }
    if fields.get("environment_id").and_then(Value::as_str) != Some(environment) {
        return Err(wrong("`environment_id` is not this environment"));
    }
    if fields.len() != 4 {
        return Err(wrong("it has a field that is not known"));
    }
    if expires_at <= now {
        return Err(wrong("it expired already"));
    }
    Ok(Renewal {
        token: Arc::new(token),
        expires_at,
    })
}

fn from_file(path: &std::path::Path) -> Result<Zeroizing<String>, CredentialError> {
    let secret = read_secret(path)?;
    let text = std::str::from_utf8(secret.trim_ascii());
    let text = text.map_err(|_| CredentialError::Characters)?;
    checked(Zeroizing::new(text.to_owned()))
}

pub(super) fn checked(token: Zeroizing<String>) -> Result<Zeroizing<String>, CredentialError> {
    match fits_a_header(&token) {
        true => Ok(token),
        false => Err(CredentialError::Characters),
    }
}

/// Whether a request can carry this.
pub(crate) fn fits_a_header(token: &str) -> bool {
    let legal = |byte: u8| (b'!'..=b'~').contains(&byte);
    !token.is_empty() && token.bytes().all(legal)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &str = r#"{"version":1,"environment_id":"box","token":"t","expires_at":1000}"#;

    #[test]
    fn a_renewal_has_four_fields_and_they_are_right() {
        let renewed = renewal(FRAME, "box", 999).unwrap();
        assert_eq!((renewed.token.as_str(), renewed.expires_at), ("t", 1000));
        let changed = |from: &str, to: &str| renewal(&FRAME.replace(from, to), "box", 999);
        for (from, to) in [
            ("version\":1", "version\":2"),
            ("box", "bax"),
            ("1000", "999"),
            ("1000", "\"1000\""),
            ("1000", "1000,\"more\":1"),
            ("\"t\"", "\"a b\""),
            ("\"t\"", "7"),
            ("{", "["),
        ] {
            assert!(changed(from, to).is_err(), "{to}");
        }
    }

    #[tokio::test]
    async fn a_line_ends_with_a_line_end_and_is_not_long() {
        let read = |text: &str| {
            let text = text.to_owned().into_bytes();
            async move { line(&mut text.as_slice()).await }
        };
        let first = read("secret\r\nmore").await.unwrap().unwrap();
        assert_eq!(first.as_str(), "secret");
        assert!(read("").await.unwrap().is_none());
        assert!(read("no end").await.is_err());
        assert!(read(&format!("{}\n", "x".repeat(20_000))).await.is_err());
    }

    #[tokio::test]
    async fn the_last_renewal_counts_and_the_end_is_told() {
        let far = |token: &str| FRAME.replace("1000", "9999999999").replace("\"t\"", token);
        let (mut say, input) = tokio::io::duplex(4096);
        use tokio::io::AsyncWriteExt as _;
        let frames = format!("{}\n{}\n", far("\"one\""), far("\"two\""));
        say.write_all(frames.as_bytes()).await.unwrap();
        let input = BufReader::new(input);
        let renewed = Renewed::begin(input, "box".to_owned()).await.unwrap();
        let mut seen = renewed.current.clone();
        let credentials = Credentials(Arc::new(Source::Renewed(renewed)));
        seen.wait_for(|renewal| renewal.token.as_str() == "two")
            .await
            .unwrap();
        assert_eq!(credentials.current().unwrap().as_str(), "two");
        drop(say);
        credentials.ended().await.unwrap();
    }
}
