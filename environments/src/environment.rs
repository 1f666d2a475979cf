//! A named place where tools run, and the one connection to it.
//!
//! ```text
//!             connect, executor                 handshake
//!  Configured ──────────────▶ Starting ──────────────────▶ Ready
//!                              ▲    │ error or time-out      │ connection lost
//!                              │    ▼                        ▼
//!                              │  Failed                Disconnected
//!                              └────┴────── next use ────────┘
//! ```
//!
//! However many wait for a connection, there is one attempt, and all of them get its outcome.
//! Nothing is repaired behind anybody's back: what failed or was lost is tried again when it is
//! used again. A handle taken before stays with the connection it was taken from.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::Executor;
use crate::config::{Entry, EnvironmentId};
use crate::dial::{ConnectError, Dial, Tasks};

/// Where an environment stands.
#[derive(Clone, Debug)]
pub enum Status {
    /// Nobody has wanted it yet.
    Configured,
    /// The attempt is under way.
    Starting,
    /// There is a connection.
    Ready(Executor),
    /// There was one.
    Disconnected { reason: String },
    /// The last attempt failed.
    Failed(ConnectError),
}

/// One environment of the configuration.
pub struct Environment {
    id: EnvironmentId,
    entry: Option<Entry>,
    dial: Arc<dyn Dial>,
    tasks: Tasks,
    status: Arc<watch::Sender<Status>>,
    /// What was wrong when the attempt under way began. A retry is not news to somebody who was
    /// told of the failure, so it is shown until the attempt succeeds.
    trouble: Mutex<Option<Status>>,
    /// Ends an attempt nobody can ask about any more.
    attempts: CancellationToken,
    _cancel: DropGuard,
}

impl Environment {
    pub(crate) fn new(
        id: EnvironmentId,
        entry: Option<Entry>,
        dial: Arc<dyn Dial>,
        tasks: Tasks,
    ) -> Environment {
        let attempts = tasks.stop.child_token();
        Environment {
            id,
            entry,
            dial,
            tasks,
            status: Arc::new(watch::Sender::new(Status::Configured)),
            trouble: Mutex::default(),
            attempts: attempts.clone(),
            _cancel: attempts.drop_guard(),
        }
    }

    pub fn id(&self) -> &EnvironmentId {
        &self.id
    }

    /// Whether it is the orchestrator's own machine.
    pub fn is_local(&self) -> bool {
        self.id.is_local()
    }

    /// Its entry in the configuration; the orchestrator's own machine has none.
    pub fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    /// How it is reached, for people. Holds no secrets.
    pub fn transport_label(&self) -> String {
        self.dial.label()
    }

    /// Where it stands now. Starts, waits for and repairs nothing.
    pub fn status(&self) -> Status {
        current(&self.status.borrow())
    }

    /// Follows where it stands. Whoever keeps the receiver keeps the connection it shows.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Starts the one attempt, unless it is under way or there is a connection already. Returns
    /// at once.
    pub fn connect(&self) {
        if self.tasks.stop.is_cancelled() {
            self.status
                .send_replace(Status::Failed(ConnectError::Closed));
            return;
        }
        let begun = self.status.send_if_modified(|status| {
            let before = match current(status) {
                Status::Starting | Status::Ready(_) => return false,
                Status::Configured => None,
                trouble @ (Status::Disconnected { .. } | Status::Failed(_)) => Some(trouble),
            };
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = before;
            *status = Status::Starting;
            true
        });
        if begun {
            tracing::info!(env = %self.id, "connecting");
            self.tasks.spawn(attempt(Attempt {
                id: self.id.clone(),
                dial: Arc::clone(&self.dial),
                tasks: self.tasks.clone(),
                status: Arc::downgrade(&self.status),
                unwanted: self.attempts.clone(),
            }));
        }
    }

    /// The connection; connects if there is none and waits for the outcome of that attempt.
    pub async fn executor(&self) -> Result<Executor, ConnectError> {
        let mut status = self.status.subscribe();
        self.connect();
        let settled = status
            .wait_for(|status| !matches!(status, Status::Starting))
            .await;
        match settled.as_deref().map(current) {
            Ok(Status::Ready(executor)) => Ok(executor),
            Ok(Status::Failed(error)) => Err(error),
            Ok(Status::Disconnected { reason }) => Err(ConnectError::Lost { reason }),
            // The sender lives in `self` and a connect leaves neither of the others behind.
            Ok(Status::Configured | Status::Starting) | Err(_) => Err(ConnectError::Closed),
        }
    }

    /// As [`Environment::status`], but a retry shows the trouble it is meant to end.
    pub(crate) fn reported(&self) -> Status {
        let status = self.status.borrow();
        match current(&status) {
            Status::Starting => {
                let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
                trouble.clone().unwrap_or(Status::Starting)
            }
            other => other,
        }
    }
}

/// The entry is left out: its URL may hold what nobody should read in a log.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("id", &self.id)
            .field("transport", &self.transport_label())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// The connection may have ended a moment before its environment learns of it.
fn current(status: &Status) -> Status {
    match status {
        Status::Ready(executor) if !executor.is_connected() => Status::Disconnected {
            reason: executor.link().reason(),
        },
        other => other.clone(),
    }
}

/// What an attempt needs; it holds neither the environment nor, later, the connection.
struct Attempt {
    id: EnvironmentId,
    dial: Arc<dyn Dial>,
    tasks: Tasks,
    status: Weak<watch::Sender<Status>>,
    unwanted: CancellationToken,
}

async fn attempt(attempt: Attempt) {
    let Attempt {
        id,
        dial,
        tasks,
        status,
        unwanted,
    } = attempt;
    let outcome = tokio::select! {
        biased; // Nobody waits for an unwanted connection.
        () = unwanted.cancelled() => Err(ConnectError::Closed),
        outcome = dial.dial(&tasks) => outcome,
    };
    let executor = match outcome {
        Ok(executor) => executor,
        Err(error) => {
            if let Some(status) = status.upgrade() {
                tracing::warn!(env = %id, %error, "connecting failed");
                status.send_replace(Status::Failed(error));
            }
            return;
        }
    };
    let link = Arc::clone(executor.link());
    if let Some(status) = status.upgrade() {
        tracing::info!(env = %id, conn = link.serial(), "environment is ready");
        status.send_replace(Status::Ready(executor));
    }
    let reason = link.lost().await;
    if let Some(status) = status.upgrade() {
        status.send_if_modified(|status| {
            // Somebody may have noticed first and begun anew.
            let is_ours = matches!(status, Status::Ready(executor) if executor.link().serial() == link.serial());
            if is_ours {
                *status = Status::Disconnected { reason };
            }
            is_ours
        });
    }
}

#[cfg(test)]
mod tests;
