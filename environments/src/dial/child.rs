//! The program behind a stdio environment: its start, its last words and its end.
//!
//! The program leads a process group of its own (unless a person is to talk to it), so that a Ctrl-C at our terminal does not reach
//! it and so that all of it can be killed. Its standard error is never parsed; the end of it is
//! kept, because it is where `ssh` and its kin say why they failed.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio_util::task::AbortOnDropHandle;

use super::withheld::Withheld;

/// How much of its standard error is kept: the last lines of a login that failed.
const STDERR_KEPT: usize = 4 << 10;

/// What a program gets between the end of its input and the kill (`exec-protocol` 1.3).
pub(crate) const EXIT_GRACE: Duration = Duration::from_secs(2);

/// How long the end of the output waits for the exit status and the last words that explain it.
/// They are milliseconds behind; a program that only closed its output does not hold us up.
const EPITAPH_WAIT: Duration = Duration::from_millis(250);

/// What to run.
pub(crate) struct Program {
    pub(crate) program: OsString,
    pub(crate) args: Vec<String>,
    /// Added to what is inherited.
    pub(crate) env: BTreeMap<String, String>,
    /// The only variables inherited; `None` inherits all but the withheld.
    pub(crate) inherited: Option<Vec<String>>,
    pub(crate) cwd: Option<PathBuf>,
    /// Whether it leads a process group: then our terminal does not reach it, nor it our terminal.
    pub(crate) own_group: bool,
}

/// Arguments and values may be secrets.
impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("program", &self.program)
            .field("env", &self.env.keys())
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// A started program. Dropping it kills its whole group.
#[derive(Debug)]
pub(crate) struct Child {
    child: tokio::process::Child,
    group: Group,
    stderr: Arc<Mutex<Tail>>,
    listener: Option<AbortOnDropHandle<()>>,
}

/// Starts `program` and returns it with its standard output and input.
pub(crate) fn spawn(
    program: &Program,
    withheld: &Withheld,
) -> Result<(Child, ChildStdout, ChildStdin), std::io::Error> {
    let mut command = Command::new(&program.program);
    command
        .args(&program.args)
        .env_clear()
        .envs(inherited(program, withheld))
        .envs(&program.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[cfg(unix)]
    if program.own_group {
        command.process_group(0);
    }
    if let Some(cwd) = &program.cwd {
        command.current_dir(cwd);
    }
    let mut child = command.spawn()?;
    let missing = || std::io::Error::other("a pipe to the program is missing");
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let tail = Arc::new(Mutex::new(Tail::default()));
    let listener = AbortOnDropHandle::new(tokio::spawn(listen(stderr, Arc::clone(&tail))));
    let group = match program.own_group {
        true => Group::of(&child),
        false => Group::default(),
    };
    let child = Child {
        child,
        group,
        stderr: tail,
        listener: Some(listener),
    };
    Ok((child, stdout, stdin))
}

fn inherited(program: &Program, withheld: &Withheld) -> Vec<(OsString, OsString)> {
    let passes = |name: &OsStr| match &program.inherited {
        // Naming a variable is a decision, so even a credential passes.
        Some(names) => names.iter().any(|listed| name == listed.as_str()),
        None => !withheld.covers(name),
    };
    std::env::vars_os()
        .filter(|(name, _)| passes(name))
        .collect()
}

impl Child {
    /// How the program ended and what it said last; `None` when it still runs and is silent.
    pub(crate) async fn epitaph(&mut self) -> Option<String> {
        let ended = async {
            let status = self.child.wait().await;
            if let Some(listener) = self.listener.take() {
                // A grandchild may hold standard error open; the outer limit covers that.
                let _ = listener.await;
            }
            status
        };
        let status = match tokio::time::timeout(EPITAPH_WAIT, ended).await {
            Ok(Ok(status)) => Some(status),
            Ok(Err(_)) | Err(_) => self.child.try_wait().ok().flatten(),
        };
        compose(status, &self.last_words())
    }

    /// Whether it ended, and without an error.
    pub(crate) fn ended_well(&mut self) -> bool {
        let status = self.child.try_wait().ok().flatten();
        status.is_some_and(|status| status.success())
    }

    /// The end of what the program wrote to its standard error, fit for a terminal.
    pub(crate) fn last_words(&self) -> String {
        let tail = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        tail.text()
    }

    /// Waits for the program to follow the end of its input, then kills what is left of its
    /// group. The caller has closed the pipes.
    pub(crate) async fn finish(mut self) {
        if tokio::time::timeout(EXIT_GRACE, self.child.wait())
            .await
            .is_err()
        {
            tracing::info!("executor program did not end with its input and is killed");
        }
        self.group.kill();
        if let Err(error) = self.child.kill().await {
            tracing::debug!(%error, "executor program could not be killed");
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.group.kill();
    }
}

fn compose(status: Option<ExitStatus>, last_words: &str) -> Option<String> {
    let ended = status.map(|status| format!("the program ended with {status}"));
    let said = (!last_words.is_empty()).then(|| {
        format!(
            "its standard error ends with:\n  {}",
            last_words.replace('\n', "\n  ")
        )
    });
    match (ended, said) {
        (Some(ended), Some(said)) => Some(format!("{ended}; {said}")),
        (ended, said) => ended.or(said),
    }
}

async fn listen(mut stderr: ChildStderr, tail: Arc<Mutex<Tail>>) {
    let mut buffer = [0; 1024];
    while let Ok(read) = stderr.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        tail.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(&buffer[..read]);
    }
}

/// The last [`STDERR_KEPT`] bytes of a stream.
#[derive(Debug, Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let excess = self.0.len().saturating_sub(STDERR_KEPT);
        self.0.drain(..excess);
    }

    fn text(&self) -> String {
        let (front, back) = self.0.as_slices();
        let bytes = [front, back].concat();
        printable(String::from_utf8_lossy(&bytes).trim())
    }
}

/// Text from the other side with everything replaced that could act on a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() || is_invisible(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e007f}')
}

/// The process group a program leads, if it leads one.
#[derive(Debug, Default)]
struct Group {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

impl Group {
    #[cfg(unix)]
    fn of(child: &tokio::process::Child) -> Group {
        let leader = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw);
        Group { leader }
    }

    #[cfg(not(unix))]
    fn of(_: &tokio::process::Child) -> Group {
        Group {}
    }

    /// Kills every member, once: later the number may belong to somebody else.
    #[cfg(unix)]
    fn kill(&mut self) {
        if let Some(leader) = self.leader.take() {
            // An error means that nobody is left, which is what we want.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }

    #[cfg(not(unix))]
    fn kill(&mut self) {}
}
