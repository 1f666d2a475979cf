//! Something made from files, made again when they change.
//!
//! Files are looked at when somebody needs what is in them, at most once a second; nobody watches
//! in the background. What cannot be read any more stays in force as it was, and that is said.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::audit::{Audit, Event, Who};
use crate::os::{self, FileStamp};

/// Between two looks at the files.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Makes the value. Runs where blocking is allowed.
type Make<T> = dyn Fn() -> Result<T, Box<dyn std::error::Error + Send + Sync>> + Send + Sync;

/// A value made from files.
pub(crate) struct Watched<T> {
    paths: Vec<PathBuf>,
    make: Arc<Make<T>>,
    state: Mutex<State<T>>,
    audit: OnceLock<Audit>,
}

struct State<T> {
    value: Arc<T>,
    stamps: Vec<Option<FileStamp>>,
    looked: Instant,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Makes the value for the first time.
    pub(crate) fn new<E>(
        paths: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Watched<T>, E>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        // Before the value, so that a change in between is seen as one.
        let stamps = stamps(&paths);
        let value = Arc::new(make()?);
        Ok(Watched {
            paths,
            make: Arc::new(move || make().map_err(Into::into)),
            state: Mutex::new(State {
                value,
                stamps,
                looked: Instant::now(),
            }),
            audit: OnceLock::new(),
        })
    }

    /// The value as of now, give or take a second, and whether it is a new one.
    pub(crate) async fn current(&self) -> (Arc<T>, bool) {
        let (value, before) = {
            let mut state = self.state();
            if state.looked.elapsed() < LOOK_AGAIN {
                return (Arc::clone(&state.value), false);
            }
            state.looked = Instant::now();
            (Arc::clone(&state.value), state.stamps.clone())
        };
        let (paths, make) = (self.paths.clone(), Arc::clone(&self.make));
        let looked = tokio::task::spawn_blocking(move || {
            let stamps = stamps(&paths);
            (stamps != before).then(|| (stamps, make()))
        });
        match looked.await {
            Ok(Some((stamps, Ok(made)))) => {
                let made = Arc::new(made);
                let mut state = self.state();
                state.value = Arc::clone(&made);
                state.stamps = stamps;
                drop(state);
                self.report();
                (made, true)
            }
            Ok(Some((stamps, Err(error)))) => {
                // Said once for each change, not once a second.
                self.state().stamps = stamps;
                tracing::warn!(%error, "what was read before stays in force");
                (value, false)
            }
            // Unchanged, or the runtime is ending.
            Ok(None) | Err(_) => (value, false),
        }
    }

    /// Has changes recorded from now on.
    pub(crate) fn report_to(&self, audit: &Audit) {
        self.audit.get_or_init(|| audit.clone());
    }

    fn report(&self) {
        tracing::info!("a secret or certificate changed and was read again");
        if let (Some(audit), Some(file)) = (self.audit.get(), self.paths.first()) {
            let what = file.display().to_string();
            audit.record(&Who::default(), Event::ConfigChange { what });
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        // Every change above is a plain assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<FileStamp>> {
    paths.iter().map(|path| os::file_stamp(path)).collect()
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched")
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}
