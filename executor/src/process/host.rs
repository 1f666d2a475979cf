//! What all sessions of one executor share: who starts programs, with which environment, and how
//! many there may be.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use farstep_protocol::output::Limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::env::BaseEnv;
use super::retention::Retention;
use crate::os::Spawner;

/// Running processes of one session.
const PER_SESSION: usize = 256;
/// Running processes of all sessions.
const IN_ALL: usize = 2048;
/// How long a closed process can still be read, and its id stays taken. Callers rely on a minute.
const REMEMBERED_FOR: Duration = Duration::from_secs(80);
/// Closed processes of one session that are remembered at a time; one more forgets the oldest
/// whose end was delivered. Many thousand short commands a minute must not fill the memory.
const REMEMBERED_MAX: usize = 4096;

/// Output that all processes of all sessions may retain, in bytes, what it costs to keep included.
pub const RETAINED_IN_ALL: usize = 256 * 1024 * 1024;

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    pub per_session: usize,
    pub in_all: usize,
    pub remembered_for: Duration,
    pub remembered_max: usize,
    pub output: Limits,
    /// Bytes of output retained in all.
    pub retained_in_all: usize,
    /// Folders that come first in an inherited `PATH`.
    pub prepend_path: Vec<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            per_session: PER_SESSION,
            in_all: IN_ALL,
            remembered_for: REMEMBERED_FOR,
            remembered_max: REMEMBERED_MAX,
            output: Limits::default(),
            retained_in_all: RETAINED_IN_ALL,
            prepend_path: Vec::new(),
        }
    }
}

/// One per executor; sessions hold it.
#[derive(Debug)]
pub struct Host {
    pub(super) settings: Settings,
    pub(super) spawner: Spawner,
    pub(super) base: Arc<BaseEnv>,
    pub(super) running: Arc<Semaphore>,
    pub(super) retention: Arc<Retention>,
    pub(super) actors: TaskTracker,
}

impl Host {
    /// `variables` is the executor's own environment, read once by `main`.
    pub fn new(
        settings: Settings,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Arc<Host> {
        Arc::new(Host {
            spawner: Spawner::new(),
            base: Arc::new(BaseEnv::new(variables, settings.prepend_path.clone())),
            running: Arc::new(Semaphore::new(settings.in_all)),
            retention: Arc::new(Retention::new(settings.retained_in_all, settings.in_all)),
            actors: TaskTracker::new(),
            settings,
        })
    }

    /// What programs inherit of the executor's own environment.
    pub fn base(&self) -> &Arc<BaseEnv> {
        &self.base
    }

    /// How many processes run right now.
    pub fn running(&self) -> usize {
        self.actors.len()
    }

    /// The right to run one more process, if there may be one more.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        let place = || Arc::clone(&self.running).try_acquire_owned().ok();
        place().or_else(|| {
            self.retention.free_places();
            place()
        })
    }

    /// Bytes of output that are retained right now, what it costs to keep included.
    pub fn retained(&self) -> usize {
        self.retention.held()
    }

    /// Waits until no process is left. Drop or kill the tables first.
    pub async fn finished(&self) {
        self.actors.close();
        self.actors.wait().await;
        self.actors.reopen();
        self.spawner.settled().await;
    }
}
