//! The audit log: what was done on this machine, by whom, in lines that cannot be changed
//! unnoticed (`security` section 9).
//!
//! ```text
//!   connection, dispatch, listener ── record ──▶ bounded queue ──▶ one thread ──▶ chain (file)
//!                                                     └─ full: counted, and said in the file
//! ```
//!
//! Nobody waits for the disk: `record` puts an entry into memory, and a thread of its own writes
//! what has gathered. What cannot be written stays in the queue until it can or the queue is full;
//! then records are lost, which is counted and becomes a record itself. With `required`, commands
//! are refused as long as that lasts. The module knows nothing of the wire; it is told.

mod args;
mod chain;
mod event;
mod line;
mod verify;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;

pub use args::{AuditArgs, AuditCommand, Place, Refused, Settings};
pub use event::{Event, ProcessStart, Who};
use line::Entry;
pub use line::argv_digest;
pub use verify::{Verified, VerifyError, verify};

/// Records that may wait. A disk that stalls for a second at thousands of records a second loses
/// none; what comes when they are all taken is lost, counted and reported.
pub(crate) const WAITING_MAX: usize = 8192;

/// Memory they may take, for records with long paths.
pub(crate) const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Records a second of what anybody can cause who reaches the port, known to us or not. More are
/// counted as lost: else a stranger could push out of the file what it was kept for.
const STRANGERS_A_SECOND: u32 = 256;

/// How long the end of the executor waits for the last records.
const FINISH_MAX: Duration = Duration::from_secs(1);

/// The handle everybody records with. Cheap to clone; without a log it does nothing.
#[derive(Clone)]
pub struct Audit(Option<Arc<Shared>>);

/// A command may not begin because it could not be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused: the audit log cannot be written, and this executor requires it")]
pub struct Unrecorded;

/// There is no audit log, and there must be one.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("failed to open the audit log {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("there is no folder for the audit log; name a file with --audit-file")]
    Nowhere,
}

/// What the handles and the thread share.
struct Shared {
    settings: Settings,
    queue: Mutex<Queue>,
    news: Condvar,
    /// The last attempt to write did not work.
    failing: AtomicBool,
    /// Nothing is kept any more: the default place cannot be used.
    given_up: AtomicBool,
    /// Records that were never written.
    lost: AtomicU64,
    /// Gone when the thread is.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Something is in it that shall not wait for company.
    urgent: bool,
    stopping: bool,
    strangers: Strangers,
}

/// How many records of strangers there were in the second that began then.
#[derive(Default)]
struct Strangers {
    began: Option<Instant>,
    count: u32,
}

impl Audit {
    /// No log at all.
    pub fn off() -> Audit {
        Audit(None)
    }

    /// Starts the log. The file is opened by its thread, later; only where it is required it is
    /// tried at once. `state` is where programs of this user keep such things.
    pub fn start(settings: &Settings, state: Option<PathBuf>) -> Result<Audit, StartError> {
        let path = match &settings.place {
            Place::Off => return Ok(Audit::off()),
            Place::At(path) => path.clone(),
            Place::Default => match state {
                Some(folder) => folder.join(FILE_NAME),
                None if settings.required => return Err(StartError::Nowhere),
                None => {
                    tracing::warn!("there is no folder for the audit log, so there is none");
                    return Ok(Audit::off());
                }
            },
        };
        let mut chain = chain::Chain::new(path.clone(), settings.bytes_max);
        if settings.required {
            let opened = chain.try_out();
            opened.map_err(|source| StartError::Open { path, source })?;
        }
        let (end, ended) = oneshot::channel();
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            queue: Mutex::default(),
            news: Condvar::new(),
            failing: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            ended: Mutex::new(Some(ended)),
        });
        writer::start(Arc::clone(&shared), chain, end);
        Ok(Audit(Some(shared)))
    }

    /// Records that something happens. Never waits.
    pub fn record(&self, who: &Who, event: Event) {
        if let Some(shared) = &self.0 {
            shared.record(who, event);
        }
    }

    /// Like [`record`](Self::record), for events that are only made when somebody keeps them.
    pub fn record_with(&self, who: &Who, event: impl FnOnce() -> Event) {
        if let Some(shared) = &self.0
            && !shared.given_up.load(Ordering::Relaxed)
        {
            shared.record(who, event());
        }
    }

    /// Whether arguments are recorded, and reads of files.
    pub fn wants_argv(&self) -> bool {
        self.0.as_ref().is_some_and(|it| it.settings.argv)
    }

    pub fn wants_reads(&self) -> bool {
        self.0.as_ref().is_some_and(|it| it.settings.reads)
    }

    /// Asked before something is changed: with a required log that cannot be written, the answer
    /// is no.
    pub fn admit(&self) -> Result<(), Unrecorded> {
        match &self.0 {
            Some(shared) if shared.settings.required && shared.is_failing() => Err(Unrecorded),
            _ => Ok(()),
        }
    }

    /// How many records were lost.
    pub fn lost(&self) -> u64 {
        self.0
            .as_ref()
            .map_or(0, |it| it.lost.load(Ordering::Relaxed))
    }

    /// Waits until what was recorded is in the file, but not for long. Nothing is recorded after.
    pub async fn finish(&self) {
        let Some(shared) = &self.0 else { return };
        shared.queue().stopping = true;
        shared.news.notify_one();
        let ended = shared
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(ended) = ended
            && tokio::time::timeout(FINISH_MAX, ended).await.is_err()
        {
            tracing::warn!("the last audit records were still being written at the end");
        }
    }
}

/// The file in the folder of this user's state.
const FILE_NAME: &str = "audit.jsonl";

impl Shared {
    fn record(&self, who: &Who, event: Event) {
        let (weight, urgent) = (event.weight(), event.is_urgent());
        let entry = Entry {
            at: Timestamp::now(),
            who: who.clone(),
            event,
        };
        let mut queue = self.queue();
        let may = !entry.event.is_of_strangers() || queue.strangers.admit(Instant::now());
        if queue.is_full() || queue.stopping || !may {
            drop(queue);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes += weight;
        queue.entries.push_back(entry);
        // The thread is woken for the first of many, and gathers the others by itself.
        let is_news = queue.entries.len() == 1 || (urgent && !queue.urgent) || queue.is_half_full();
        queue.urgent |= urgent;
        drop(queue);
        if is_news {
            self.news.notify_one();
        }
    }

    fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed) || self.queue().is_full()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Strangers {
    fn admit(&mut self, now: Instant) -> bool {
        let is_new = |began: Instant| now.duration_since(began) >= Duration::from_secs(1);
        if self.began.is_none_or(is_new) {
            self.began = Some(now);
            self.count = 0;
        }
        self.count += 1;
        self.count <= STRANGERS_A_SECOND
    }
}

impl Queue {
    fn is_full(&self) -> bool {
        self.entries.len() >= WAITING_MAX || self.bytes >= WAITING_BYTES_MAX
    }

    fn is_half_full(&self) -> bool {
        self.entries.len() == WAITING_MAX / 2
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.0.as_ref().map(|shared| &shared.settings.place);
        f.debug_tuple("Audit").field(&place).finish()
    }
}

#[cfg(test)]
mod tests;
