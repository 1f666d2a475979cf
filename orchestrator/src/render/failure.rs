//! Why a command did not do what it was asked to: one sentence, what to try next, an exit code.

use std::fmt::Write as _;
use std::io::Write as _;

use farstep_environments::config::LoadError;
use farstep_environments::{CallError, ConnectError};

use crate::model::SetupError;
use crate::settings::SettingsError;
use crate::setup::NoExecutor;
use crate::text::for_terminal;

/// Wrong usage or configuration.
const USAGE: u8 = 2;
/// A program that could not be started, as shells have it.
const NOT_STARTED: u8 = 127;
/// The executor could not be reached, or was lost.
const LOST: u8 = 255;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("find a configuration folder: neither FARSTEP_HOME, XDG_CONFIG_HOME nor HOME is set")]
    NoConfigDir,
    #[error("{0}")]
    Settings(#[from] SettingsError),
    #[error("load the environments:\n{0}")]
    Environments(#[from] LoadError),
    #[error("{0}")]
    NoExecutor(#[from] NoExecutor),
    #[error("find environment `{id}`")]
    UnknownEnvironment { id: String, known: Vec<String> },
    #[error("choose an environment: none is named and the configuration has no default")]
    NoDefault,
    #[error("choose a model: none is named")]
    NoModel,
    #[error("find an API key: the variable {variable} is not set")]
    NoKey { variable: String },
    #[error("set up the model: {0}")]
    Model(#[from] SetupError),
    #[error("read the prompt: {0}")]
    Prompt(std::io::Error),
    #[error("reach environment `{id}`: {error}")]
    Connect { id: String, error: ConnectError },
    #[error("use the working folder: {0}")]
    Folder(String),
    #[error("start the command in `{id}`: {error}")]
    Start { id: String, error: CallError },
    #[error("follow the command in `{id}`: {reason}")]
    Lost { id: String, reason: String },
    #[error("write the output: {0}")]
    Output(std::io::Error),
    #[error("find the current folder: {0}")]
    NoFolder(std::io::Error),
    #[error("start its threads: {0}")]
    Runtime(std::io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::NoConfigDir
            | Self::Settings(_)
            | Self::Environments(_)
            | Self::NoExecutor(_)
            | Self::UnknownEnvironment { .. }
            | Self::NoDefault
            | Self::NoModel
            | Self::NoKey { .. }
            | Self::Model(_)
            | Self::Folder(_) => USAGE,
            Self::Start {
                error: CallError::Refused(_),
                ..
            } => NOT_STARTED,
            Self::Connect { .. } | Self::Start { .. } | Self::Lost { .. } => LOST,
            Self::Prompt(_) | Self::Output(_) | Self::NoFolder(_) | Self::Runtime(_) => 1,
        }
    }

    /// What to try next.
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Usage(_) => "see `farstep --help`".to_owned(),
            Self::NoConfigDir => "set FARSTEP_HOME to a folder for farstep's files".to_owned(),
            Self::Settings(_) => "correct the file, or move it away to use the defaults".to_owned(),
            Self::Environments(_) => {
                "correct the file; without one the only environment is this machine".to_owned()
            }
            Self::NoExecutor(_) => {
                "build or install both programs into the same folder, or select other \
                 environments with -e"
                    .to_owned()
            }
            Self::UnknownEnvironment { known, .. } if known.is_empty() => {
                "none is configured; add one to environments.toml".to_owned()
            }
            Self::UnknownEnvironment { known, .. } => format!("known are: {}", known.join(", ")),
            Self::NoDefault => "name one with -e, or set `default` in environments.toml".to_owned(),
            Self::NoModel => "pass --model NAME, or set `model` in config.toml".to_owned(),
            Self::NoKey { variable } => format!(
                "set {variable}, or name another variable with --api-key-env; a model on this \
                 machine needs none"
            ),
            Self::Model(_) => "check --base-url and the API key".to_owned(),
            Self::Prompt(_) => "pass the task as an argument".to_owned(),
            Self::Connect { id, .. } => {
                format!("`farstep env test {id}` shows what works and what does not")
            }
            Self::Folder(_) => {
                "name a folder that exists there, in that machine's own spelling".to_owned()
            }
            Self::Start {
                error: CallError::Refused(_),
                ..
            } => "check the program's name and the folder; no shell is involved, so pass \
                 `sh -c '...'` for shell syntax"
                .to_owned(),
            Self::Start { id, .. } | Self::Lost { id, .. } => {
                format!("the command may still run; `farstep env test {id}` shows the connection")
            }
            Self::NoFolder(_) => "change into a folder that exists".to_owned(),
            Self::Output(_) | Self::Runtime(_) => return None,
        };
        Some(hint)
    }
}

/// Tells the person and gives the exit code.
pub fn report(failure: &Failure) -> u8 {
    // A closed pipe is how readers say that they have seen enough.
    let pipe = matches!(failure, Failure::Output(error)
        if error.kind() == std::io::ErrorKind::BrokenPipe);
    if !pipe {
        // Without a standard error there is nobody to tell.
        let _ = anstream::stderr().write_all(words(failure).as_bytes());
    }
    failure.code()
}

fn words(failure: &Failure) -> String {
    let message = failure.to_string();
    let mut text = String::new();
    for (number, line) in message.lines().enumerate() {
        let lead = if number == 0 {
            "farstep: failed to "
        } else {
            ""
        };
        // What was wrong with the usage is a sentence of its own.
        let lead = if matches!(failure, Failure::Usage(_)) {
            "farstep: "
        } else {
            lead
        };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{lead}{}", for_terminal(line));
    }
    if let Some(hint) = failure.hint() {
        let _ = writeln!(text, "  try: {}", for_terminal(&hint));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_ends_with_what_to_try_next() {
        let failure = Failure::UnknownEnvironment {
            id: "x\u{1b}[31m".into(),
            known: vec!["local".into(), "builder".into()],
        };
        let text = words(&failure);
        assert!(
            text.starts_with("farstep: failed to find environment `x"),
            "{text}"
        );
        assert!(
            text.ends_with("  try: known are: local, builder\n"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
        assert_eq!(failure.code(), 2);
    }
}
