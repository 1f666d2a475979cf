//! One process from its start to its end, with us at both ends of it.

use std::io::IsTerminal as _;
use std::pin::pin;
use std::time::Duration;

use farstep_environments::process::{CONTROL, StartParams};
use farstep_environments::{Executor, Overflow, Process, ProcessEvent, ProcessInput};
use tokio::sync::mpsc;

use super::feed::{End, Fed, feed};
use super::{INTERRUPTED, UNKNOWN};
use crate::render::{self, Dropped, Failure, ProcessOutput};
use crate::stop::Stop;
use crate::terminal::{Change, Changes, Escape, Terminal};

/// How long an executor may take to end a process that somebody no longer wants.
const TERMINATE_WAIT: Duration = Duration::from_secs(5);

/// How a process is followed.
#[derive(Debug)]
pub(super) struct How {
    /// Whether it reads what we read.
    pub(super) input: bool,
    /// Whether it gets our terminal.
    pub(super) lends: bool,
    pub(super) raw: bool,
    pub(super) json: bool,
}

/// Why we stopped following.
enum Ending {
    Done,
    /// Somebody typed that they want to leave.
    Left,
    /// We were told to end.
    Stopped,
    Lost(String),
}

/// Starts the process and stays with it. Gives the exit code.
pub(super) async fn run(
    executor: &Executor,
    id: &str,
    params: StartParams,
    how: How,
    stop: &Stop,
) -> Result<u8, Failure> {
    let is_terminal = params.tty;
    let started = tokio::select! {
        biased; // Nothing has begun yet that would have to end first.
        () = stop.softly.cancelled() => return Ok(INTERRUPTED),
        started = executor.start_with(params, Overflow::Wait) => started,
    };
    let process = started.map_err(|error| Failure::Start {
        id: id.to_owned(),
        error,
    })?;
    let can_control = executor.info().can(CONTROL);
    let terminal = match how.lends {
        true => Some(Terminal::lend().map_err(Failure::Terminal)?),
        false => None,
    };
    let lent = terminal.is_some() && std::io::stdout().is_terminal();
    let output = ProcessOutput::new(how.json, how.raw, lent);
    let mut following = Following {
        process,
        output,
        code: None,
        is_lent: terminal.is_some(),
        can_control,
        notes: Vec::new(),
    };
    let end = if is_terminal { End::Key } else { End::Close };
    let followed = following.follow(how.input.then_some(end), stop).await;
    let Following {
        code,
        mut output,
        notes,
        process,
        ..
    } = following;
    let finished = output.finish(code).await;
    let is_orderly = matches!(followed, Ok(Ending::Done));
    if terminal.is_some() && !is_orderly {
        render::calm_terminal();
    }
    // Before anything is said here.
    drop(terminal);
    notes.iter().for_each(|note| render::note(note));
    let outcome = match followed? {
        Ending::Done => Ok(code
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(UNKNOWN)),
        Ending::Left => {
            render::note("farstep: left; the command is ended");
            Ok(UNKNOWN)
        }
        Ending::Stopped => Ok(INTERRUPTED),
        Ending::Lost(reason) => Err(Failure::Lost {
            id: id.to_owned(),
            reason,
        }),
    };
    // It ends with its handle, so not before we know what to say.
    drop(process);
    finished.map_err(Failure::Output)?;
    outcome
}

struct Following {
    process: Process,
    output: ProcessOutput,
    code: Option<i64>,
    is_lent: bool,
    can_control: bool,
    /// What is to be said when the terminal is ours again.
    notes: Vec<String>,
}

impl Following {
    async fn follow(&mut self, end: Option<End>, stop: &Stop) -> Result<Ending, Failure> {
        let input = self.process.input().clone();
        let escape = self.is_lent.then(Escape::default);
        let mut feeding = pin!(async {
            match end {
                Some(end) => feed(input.clone(), end, escape).await,
                None => Fed::All,
            }
        });
        let resizes = (self.is_lent && self.can_control).then(|| input.clone());
        let mut minding = pin!(mind(self.is_lent, resizes));
        let (mut is_fed, mut interrupted) = (false, false);
        loop {
            let event = tokio::select! {
                biased; // Stopping beats typing, typing beats listening.
                () = stop.softly.cancelled(), if !interrupted => {
                    // Who has lent the terminal has no key left to ask twice with.
                    if self.is_lent {
                        return Ok(Ending::Stopped);
                    }
                    interrupted = true;
                    interrupt(&self.process).await;
                    continue;
                }
                () = &mut minding => return Ok(Ending::Stopped),
                fed = &mut feeding, if !is_fed => {
                    is_fed = true;
                    match fed {
                        Fed::All => continue,
                        Fed::Leave => return Ok(Ending::Left),
                    }
                }
                event = self.process.next() => event,
            };
            let told = tokio::select! {
                biased; // A reader that does not read must not keep us from stopping.
                () = stop.at_once.cancelled() => return Ok(Ending::Stopped),
                told = self.tell(event) => told,
            };
            if let Some(ending) = told.map_err(Failure::Output)? {
                return Ok(ending);
            }
        }
    }

    async fn tell(&mut self, event: Option<ProcessEvent>) -> std::io::Result<Option<Ending>> {
        match event {
            Some(ProcessEvent::Output { stream, bytes }) => {
                self.output.write(stream, bytes, None).await?;
            }
            Some(ProcessEvent::Truncated { bytes }) => self.drop(Dropped::Bytes(bytes))?,
            Some(ProcessEvent::Missed { events }) => self.drop(Dropped::Pieces(events))?,
            Some(ProcessEvent::Exited { code, .. }) => self.code = Some(code),
            Some(ProcessEvent::Closed) | None => return Ok(Some(Ending::Done)),
            Some(ProcessEvent::Lost { reason }) => return Ok(Some(Ending::Lost(reason))),
        }
        Ok(None)
    }

    fn drop(&mut self, dropped: Dropped) -> std::io::Result<()> {
        let note = self.output.dropped(dropped)?;
        match (note, self.is_lent) {
            (Some(note), true) => self.notes.push(note),
            (Some(note), false) => render::note(&note),
            (None, _) => {}
        }
        Ok(())
    }
}

/// Passes on what becomes of a lent terminal. Returns when we are to end because of it.
async fn mind(is_lent: bool, process: Option<ProcessInput>) {
    let changes = is_lent.then(Changes::listen);
    let mut changes = match changes {
        Some(Ok(changes)) => changes,
        Some(Err(error)) => {
            tracing::warn!(%error, "the size of the terminal cannot be followed");
            return std::future::pending().await;
        }
        None => return std::future::pending().await,
    };
    // Only the newest size matters, and a call that waits must not keep us from hearing the rest.
    let (newest, mut sizes) = mpsc::channel(1);
    let passing = async {
        while let Some(window) = sizes.recv().await {
            if let Some(process) = &process
                && let Err(error) = process.resize(window).await
            {
                tracing::debug!(%error, "the far terminal was not resized");
            }
        }
    };
    let hearing = async {
        loop {
            match changes.next().await {
                Change::Resized(window) => {
                    // One that is waiting already is behind the times only until the next.
                    let _ = newest.send(window).await;
                }
                Change::MustEnd => return,
            }
        }
    };
    tokio::select! {
        () = hearing => {}
        () = passing => {}
    }
}

/// As Ctrl-C in a terminal would; a second one ends us, and with us the process.
async fn interrupt(process: &Process) {
    match tokio::time::timeout(TERMINATE_WAIT, process.interrupt()).await {
        Ok(Ok(())) => render::note("farstep: interrupted the command; once more ends it"),
        Ok(Err(error)) => render::note(&format!("farstep: failed to interrupt: {error}")),
        Err(_) => render::note("farstep: failed to interrupt: the executor does not answer"),
    }
}
