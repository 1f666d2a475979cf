//! What all sessions of one executor share: who starts programs, with which environment, and how
//! many there may be.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use farstep_protocol::output::Limits;
use tokio::sync::Semaphore;
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

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    pub per_session: usize,
    pub in_all: usize,
    pub remembered_for: Duration,
    pub remembered_max: usize,
    pub output: Limits,
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
            prepend_path: Vec::new(),
        }
    }
}

/// One per executor; sessions hold it.
#[derive(Debug)]
pub struct Host {
    pub(super) settings: Settings,
    pub(super) spawner: Spawner,
    pub(super) base: BaseEnv,
    pub(super) running: Arc<Semaphore>,
    pub(super) retention: Retention,
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
            base: BaseEnv::new(variables, settings.prepend_path.clone()),
            running: Arc::new(Semaphore::new(settings.in_all)),
            retention: Retention::default(),
            actors: TaskTracker::new(),
            settings,
        })
    }

    /// How many processes run right now.
    pub fn running(&self) -> usize {
        self.actors.len()
    }

    /// Waits until no process is left. Drop or kill the tables first.
    pub async fn finished(&self) {
        self.actors.close();
        self.actors.wait().await;
        self.actors.reopen();
        self.spawner.settled().await;
    }
}
