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
//! used again, unless its entry wants a program to be restarted. A handle taken before stays with
//! the connection it was taken from.

mod health;
mod herald;
mod restart;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::{DurableSession, Executor, SessionId, Wanted};
use crate::config::{Entry, EnvironmentId, Profile, RestartPolicy};
use crate::dial::{ConnectError, Dial, News, Passage, Tasks, Trail, Tried, Waiting};
use crate::terms::Terms;
pub use health::Check;
use health::Seen;
pub use herald::Herald;
use restart::{Restarts, Rule};

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

type Trouble = Arc<Mutex<Option<Status>>>;

impl Status {
    /// A word for it, for people and programs.
    pub fn word(&self) -> &'static str {
        match self {
            Status::Configured => "configured",
            Status::Starting => "connecting",
            Status::Ready(executor) if executor.is_recovering() => "recovering",
            Status::Ready(_) => "ready",
            Status::Disconnected { .. } => "disconnected",
            Status::Failed(_) => "failed",
        }
    }

    /// Why it cannot be used, if it was tried.
    pub fn reason(&self) -> Option<String> {
        match self {
            Status::Configured | Status::Starting | Status::Ready(_) => None,
            Status::Disconnected { reason } => Some(reason.clone()),
            Status::Failed(error) => Some(error.to_string()),
        }
    }
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
    trouble: Trouble,
    restart: Option<Rule>,
    /// How far the attempt under way has come.
    news: News,
    /// A use does not wait for the end of the pause before a restart.
    hurry: Arc<Notify>,
    /// The last look for a sign of life.
    seen: Seen,
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
        let tasks = tasks.under(entry.as_ref().map(Terms::of).unwrap_or_default());
        Environment {
            id,
            restart: entry.as_ref().and_then(Rule::of),
            hurry: Arc::default(),
            seen: Seen::default(),
            entry,
            dial,
            tasks,
            status: Arc::new(watch::Sender::new(Status::Configured)),
            trouble: Trouble::default(),
            news: Arc::new(watch::Sender::new(Waiting::default())),
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

    /// Whether its entry lets anything be written there.
    pub fn may_write(&self) -> bool {
        self.profile() != Some(Profile::ReadOnly)
    }

    /// Whether its entry lets less be done there than its executor's user may.
    pub fn is_confined(&self) -> bool {
        matches!(self.profile(), Some(Profile::ReadOnly | Profile::Workspace))
    }

    /// Whether its entry wants nobody on the way to see how much is said.
    pub fn is_padded(&self) -> bool {
        let rendezvous = self
            .entry
            .as_ref()
            .and_then(|entry| entry.farstep.rendezvous.as_ref());
        rendezvous.and_then(|rendezvous| rendezvous.padding) == Some(true)
    }

    fn profile(&self) -> Option<Profile> {
        let entry = self.entry.as_ref()?;
        Profile::named(entry.farstep.permission_profile.as_deref()?)
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

    /// Follows how far the attempt under way has come, for whoever waits for it.
    pub fn waiting(&self) -> watch::Receiver<Waiting> {
        self.news.subscribe()
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
                // It ended, and once is all it may run.
                Status::Failed(ConnectError::Ended { .. }) => return false,
                Status::Disconnected { .. } if self.runs_once() => return false,
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
                trouble: Arc::clone(&self.trouble),
                restarts: Restarts::new(self.restart),
                runs_once: self.runs_once(),
                hurry: Arc::clone(&self.hurry),
                news: Arc::clone(&self.news),
                seen: self.seen.clone(),
            }));
        } else {
            self.hurry.notify_waiters();
        }
    }

    fn runs_once(&self) -> bool {
        self.restart
            .is_some_and(|rule| rule.policy == RestartPolicy::Never)
    }

    /// The connection; connects if there is none and waits for the outcome of that attempt.
    pub async fn executor(&self) -> Result<Executor, ConnectError> {
        let mut status = self.status.subscribe();
        self.connect();
        let settled = async {
            let settled = status.wait_for(|status| !matches!(status, Status::Starting));
            settled.await.map(|status| current(&status))
        };
        match self.told(settled).await {
            Ok(Status::Ready(executor)) => Ok(executor),
            Ok(Status::Failed(error)) => Err(error),
            Ok(Status::Disconnected { reason }) => Err(ConnectError::Lost { reason }),
            // The sender lives in `self` and a connect leaves neither of the others behind.
            Ok(Status::Configured | Status::Starting) | Err(_) => Err(ConnectError::Closed),
        }
    }

    /// Makes a connection of its own, beside the one that is kept, and tells of every hop on the
    /// way. For looking for faults: it changes no status.
    pub async fn probe(&self) -> Probe {
        let mut trail = Trail::default();
        let outcome = self.dial.dial(&self.tasks.once(), &mut trail).await;
        Probe {
            hops: trail.finish(),
            outcome,
        }
    }

    /// Opens a durable session, kept for `retention` after its last connection or for as long as
    /// the executor allows, over a connection of its own.
    pub async fn open_session(&self, retention: Duration) -> Result<DurableSession, ConnectError> {
        let executor = self.dial_for(Wanted::Durable { retention }).await?;
        DurableSession::of(executor).ok_or_else(|| ConnectError::NotDurable {
            reason: "it knows no durable sessions".to_owned(),
        })
    }

    /// Takes a durable session up over a connection of its own. With `peek` its clock goes on as if
    /// nobody had come.
    pub async fn resume_session(
        &self,
        id: &SessionId,
        peek: bool,
    ) -> Result<DurableSession, ConnectError> {
        let id = id.clone();
        let executor = self.dial_for(Wanted::Resume { id, peek }).await?;
        DurableSession::of(executor).ok_or_else(|| ConnectError::SessionGone {
            reason: "it is no durable session".to_owned(),
        })
    }

    /// What the last look for a sign of life found, if there was one.
    pub fn last_check(&self) -> Option<Check> {
        self.seen.last()
    }

    /// Looks for a sign of life, if there is a connection. It repairs nothing.
    pub async fn check(&self) -> Option<Check> {
        let Status::Ready(executor) = self.status() else {
            return None;
        };
        let limit = self.tasks.terms.health().map(|pulse| pulse.timeout);
        Some(health::look(&executor, limit, &self.seen).await)
    }

    /// What its entry demands of the machine.
    pub(crate) fn terms(&self) -> &Arc<Terms> {
        &self.tasks.terms
    }

    /// A connection of its own for somebody who speaks the protocol himself.
    pub(crate) async fn passage(&self, deadline: Instant) -> Result<Passage, ConnectError> {
        if self.tasks.stop.is_cancelled() {
            return Err(ConnectError::Closed);
        }
        let mut trail = Trail::default();
        let began = Instant::now();
        let opened = tokio::time::timeout_at(deadline, self.dial.open(&mut trail)).await;
        opened.unwrap_or_else(|_| {
            Err(ConnectError::TimedOut {
                url: self.transport_label(),
                after: began.elapsed(),
                hop: trail.under_way(),
            })
        })
    }

    async fn dial_for(&self, wanted: Wanted) -> Result<Executor, ConnectError> {
        if self.tasks.stop.is_cancelled() {
            return Err(ConnectError::Closed);
        }
        let tasks = self.tasks.wanting(wanted);
        let mut trail = Trail::telling(&self.news);
        self.told(self.dial.dial(&tasks, &mut trail)).await
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

/// What a look at the way to an environment found.
#[derive(Debug)]
pub struct Probe {
    /// What was tried, in order; when it failed, the last one is where.
    pub hops: Vec<Tried>,
    /// The connection that was made; it ends when it is dropped.
    pub outcome: Result<Executor, ConnectError>,
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
    trouble: Trouble,
    restarts: Restarts,
    runs_once: bool,
    hurry: Arc<Notify>,
    news: News,
    seen: Seen,
}

/// One attempt, and those that follow when its program is to be restarted.
async fn attempt(mut attempt: Attempt) {
    while attempt.once().await {}
}

impl Attempt {
    /// Connects and stays until the connection is lost. Whether to do it again.
    async fn once(&mut self) -> bool {
        let mut trail = Trail::telling(&self.news);
        let outcome = tokio::select! {
            biased; // Nobody waits for an unwanted connection.
            () = self.unwanted.cancelled() => Err(ConnectError::Closed),
            outcome = self.dial.dial(&self.tasks, &mut trail) => outcome,
        };
        let executor = match outcome {
            Ok(executor) => executor,
            Err(error) => {
                tracing::warn!(env = %self.id, %error, "connecting failed");
                return self.failed(error).await;
            }
        };
        let link = Arc::clone(executor.link());
        let began = Instant::now();
        if let Some(status) = self.status.upgrade() {
            tracing::info!(env = %self.id, conn = link.serial(), "environment is ready");
            status.send_replace(Status::Ready(executor));
        }
        if let Some(pulse) = self.tasks.terms.health() {
            let watch = health::watch(self.status.clone(), Arc::clone(&link), pulse, &self.seen);
            tokio::select! {
                biased; // There is nothing to watch over any more.
                _ = link.lost() => {}
                () = watch => {}
            }
        }
        let reason = link.lost().await;
        let pause = match self.tasks.stop.is_cancelled() {
            true => None,
            false => self.restarts.after_end(began.elapsed(), link.ended_well()),
        };
        let next = match (pause, self.runs_once && !self.tasks.stop.is_cancelled()) {
            (Some(_), _) => Status::Starting,
            (None, true) => Status::Failed(ConnectError::Ended {
                reason: reason.clone(),
            }),
            (None, false) => Status::Disconnected {
                reason: reason.clone(),
            },
        };
        let trouble = Status::Disconnected { reason };
        let is_ours = |status: &Status| matches!(status, Status::Ready(executor) if executor.link().serial() == link.serial());
        self.go_on(is_ours, next, trouble) && self.pause(pause).await
    }

    /// Tries again if it ran before and may, else tells.
    async fn failed(&mut self, error: ConnectError) -> bool {
        let pause = match error {
            ConnectError::Closed => None,
            _ => self.restarts.after_failure(),
        };
        let trouble = Status::Failed(error);
        let next = match pause {
            Some(_) => Status::Starting,
            None => trouble.clone(),
        };
        self.go_on(|_| true, next, trouble) && self.pause(pause).await
    }

    /// Shows `next`, and meanwhile `trouble`, if what is shown is still ours to change: somebody
    /// may have noticed first and begun anew.
    fn go_on(&self, is_ours: impl Fn(&Status) -> bool, next: Status, trouble: Status) -> bool {
        let Some(status) = self.status.upgrade() else {
            return false;
        };
        status.send_if_modified(|status| {
            if !is_ours(status) {
                return false;
            }
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble.clone());
            *status = next.clone();
            true
        })
    }

    /// Waits until it is time for a restart, if there is to be one and anybody is left to want it.
    async fn pause(&self, pause: Option<std::time::Duration>) -> bool {
        let Some(pause) = pause else { return false };
        let attempt = self.restarts.done();
        let seconds = pause.as_secs_f64();
        tracing::info!(env = %self.id, attempt, seconds, "restarting the program");
        tokio::select! {
            biased; // Who is gone wants nothing; who uses it wants it now.
            () = self.unwanted.cancelled() => {
                if let Some(status) = self.status.upgrade() {
                    status.send_replace(Status::Failed(ConnectError::Closed));
                }
                false
            }
            () = self.hurry.notified() => true,
            () = tokio::time::sleep(pause) => true,
        }
    }
}

#[cfg(test)]
mod tests;
