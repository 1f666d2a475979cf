//! Starting a program, and every way that can fail.
//!
//! ```text
//!   async caller ── Command ──▶ Spawner (a few long-lived threads) ──▶ vfork child ──▶ exec
//!        ▲                            │ pipes or terminal, prepared strings      │
//!        └──────── Child ─────────────┴──── failing stage and errno ◀────────────┘
//! ```
//!
//! There is no helper program in between: what has to happen in the child happens between the
//! clone and the exec, in a handful of raw system calls.

mod image;
mod pool;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;
mod room;
#[cfg(target_os = "linux")]
mod vfork;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::process::Pid;

pub use pool::Spawner;
pub use room::STRINGS_MAX;
#[cfg(target_os = "linux")]
pub(super) use vfork::seal_inherited;

use super::child::{Child, ExitWatch, Group};
use super::contain::Origin;
use super::input::Input;
use super::output::Output;
use super::pipe;
use super::terminal;
use crate::os::shared::{Command, Stdio};

/// Why a program was not started. Nothing is left behind by any of them.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("start a program without a name")]
    EmptyProgram,
    #[error("start {program}: a NUL byte in {place}")]
    NulByte {
        program: String,
        place: &'static str,
    },
    #[error(
        "start {program}: more than {} arguments and variables",
        room::STRINGS_MAX
    )]
    TooManyStrings { program: String },
    #[error("start {program}: {what}: {bytes} bytes, where {max} are the most")]
    TooLong {
        program: String,
        what: &'static str,
        bytes: usize,
        max: usize,
    },
    #[error("start {program}: {what}: {source}")]
    NoResources {
        program: String,
        what: &'static str,
        source: io::Error,
    },
    #[error("start {program}: {stage}: {source}")]
    InChild {
        program: String,
        stage: Stage,
        source: io::Error,
    },
    #[error("start {program}: the executor is shutting down")]
    ShuttingDown { program: String },
}

/// The step at which the new process gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The parent died in the same moment.
    Orphaned,
    /// A session of its own.
    Session,
    /// Its three descriptors.
    Descriptors,
    /// The terminal as the controlling one.
    Terminal,
    /// The working folder, named here.
    WorkingFolder(String),
    /// The program itself: missing, not executable, of a wrong format, or too many arguments.
    Exec,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Orphaned => f.write_str("the parent is gone"),
            Stage::Session => f.write_str("create a session"),
            Stage::Descriptors => f.write_str("connect the standard streams"),
            Stage::Terminal => f.write_str("take the terminal"),
            Stage::WorkingFolder(cwd) => write!(f, "enter the working folder {cwd}"),
            Stage::Exec => f.write_str("execute"),
        }
    }
}

/// The two sides of a program's streams, made just before the start.
struct Streams {
    ours: OurSide,
    theirs: TheirSide,
}

enum OurSide {
    Pipes {
        input: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// One terminal three times, because each of the three is waited for or used on its own.
    Terminal {
        keyboard: OwnedFd,
        screen: OwnedFd,
        control: OwnedFd,
    },
}

/// Blocking ends, closed here as soon as the child has them.
enum TheirSide {
    Pipes {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    Terminal(OwnedFd),
}

impl Streams {
    fn open(stdio: Stdio) -> Result<Streams, (&'static str, io::Error)> {
        match stdio {
            Stdio::Pipes | Stdio::PipesWithInput => {
                let made = |error| ("make pipes", error);
                let (stdout, their_stdout) = pipe::for_output().map_err(made)?;
                let (stderr, their_stderr) = pipe::for_output().map_err(made)?;
                let (their_stdin, input) = if stdio == Stdio::PipesWithInput {
                    let (theirs, ours) = pipe::for_input().map_err(made)?;
                    (theirs, Some(ours))
                } else {
                    let null = pipe::null().map_err(|error| ("open the null device", error))?;
                    (null, None)
                };
                Ok(Streams {
                    ours: OurSide::Pipes {
                        input,
                        stdout,
                        stderr,
                    },
                    theirs: TheirSide::Pipes {
                        stdin: their_stdin,
                        stdout: their_stdout,
                        stderr: their_stderr,
                    },
                })
            }
            Stdio::Terminal(size) => {
                let made = |error| ("make a terminal", error);
                let (screen, slave) = terminal::open(size).map_err(made)?;
                Ok(Streams {
                    ours: OurSide::Terminal {
                        keyboard: terminal::duplicate(&screen).map_err(made)?,
                        control: terminal::duplicate(&screen).map_err(made)?,
                        screen,
                    },
                    theirs: TheirSide::Terminal(slave),
                })
            }
        }
    }
}

impl OurSide {
    /// The whole child, once it runs. `ended` becomes readable at its end.
    fn into_child(self, pid: Pid, ended: OwnedFd, origin: Origin) -> Child {
        let (input, stdout, stderr, control) = match self {
            OurSide::Pipes {
                input,
                stdout,
                stderr,
            } => {
                let stderr = Some(Output::pipe(stderr));
                (input.map(Input::pipe), Output::pipe(stdout), stderr, None)
            }
            OurSide::Terminal {
                keyboard,
                screen,
                control,
            } => {
                let input = Some(Input::terminal(keyboard));
                (input, Output::terminal(screen), None, Some(control))
            }
        };
        let group = Arc::new(Group::new(pid, control, origin));
        Child {
            input,
            stdout,
            stderr,
            exit: ExitWatch::new(ended, Arc::clone(&group)),
            group,
        }
    }
}
