//! Keeps a stock `codex exec-server --remote` running, for machines where it must be codex and not us.
//!
//! ```text
//!   credential (variable, file, program) ──▶ start ──▶ run: frames in, output out, its end
//!                     ▲                                  │               │
//!                     └───────────── pause ◀─────────────┘               └── told to stop, or final
//! ```
//!
//! Such a codex ends whenever it is refused, and gets its credential once unless somebody says a new
//! one to it (`rendezvous` sections A3 and A4). This starts it again after a pause, reads the
//! credential anew each time, and has frames follow the source while it runs. A program and all it
//! started are ended together, also when we are suddenly gone (`os`). It knows nothing of what codex
//! serves: it hears when codex ends, and of what it says only why it was refused for good.

mod args;
mod credential;
mod output;
mod run;
mod secrets;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use args::{HandOver, Refused, Settings, SuperviseArgs};
pub use credential::CredentialError;

use crate::logs::LogFormat;
use crate::os::{SpawnError, Spawner, StopSignals};
use crate::pause::Pauses;
use credential::Credential;
use run::{End, Run};
use secrets::Secrets;

/// Where the command runs, and with what.
#[derive(Clone)]
pub struct Place {
    pub cwd: PathBuf,
    pub variables: Vec<(OsString, OsString)>,
}

/// Variables may be secret.
impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// Why the command is not started again, although nobody told us to stop.
#[derive(Debug, thiserror::Error)]
pub enum GivenUp {
    #[error("failed to watch over a command: {0}")]
    System(#[from] io::Error),
    #[error(transparent)]
    Credential(CredentialError),
    #[error("failed to {0}")]
    NotStarted(SpawnError),
    #[error(
        "{program} ended with status {status}, as it does when it does not understand its command \
         line, so it is not started again"
    )]
    Final { program: String, status: i32 },
    #[error("{program} failed {times} times in a row, so it is not started again")]
    TooOften { program: String, times: u32 },
    #[error(
        "another executor took the environment over, so {program} is not started again: two would \
         take it from each other for ever. Give this one another id, or remove the environment with \
         `farstep-rendezvous admin forget`"
    )]
    Superseded { program: String },
}

impl GivenUp {
    /// The exit status, by which a service manager can tell what is worth another try.
    pub fn status(&self) -> u8 {
        match self {
            GivenUp::System(_) | GivenUp::Credential(_) | GivenUp::NotStarted(_) => 1,
            GivenUp::Final { .. } => 2,
            GivenUp::TooOften { .. } => 3,
            GivenUp::Superseded { .. } => 4,
        }
    }
}

impl SuperviseArgs {
    /// How to log.
    pub fn log_format(&self) -> LogFormat {
        self.log.log_format
    }
}

/// Keeps the command running until we are told to stop.
pub fn supervise(settings: Settings, place: Place) -> Result<(), GivenUp> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let mut signals = StopSignals::new()?;
        let supervisor = Supervisor {
            settings,
            place,
            spawner: Spawner::new(),
            secrets: Secrets::default(),
        };
        supervisor.keep(&mut signals).await
    });
    // Somebody may not take what is printed.
    runtime.shutdown_background();
    ended
}

/// What every run needs.
#[derive(Debug)]
struct Supervisor {
    settings: Settings,
    place: Place,
    spawner: Spawner,
    secrets: Secrets,
}

/// The row of failures that goes on.
#[derive(Debug, Default)]
struct Row {
    failures: u32,
    pauses: Pauses,
}

impl Row {
    /// One more; how long to wait, unless it is one too many.
    fn failed(&mut self, max: Option<u32>) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        match max.is_some_and(|max| self.failures >= max) {
            true => None,
            false => Some(self.pauses.pick()),
        }
    }

    /// An end that begins no row: how long to wait.
    fn broken(&mut self) -> Duration {
        *self = Row::default();
        self.pauses.pick()
    }
}

impl Supervisor {
    async fn keep(&self, signals: &mut StopSignals) -> Result<(), GivenUp> {
        let mut row = Row::default();
        let mut has_run = false;
        loop {
            let attempt = tokio::select! {
                biased; // Stopping beats starting.
                _ = signals.recv() => return Ok(()),
                attempt = self.attempt(has_run) => attempt?,
            };
            let end = match attempt {
                Some(run) => {
                    has_run = true;
                    run.last(self, signals).await
                }
                None => End::not_at_all(),
            };
            let End::ByItself(fate) = end else {
                return Ok(());
            };
            let pause = self.judge(&fate, &mut row)?;
            let (seconds, failures) = (pause.as_secs_f64(), row.failures);
            tracing::info!(seconds, failures, "starting it again after a pause");
            tokio::select! {
                biased; // Stopping beats starting.
                _ = signals.recv() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts it with the credential of now. `None` if that failed and may work later: what never
    /// worked is more likely wrong than away.
    async fn attempt(&self, has_run: bool) -> Result<Option<Run>, GivenUp> {
        let credential = match &self.settings.credential {
            Some((_, source)) => match source.read(&self.spawner, &self.place).await {
                Ok(credential) => Some(credential),
                Err(error) if has_run || source.may_recover() => {
                    tracing::warn!(%error, "there is no credential");
                    return Ok(None);
                }
                Err(error) => return Err(GivenUp::Credential(error)),
            },
            None => None,
        };
        match Run::start(self, credential).await {
            Ok(run) => Ok(Some(run)),
            Err(error) if has_run => {
                tracing::warn!(%error, "the command was not started");
                Ok(None)
            }
            Err(error) => Err(GivenUp::NotStarted(error)),
        }
    }

    /// How long to wait before the next start, unless there is no use in one.
    fn judge(&self, fate: &run::Fate, row: &mut Row) -> Result<Duration, GivenUp> {
        let program = || program(&self.settings.command);
        if fate.superseded {
            return Err(GivenUp::Superseded { program: program() });
        }
        if fate.lived >= self.settings.healthy {
            return Ok(row.broken());
        }
        if let Some(status) = fate.status
            && self.settings.final_statuses.contains(&status)
        {
            let program = program();
            return Err(GivenUp::Final { program, status });
        }
        let pause = row.failed(self.settings.failures_max);
        pause.ok_or_else(|| GivenUp::TooOften {
            program: program(),
            times: row.failures,
        })
    }
}

/// The name of the program, which is all of a command that is said to anybody.
fn program(command: &[OsString]) -> String {
    let first = command.first().map(Path::new);
    let name = first.and_then(Path::file_name).unwrap_or_default();
    name.to_string_lossy().into_owned()
}
