//! Why a command did not do what it was asked to: one sentence, what to try next, an exit code.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use farstep_environments::config::{EditError, Kind, LoadError};
use farstep_environments::{CallError, ConnectError, GatewayError, KnownError, SshError};

use super::{files, jobs};
use crate::env_cmd::doctor::remedy;
use crate::files::FileError;
use crate::jobs::JobError;
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
    #[error("change the environments:\n{0}")]
    Edit(EditError),
    #[error("add `{id}`, which did not pass its test: {}", .problems.join("; "))]
    NotAdded { id: String, problems: Vec<String> },
    #[error("reach `{target}` over ssh: {error}")]
    Ssh { target: String, error: SshError },
    #[error("export the environments: {0}")]
    Export(String),
    #[error("{0}")]
    NoExecutor(#[from] NoExecutor),
    #[error("use what is known of earlier connections: {0}")]
    Known(KnownError),
    #[error("forget `{id}`, of which nothing is known")]
    NothingKnown { id: String, known: Vec<String> },
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
    #[error("reach environment `{id}`: {}", .error.without_remedy())]
    Connect { id: String, error: ConnectError },
    #[error("reach `{id}`, which its entry requires: {}", .error.without_remedy())]
    Required { id: String, error: ConnectError },
    /// Skills are not read yet, so none is there.
    #[error(
        "begin: Required skill \"{skill}\" from environment \"{id}\" is unavailable; this version \
         has no skills"
    )]
    Skill { id: String, skill: String },
    #[error("use the working folder: {0}")]
    Folder(String),
    #[error("start the command in `{id}`: {}", told(.error))]
    Start { id: String, error: CallError },
    #[error("follow the command in `{id}`: {reason}")]
    Lost { id: String, reason: String },
    #[error("{0}")]
    File(#[from] FileError),
    #[error("{0}")]
    Job(#[from] JobError),
    #[error("write to {path}: {error}")]
    Write {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("offer the environments: {0}")]
    Listen(GatewayError),
    #[error("take over the terminal: {0}")]
    Terminal(std::io::Error),
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
            | Self::Edit(_)
            | Self::Export(_)
            | Self::NoExecutor(_)
            | Self::UnknownEnvironment { .. }
            | Self::Known(_)
            | Self::NothingKnown { .. }
            | Self::NoDefault
            | Self::NoModel
            | Self::NoKey { .. }
            | Self::Model(_)
            | Self::Folder(_) => USAGE,
            Self::Start {
                error: CallError::Refused(_),
                ..
            } => NOT_STARTED,
            Self::Connect { .. } | Self::Ssh { .. } | Self::Start { .. } | Self::Lost { .. } => {
                LOST
            }
            Self::File(error) if files::is_loss(error) => LOST,
            Self::Job(error) if jobs::is_loss(error) => LOST,
            Self::Job(error) if jobs::is_usage(error) => USAGE,
            Self::NotAdded { .. }
            | Self::File(_)
            | Self::Job(_)
            | Self::Required { .. }
            | Self::Skill { .. }
            | Self::Prompt(_)
            | Self::Listen(_)
            | Self::Terminal(_)
            | Self::Write { .. }
            | Self::Output(_)
            | Self::NoFolder(_)
            | Self::Runtime(_) => 1,
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
            Self::Edit(error) => edit_hint(error).to_owned(),
            Self::NotAdded { .. } => {
                "correct that, or add it with --no-test all the same; nothing was written"
                    .to_owned()
            }
            Self::Ssh { error, .. } => error.remedy.clone(),
            Self::Export(_) => "name a file that does not exist yet".to_owned(),
            Self::NoExecutor(_) => {
                "build or install both programs into the same folder, or select other \
                 environments with -e"
                    .to_owned()
            }
            Self::Known(_) => {
                "correct that file, or remove it: then every key is the first again".to_owned()
            }
            Self::NothingKnown { known, .. } if known.is_empty() => {
                "look into its entry: keys that stand there (`executor_key`, `pin_sha256`, `ca_file`) are not \
                 forgotten"
                    .to_owned()
            }
            Self::NothingKnown { known, .. } => format!("known are: {}", known.join(", ")),
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
            Self::Connect { id, error } | Self::Required { id, error } => {
                let remedy = remedy::of(error);
                format!("{remedy}; `farstep env doctor {id}` tries each hop on the way")
            }
            Self::Skill { id, .. } => format!(
                "choose other environments with -e, or take the skill out of `skills.required` of `{id}`"
            ),
            Self::Folder(_) => {
                "name a folder that exists there, in that machine's own spelling".to_owned()
            }
            Self::Start {
                id,
                error: CallError::Refused(refusal),
            } => start_hint(id, &refusal.message),
            Self::Start { id, .. } | Self::Lost { id, .. } => {
                format!("the command may still run; `farstep env test {id}` shows the connection")
            }
            Self::File(error) => return files::hint(error),
            Self::Job(error) => return jobs::hint(error),
            Self::Write { .. } => "name a folder you can write to".to_owned(),
            Self::Listen(_) => "choose another port; 0 takes a free one".to_owned(),
            Self::Terminal(_) => "leave --tty out".to_owned(),
            Self::NoFolder(_) => "change into a folder that exists".to_owned(),
            Self::Output(_) | Self::Runtime(_) => return None,
        };
        Some(hint)
    }
}

/// An executor's refusal in its own words, without the number that is for programs.
fn told(error: &CallError) -> String {
    match error {
        CallError::Refused(refusal) => refusal.message.clone(),
        other => other.to_string(),
    }
}

/// What helps against the likeliest reasons for which a program is not started.
fn start_hint(id: &str, said: &str) -> String {
    let has = |words: &str| said.contains(words);
    if has("working folder") {
        format!("name a folder that is there with --cwd; `farstep ls {id}:FOLDER` shows what is")
    } else if has("Exec format error") {
        "it is no program for that machine; name its interpreter, as in `sh SCRIPT`".to_owned()
    } else if has("Permission denied") {
        format!("it is a directory, or its user may not run it: `farstep ls -l {id}:PROGRAM`")
    } else {
        "check the program's name; no shell is involved, so pass `sh -c '...'` for shell syntax"
            .to_owned()
    }
}

fn edit_hint(error: &EditError) -> &'static str {
    match error {
        EditError::Load(_) => "correct the file first",
        EditError::Refused { diagnostics, .. } => {
            let is = |kind| diagnostics.iter().any(|one| one.kind == kind);
            if is(Kind::DuplicateId) {
                "nothing was written; choose another id, or `farstep env remove` the old one first"
            } else if is(Kind::DefaultUnknown) {
                "nothing was written; `farstep env default ID` chooses one that stays"
            } else {
                "nothing was written; correct the arguments"
            }
        }
        EditError::NoSuchEntry { .. } => "`farstep env list` shows them all",
        EditError::NotEditable { .. } => "make the change by hand",
        EditError::Changed { .. } => "run the command again",
        EditError::Busy { .. } => "wait for it to end, then run the command again",
        EditError::Write { .. } => "make the folder and the file writable for you",
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

/// Tells a program that reads our standard output, beside the person.
pub fn report_json(failure: &Failure) {
    if matches!(failure, Failure::Output(_)) {
        return;
    }
    let line = serde_json::json!({
        "type": "error",
        "error": failure.to_string(),
        "try": failure.hint(),
        "exitCode": failure.code(),
    });
    // Whoever no longer reads is told on standard error, and by our exit code.
    let _ = super::print_json_line(&line);
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
