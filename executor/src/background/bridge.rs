//! The side of a bridge: finds the executor in the background, or starts it, and passes on.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::names::{self, Names};
use super::{Greeting, KNOWN, READY, log_of};
use crate::os::{self, LocalStream, SocketFolder};

/// Below the state folder of the user.
const FOLDER: &str = "executor";

/// How much of the first message is read to learn what it is. Longer ones are no `initialize`.
const FIRST_BYTES_MAX: u64 = 1 << 20;

/// How often it is begun anew: an executor that ends that moment, another that was quicker.
const ATTEMPTS: u32 = 5;

/// How long an executor may take to be there, and to answer a greeting.
const START_WAIT: Duration = Duration::from_secs(15);
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// What it may say about why it is not there.
const WORDS_MAX: u64 = 4096;

/// Why standard input and output were not passed on.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// Nothing can be kept on this machine.
    #[error(
        "--durable: no executor can be kept in the background: {0}. Name a folder that can be \
         written to with XDG_STATE_HOME"
    )]
    Impossible(String),
    #[error(
        "refused to use {} for sockets: {why}. Correct it, or name another state folder with \
         XDG_STATE_HOME", folder.display()
    )]
    Unsafe { folder: PathBuf, why: io::Error },
    #[error("the executor in the background did not start: {reason} (its log: {})", log.display())]
    NotStarted { reason: String, log: PathBuf },
    #[error("the executor in the background cannot be reached: {0}")]
    Unreachable(io::Error),
}

impl BridgeError {
    /// Whether serving without one is better than nothing.
    pub fn is_harmless(&self) -> bool {
        matches!(self, BridgeError::Impossible(_))
    }
}

/// A bridge that has not begun.
#[derive(Debug)]
pub struct Bridge {
    folder: SocketFolder,
    names: Names,
    arguments: Vec<OsString>,
    greeting: Greeting,
}

/// The only part of the first message that counts here.
#[derive(Deserialize)]
struct First {
    params: Option<FirstParams>,
}

#[derive(Deserialize)]
struct FirstParams {
    #[serde(rename = "resumeSessionId")]
    session: Option<String>,
}

impl Bridge {
    /// Finds where the executor in the background would be: in the state folder, or else in the first
    /// of the others that can be used. `arguments` are ours, `cwd` and `variables` what this login is
    /// like.
    pub fn new(
        (state, others): (Option<PathBuf>, Vec<PathBuf>),
        arguments: Vec<OsString>,
        cwd: PathBuf,
        variables: Vec<(OsString, OsString)>,
    ) -> Result<Bridge, BridgeError> {
        Ok(Bridge {
            folder: folder(state, others)?,
            names: Names::of(&arguments),
            arguments,
            greeting: Greeting {
                session: None,
                cwd,
                variables,
            },
        })
    }

    /// Passes on what comes until either side has ended.
    pub async fn run(self) -> Result<(), BridgeError> {
        let mut input = BufReader::new(tokio::io::stdin());
        let mut first = Vec::new();
        let mut beginning = (&mut input).take(FIRST_BYTES_MAX);
        let read = beginning.read_until(b'\n', &mut first).await;
        if !read.is_ok_and(|read| read > 0) {
            // Nobody is there, so nothing has to be started.
            return Ok(());
        }
        let stream = self.reach(&first).await?;
        // How either end comes about is known to it.
        let _ = pass_on(stream, first, input).await;
        Ok(())
    }

    /// The executor that has the session which the first message wants, or else our own.
    async fn reach(&self, first: &[u8]) -> Result<LocalStream, BridgeError> {
        if let Some(session) = wanted(first) {
            for name in self.known().map_err(BridgeError::Unreachable)? {
                if let Some(stream) = self.ask(&name, &session).await {
                    return Ok(stream);
                }
            }
        }
        let name = self.names.own();
        let mut last = io::Error::from(ErrorKind::NotFound);
        for _ in 0..ATTEMPTS {
            let error = match self.folder.connect(&name).await {
                Ok(mut stream) => match answered(&self.greeting, &mut stream).await {
                    Ok(KNOWN) => return Ok(stream),
                    Ok(_) => io::Error::other("it does not answer as it should"),
                    // It was about to end.
                    Err(error) => error,
                },
                Err(error) if is_absent(&error) => {
                    self.start().await?;
                    error
                }
                Err(error) => return Err(BridgeError::Unreachable(error)),
            };
            last = error;
        }
        Err(BridgeError::Unreachable(last))
    }

    /// The sockets behind which a session of ours may be, the likeliest first.
    fn known(&self) -> io::Result<Vec<OsString>> {
        let own = self.names.own();
        let mut names: Vec<OsString> = self
            .folder
            .sockets()?
            .into_iter()
            .filter(|name| self.names.is_here(name))
            .map(OsString::from)
            .collect();
        names.sort_by_key(|name| *name != own);
        Ok(names)
    }

    /// A connection to this one, if it has the session.
    async fn ask(&self, name: &OsString, session: &str) -> Option<LocalStream> {
        let mut stream = self.folder.connect(name).await.ok()?;
        let greeting = Greeting {
            session: Some(session.to_owned()),
            ..self.greeting.clone()
        };
        let answer = answered(&greeting, &mut stream).await;
        matches!(answer, Ok(KNOWN)).then_some(stream)
    }

    /// Starts our own and waits until it, or another that was quicker, can be reached.
    async fn start(&self) -> Result<(), BridgeError> {
        let log = self.folder.path().to_owned();
        let failed = |reason: String| BridgeError::NotStarted {
            reason,
            log: log.join("executor.log"),
        };
        self.tidy().await;
        let words = log_of(self.folder.path()).map_err(|error| failed(error.to_string()))?;
        let socket = self.folder.path().join(self.names.own());
        let arguments = ["--background".into(), socket.into()];
        let arguments = arguments.into_iter().chain(self.arguments.iter().cloned());
        let started = os::start_apart(arguments.collect(), words);
        let mut child = started.map_err(|error| failed(error.to_string()))?;
        let mut said = String::new();
        let heard = async {
            let Some(stdout) = child.stdout.take() else {
                return Ok(0);
            };
            BufReader::new(stdout.take(WORDS_MAX))
                .read_line(&mut said)
                .await
        };
        match tokio::time::timeout(START_WAIT, heard).await {
            Ok(Ok(_)) if said.trim() == READY => Ok(()),
            Ok(Ok(0)) => Err(failed("it ended at once".to_owned())),
            Ok(Ok(_)) => Err(failed(said.trim().to_owned())),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!(
                "nothing was heard of it for {START_WAIT:?}"
            ))),
        }
    }

    /// Removes what executors that were killed have left behind.
    async fn tidy(&self) {
        let Ok(_lock) = self.folder.lock().await else {
            return;
        };
        let own = self.names.own();
        let own = own.to_string_lossy();
        for name in self.folder.sockets().unwrap_or_default() {
            if names::is_of_same_machine(&name, &own) {
                // One that is in use stays.
                let _ = self.folder.clear(name.as_ref());
            }
        }
    }
}

/// The first folder that can be used. One of the user's own choice that others have their hands in is
/// refused; of the others, where anybody may have put it there, it is no more than one that is missing.
fn folder(state: Option<PathBuf>, others: Vec<PathBuf>) -> Result<SocketFolder, BridgeError> {
    let mut troubles = Vec::new();
    match state.map(|state| state.join(FOLDER)) {
        Some(path) => match SocketFolder::own(&path) {
            Ok(folder) => return Ok(folder),
            Err(why) if is_deliberate(&path, &why) => {
                return Err(BridgeError::Unsafe { folder: path, why });
            }
            Err(why) => troubles.push(format!("{}: {why}", path.display())),
        },
        None => troubles.push("there is no home folder".to_owned()),
    }
    for path in others {
        match SocketFolder::own(&path) {
            Ok(folder) => return Ok(folder),
            Err(why) => troubles.push(format!("{}: {why}", path.display())),
        }
    }
    Err(BridgeError::Impossible(troubles.join("; ")))
}

async fn answered(greeting: &Greeting, stream: &mut LocalStream) -> io::Result<u8> {
    let answer = tokio::time::timeout(ANSWER_WAIT, greeting.say(stream)).await;
    answer.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

async fn pass_on<I>(stream: LocalStream, first: Vec<u8>, mut input: I) -> io::Result<()>
where
    I: tokio::io::AsyncRead + Unpin,
{
    let (mut from, mut to) = stream.into_split();
    let inwards = async {
        to.write_all(&first).await?;
        drop(first);
        tokio::io::copy(&mut input, &mut to).await?;
        // The other side answers what it was asked before, and then ends.
        to.shutdown().await?;
        std::future::pending().await
    };
    let outwards = async {
        let mut output = tokio::io::stdout();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = from.read(&mut piece).await?;
            if read == 0 {
                return Ok(());
            }
            output
                .write_all(piece.get(..read).unwrap_or_default())
                .await?;
            output.flush().await?;
        }
    };
    tokio::select! {
        ended = inwards => ended,
        ended = outwards => ended,
    }
}

/// What is passed on at once.
const PIECE_BYTES: usize = 64 << 10;

/// The session that a first message wants to take up again.
fn wanted(first: &[u8]) -> Option<String> {
    let first: First = serde_json::from_slice(first).ok()?;
    first.params?.session
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused
    )
}

/// Whether it is we who refuse the folder, and not the system that cannot make it.
fn is_deliberate(path: &Path, why: &io::Error) -> bool {
    why.kind() == ErrorKind::PermissionDenied && why.raw_os_error().is_none() && path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_session_that_is_to_be_resumed_is_read_from_the_first_message() {
        let resume =
            br#"{"id":1,"method":"initialize","params":{"clientName":"x","resumeSessionId":"s"}}"#;
        assert_eq!(wanted(resume), Some("s".to_owned()));
        for other in [
            &br#"{"id":1,"method":"initialize","params":{"clientName":"x"}}"#[..],
            br#"{"params":{"resumeSessionId":null}}"#,
            br#"{"params":{"resumeSessionId":7}}"#,
            b"{}",
            b"nonsense\n",
            b"",
        ] {
            assert_eq!(wanted(other), None);
        }
    }
}
