//! The credential as its source has it now. It is not shown, and no error says what it holds.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::output::{self, Collected};
use super::secrets::Secrets;
use super::{Place, program};
use crate::auth::{SecretFileError, read_secret};
use crate::os::{self, Command, FileStamp, SpawnError, Spawner, Stdio};
use crate::remote::fits_a_header;

/// What a program may print as a credential, in bytes.
const PRINTED_MAX: usize = 64 * 1024;

/// How long it may take: it may have to ask a server.
const PRINTING_MAX: Duration = Duration::from_secs(60);

/// Room for the rest of a frame in the 16 KiB that one may have.
const TOKEN_BYTES_MAX: usize = 15 * 1024;

/// Between two looks at a file.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where credentials come from.
#[derive(Clone)]
pub(super) enum Source {
    /// A variable of this process.
    Variable(Zeroizing<String>),
    File(PathBuf),
    /// A program that prints it, and its arguments.
    Command(Vec<OsString>),
}

/// One of them.
#[derive(Clone)]
pub(super) struct Credential {
    pub(super) token: Arc<Zeroizing<String>>,
    /// Unix seconds, if it says so.
    pub(super) expires_at: Option<u64>,
    /// What the file was when it was read.
    pub(super) stamp: Option<FileStamp>,
}

/// A credential that says when it ends.
#[derive(Deserialize)]
struct Dated {
    token: String,
    expires_at: Option<u64>,
}

/// What goes through the credential pipe.
#[derive(Serialize)]
struct Frame<'a> {
    version: u32,
    environment_id: &'a str,
    token: &'a str,
    expires_at: u64,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error(transparent)]
    File(#[from] SecretFileError),
    #[error("the credential cannot be printed: failed to {0}")]
    NotStarted(SpawnError),
    #[error("{program}, which prints the credential, {reason}")]
    Program {
        program: String,
        reason: &'static str,
    },
    #[error("{program}, which prints the credential, ended with status {status}")]
    Status { program: String, status: i32 },
    #[error("{program}, which prints the credential, cannot be read: {source}")]
    Unreadable { program: String, source: io::Error },
    #[error("the credential is JSON, and not {{\"token\": \"..\", \"expires_at\": SECONDS}}")]
    Shape,
    #[error("the credential holds characters that no header may carry, or nothing")]
    Characters,
    #[error("the credential is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    #[error("the credential expired already")]
    Expired,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Variable(_) => "Source(variable)",
            Source::File(_) => "Source(file)",
            Source::Command(_) => "Source(command)",
        })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// The credential as of now.
    pub(super) async fn read(
        &self,
        spawner: &Spawner,
        place: &Place,
    ) -> Result<Credential, CredentialError> {
        // Before the content, so that a change in between is seen as one.
        let stamp = self.stamp();
        let bytes = match self {
            Source::Variable(value) => Zeroizing::new(value.as_bytes().to_vec()),
            Source::File(path) => read_secret(path)?,
            Source::Command(words) => printed(words, spawner, place).await?,
        };
        let credential = parse(&bytes, now())?;
        Ok(Credential {
            stamp,
            ..credential
        })
    }

    /// Whether a failure to read it may pass, although it was never read before: somebody who asks
    /// a server may find none while the network is away.
    pub(super) fn may_recover(&self) -> bool {
        matches!(self, Source::Command(_))
    }

    /// Waits until a file is another one than `seen`, which it was when it was read.
    pub(super) async fn changed(&self, seen: &Option<FileStamp>) {
        if !matches!(self, Source::File(_)) {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if self.stamp() != *seen {
                return;
            }
        }
    }

    /// What tells one content of a file from the next. Of other sources nothing does.
    fn stamp(&self) -> Option<FileStamp> {
        match self {
            Source::File(path) => os::file_stamp(path),
            Source::Variable(_) | Source::Command(_) => None,
        }
    }
}

impl Credential {
    /// The line that hands it over.
    pub(super) fn frame(
        &self,
        environment: &str,
        life: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        let frame = Frame {
            version: 1,
            environment_id: environment,
            token: &self.token,
            expires_at: self.expires_at.unwrap_or_else(|| now() + life.as_secs()),
        };
        // As long as it may get, so that growing leaves no copy behind.
        let mut line = Zeroizing::new(Vec::with_capacity(16 * 1024));
        serde_json::to_writer(&mut *line, &frame)?;
        line.push(b'\n');
        Ok(line)
    }

    /// When to have the next one: after half of what is left.
    pub(super) fn due_in(&self, life: Duration) -> Duration {
        let left = self.expires_at.map(|at| at.saturating_sub(now()));
        let left = left.map_or(life, Duration::from_secs);
        (left / 2).max(Duration::from_secs(1))
    }
}

/// A token alone, or one that says when it ends.
fn parse(bytes: &[u8], now: u64) -> Result<Credential, CredentialError> {
    let text = std::str::from_utf8(bytes.trim_ascii()).map_err(|_| CredentialError::Characters)?;
    let (token, expires_at) = match text.starts_with('{') {
        // What is wrong with it would be told with pieces of it.
        true => {
            let dated: Dated = serde_json::from_str(text).map_err(|_| CredentialError::Shape)?;
            (dated.token, dated.expires_at)
        }
        false => (text.to_owned(), None),
    };
    let token = Zeroizing::new(token);
    if !fits_a_header(&token) {
        return Err(CredentialError::Characters);
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(CredentialError::TooLong);
    }
    if expires_at.is_some_and(|at| at <= now) {
        return Err(CredentialError::Expired);
    }
    Ok(Credential {
        token: Arc::new(token),
        expires_at,
        stamp: None,
    })
}

/// What a program prints. Its complaints are passed on; nothing of it outlives this.
async fn printed(
    words: &[OsString],
    spawner: &Spawner,
    place: &Place,
) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let lineage = spawner.lineage();
    let command = Command {
        argv: words.to_vec(),
        arg0: None,
        env: place.variables.clone(),
        cwd: place.cwd.clone(),
        stdio: Stdio::Pipes,
    };
    let started = spawner.spawn(&lineage, command).await;
    let mut child = started.map_err(CredentialError::NotStarted)?;
    let program = program(words);
    let failed = |reason| CredentialError::Program {
        program: program.clone(),
        reason,
    };
    let unreadable = |source| CredentialError::Unreadable {
        program: program.clone(),
        source,
    };
    let complaints = async {
        if let Some(stderr) = child.stderr.take() {
            output::pass_on(stderr, tokio::io::stderr(), Secrets::default(), |_| {}).await;
        }
    };
    let printing = output::collect(&mut child.stdout, PRINTED_MAX);
    let ending = std::future::poll_fn(|cx| child.exit.poll_exit(cx));
    let all = async {
        let (collected, (), status) = tokio::join!(printing, complaints, ending);
        (collected, status)
    };
    let done = tokio::time::timeout(PRINTING_MAX, all).await;
    let (collected, status) = done.map_err(|_| failed("took longer than a minute"))?;
    let status = status.map_err(unreadable)?;
    if status != 0 {
        return Err(CredentialError::Status { program, status });
    }
    match collected.map_err(unreadable)? {
        Collected::Whole(bytes) => Ok(bytes),
        Collected::TooMuch => Err(failed("printed more than a credential")),
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_token_or_one_with_an_end() {
        let read = |text: &str| parse(text.as_bytes(), 1000).map_err(|error| error.to_string());
        let plain = read(" fstx_1 \r\n").unwrap();
        assert_eq!((plain.token.as_str(), plain.expires_at), ("fstx_1", None));
        let dated = read(r#"{"token": "fstx_2", "expires_at": 1001, "kid": "x"}"#).unwrap();
        assert_eq!(
            (dated.token.as_str(), dated.expires_at),
            ("fstx_2", Some(1001))
        );
        for (wrong, said) in [
            ("", "or nothing"),
            ("two words", "characters"),
            (r#"{"token": "hush", "expires_at": "1001"}"#, "is JSON"),
            (r#"{"token": "hush", "expires_at": 1000}"#, "expired"),
            (r#"{"token": "hu sh"}"#, "characters"),
            (&"x".repeat(16 * 1024), "longer than"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(said) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_frame_has_the_four_fields_and_fits() {
        let credential = Credential {
            token: Arc::new(Zeroizing::new("x".repeat(TOKEN_BYTES_MAX))),
            expires_at: Some(7),
            stamp: None,
        };
        let line = credential
            .frame(&"e".repeat(256), Duration::from_secs(60))
            .unwrap();
        assert!(line.len() < 16 * 1024 && line.ends_with(b"\"expires_at\":7}\n"));
        let undated = Credential {
            expires_at: None,
            ..credential
        };
        let before = now();
        let line = undated.frame("box", Duration::from_secs(60)).unwrap();
        let frame: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(frame["version"], 1);
        assert_eq!(frame["environment_id"], "box");
        assert!(frame["expires_at"].as_u64().unwrap() >= before + 60);
        assert_eq!(frame.as_object().unwrap().len(), 4);
    }

    #[test]
    fn the_next_one_is_due_after_half_of_what_is_left() {
        let life = Duration::from_secs(3600);
        let mut credential = Credential {
            token: Arc::new(Zeroizing::new("t".to_owned())),
            expires_at: None,
            stamp: None,
        };
        assert_eq!(credential.due_in(life), life / 2);
        // Over, or nearly: it is asked for again, and not all the time.
        credential.expires_at = Some(now());
        assert_eq!(credential.due_in(life), Duration::from_secs(1));
        credential.expires_at = Some(now() + 100_000);
        assert!(credential.due_in(life) > Duration::from_secs(40_000));
    }
}
