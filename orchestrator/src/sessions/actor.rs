//! The owner of one process: starts it, takes what it says, passes on what is typed.
//!
//! ```text
//!   Starting ──► Running ──► Over (exited and closed, or lost)
//!      └──────────────────────▲   (it could not be started)
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farstep_environments::{CallError, ProcessEvent};
use farstep_protocol::method::process::{StartParams, WriteStatus};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::{End, Heard, Opening, Progress, WriteError};
use crate::events::{Detail, Event, Events, Item, Live, Status};
use crate::machine::{Machine, Running};

/// After an executor has confirmed that it killed a process, its last events are this close.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(super) enum Command {
    Write {
        bytes: Vec<u8>,
        reply: oneshot::Sender<Result<(), WriteError>>,
    },
    Terminate,
}

pub(super) struct Actor {
    machine: Arc<dyn Machine>,
    params: StartParams,
    commands: mpsc::Receiver<Command>,
    progress: watch::Sender<Progress>,
    heard: Arc<Heard>,
    events: Events,
    item: Item,
    /// Somebody keeps up with showing its output.
    shown: bool,
}

impl Actor {
    pub(super) fn new(
        opening: Opening,
        commands: mpsc::Receiver<Command>,
        progress: watch::Sender<Progress>,
        heard: Arc<Heard>,
        events: Events,
    ) -> Self {
        let Opening {
            machine,
            params,
            item,
            ..
        } = opening;
        Self {
            machine,
            params,
            commands,
            progress,
            heard,
            events,
            item,
            shown: true,
        }
    }

    pub(super) async fn run(mut self) {
        self.events
            .emit(Event::ItemStarted {
                item: self.item.clone(),
            })
            .await;
        let end = match self.start().await {
            Ok(mut running) => {
                self.progress.send_replace(Progress::Running);
                self.follow(running.as_mut()).await
            }
            Err(reason) => End::NotStarted { reason },
        };
        if let End::NotStarted { reason } | End::Lost { reason } = &end {
            let environment = self.item.environment_id.as_deref().unwrap_or_default();
            tracing::debug!(env = environment, reason, "a process did not end by itself");
        }
        let item = as_of_now(&self.item, &self.heard, Some(&end));
        // The end is known before it is shown, so that nobody waits for a slow terminal.
        self.progress.send_replace(Progress::Over(end));
        self.events.emit(Event::ItemCompleted { item }).await;
    }

    async fn start(&mut self) -> Result<Box<dyn Running>, String> {
        let started = self.machine.start(self.params.clone());
        tokio::pin!(started);
        loop {
            tokio::select! {
                biased; // A wish to stop beats the start it is about.
                Some(command) = self.commands.recv() => match command {
                    // Letting go of the start ends what it may have begun.
                    Command::Terminate => return Err("terminated before it began".to_owned()),
                    Command::Write { reply, .. } => {
                        let early = "the process is still starting".to_owned();
                        let _ = reply.send(Err(WriteError::Failed(early)));
                    }
                },
                started = &mut started => return started.map_err(|error| error.to_string()),
            }
        }
    }

    async fn follow(&mut self, running: &mut dyn Running) -> End {
        let mut code = None;
        let mut give_up: Option<Instant> = None;
        loop {
            let deadline = give_up.unwrap_or_else(|| Instant::now() + LAST_WORDS);
            tokio::select! {
                biased; // Stopping beats listening.
                Some(command) = self.commands.recv() => match command {
                    Command::Terminate => {
                        if let Err(error) = running.terminate().await {
                            return End::Lost { reason: error.to_string() };
                        }
                        give_up = Some(Instant::now() + LAST_WORDS);
                    }
                    Command::Write { bytes, reply } => {
                        let Some(outcome) = self.write(running, &bytes).await else {
                            return End::Lost { reason: "terminated".to_owned() };
                        };
                        let _ = reply.send(outcome);
                    }
                },
                event = running.next() => match event {
                    Some(ProcessEvent::Output { bytes, .. }) => self.hear(bytes).await,
                    Some(ProcessEvent::Truncated { bytes }) => {
                        self.note(format!("\n[{bytes} bytes of output were lost here]\n"))
                            .await;
                    }
                    Some(ProcessEvent::Missed { .. }) => {
                        self.note("\n[some output was lost here]\n".to_owned()).await;
                    }
                    Some(ProcessEvent::Exited { code: exit, .. }) => code = Some(exit),
                    Some(ProcessEvent::Closed) => break,
                    Some(ProcessEvent::Lost { reason }) => {
                        self.note(format!("\n[the process was lost: {reason}]\n")).await;
                        return End::Lost { reason };
                    }
                    None => return End::Lost { reason: "its events ended early".to_owned() },
                },
                () = tokio::time::sleep_until(deadline), if give_up.is_some() => break,
            }
        }
        match code {
            Some(code) => End::Exited { code },
            None => End::Lost {
                reason: "it was terminated".to_owned(),
            },
        }
    }

    /// Types while the process is listened to by its inbox, which is large. `None` when it is to
    /// end in the meantime: a process that does not read must not keep anybody from ending it.
    async fn write(
        &mut self,
        running: &dyn Running,
        bytes: &[u8],
    ) -> Option<Result<(), WriteError>> {
        let written = running.write(bytes);
        tokio::pin!(written);
        loop {
            tokio::select! {
                biased;
                Some(command) = self.commands.recv() => match command {
                    Command::Terminate => {
                        let _ = running.terminate().await;
                        return None;
                    }
                    Command::Write { reply, .. } => {
                        let busy = "the process has not read what was typed before".to_owned();
                        let _ = reply.send(Err(WriteError::Failed(busy)));
                    }
                },
                outcome = &mut written => return Some(taken(outcome)),
            }
        }
    }

    async fn note(&mut self, text: String) {
        self.hear(Bytes::from(text)).await;
    }

    async fn hear(&mut self, bytes: Bytes) {
        self.heard.push(&bytes);
        if self.shown {
            let environment_id = self.item.environment_id.clone().unwrap_or_default();
            let item = self.item.id.clone();
            let live = Live::Output {
                item,
                environment_id,
                bytes,
            };
            self.shown = self.events.live_soon(live).await;
        }
    }
}

fn taken(outcome: Result<WriteStatus, CallError>) -> Result<(), WriteError> {
    match outcome {
        Ok(WriteStatus::Accepted) => Ok(()),
        Ok(WriteStatus::StdinClosed) => Err(WriteError::NoInput),
        Ok(WriteStatus::UnknownProcess) => Err(WriteError::Failed(
            "the executor no longer knows the process".to_owned(),
        )),
        Ok(WriteStatus::Starting) => Err(WriteError::Failed(
            "the process is still starting; try again".to_owned(),
        )),
        Err(error) => Err(WriteError::Failed(error.to_string())),
    }
}

/// The item with what has been heard, and with the end if there is one.
pub(super) fn as_of_now(item: &Item, heard: &Heard, end: Option<&End>) -> Item {
    let Detail::CommandExecution { command, .. } = &item.detail else {
        return item.clone();
    };
    let mut aggregated_output = heard.everything().to_text();
    let (exit_code, status) = match end {
        None => (None, Status::InProgress),
        Some(End::Exited { code: 0 }) => (Some(0), Status::Completed),
        Some(End::Exited { code }) => (Some(*code), Status::Failed),
        Some(End::NotStarted { reason }) => {
            aggregated_output.push_str(reason);
            (None, Status::Failed)
        }
        Some(End::Lost { .. }) => (None, Status::Failed),
    };
    let command = command.clone();
    let detail = Detail::CommandExecution {
        command,
        aggregated_output,
        exit_code,
        status,
    };
    Item {
        detail,
        ..item.clone()
    }
}
