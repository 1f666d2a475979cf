//! The machines of a run that is meant: a thin skin over `farstep_environments`.

use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};

use farstep_environments::config::Follower;
use farstep_environments::{
    CallError, Environment, Executor, Process, Registry, Snapshot, SnapshotEntry, SnapshotState,
};

use super::*;

/// Environments as somebody configured them.
#[derive(Debug)]
pub struct Configured {
    selection: Mutex<Vec<Arc<Environment>>>,
    following: Option<tokio::sync::Mutex<Following>>,
}

/// What it takes to follow a configuration that changes.
pub struct Following {
    pub follower: Follower,
    /// The one in force.
    pub registry: Registry,
    /// What was chosen by name; when nothing was, the configuration chooses.
    pub named: Vec<String>,
    pub variables: fn(&str) -> Option<OsString>,
    /// Whether the configuration in force still wants to be followed.
    pub wanted: bool,
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following")
            .field("follower", &self.follower)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

impl Configured {
    /// In order of priority.
    pub fn new(selection: Vec<Arc<Environment>>) -> Arc<Self> {
        Arc::new(Self {
            selection: Mutex::new(selection),
            following: None,
        })
    }

    /// The same, for as long as the configuration stays as it is.
    pub fn following(selection: Vec<Arc<Environment>>, following: Following) -> Arc<Self> {
        Arc::new(Self {
            selection: Mutex::new(selection),
            following: Some(tokio::sync::Mutex::new(following)),
        })
    }

    fn selection(&self) -> Vec<Arc<Environment>> {
        let selection = self.selection.lock();
        selection.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What became of the set when `selection` takes its place. Who is left out ends with the last
    /// step that holds it.
    fn replace(&self, selection: Vec<Arc<Environment>>) -> Change {
        let declared = declared(&selection);
        let mut current = self
            .selection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let stays = |one: &&Arc<Environment>| selection.iter().any(|new| Arc::ptr_eq(one, new));
        let replaced = current.iter().filter(|one| !stays(one));
        let replaced = replaced.map(|one| one.id().as_str().into()).collect();
        *current = selection;
        Change { declared, replaced }
    }
}

/// What the entries of `selection` declare.
pub fn declared(selection: &[Arc<Environment>]) -> HashMap<String, Arc<Declared>> {
    let declared = |one: &Arc<Environment>| (one.id().to_string(), Arc::new(Declared::of(one)));
    selection.iter().map(declared).collect()
}

impl Following {
    /// The environments of a configuration that has changed.
    async fn changed(&mut self) -> Option<Result<Vec<Arc<Environment>>, String>> {
        if !self.wanted {
            return None;
        }
        let variables = self.variables;
        let text = |name: &str| variables(name).and_then(|value| value.into_string().ok());
        let config = match self.follower.changed(text).await? {
            Ok(config) => config,
            Err(error) => return Some(Err(error.to_string())),
        };
        for warning in config.told_warnings() {
            tracing::warn!(warning, "in the changed configuration");
        }
        self.wanted = config.farstep.hot_reload == Some(true);
        self.registry = self.registry.reconfigured(&config);
        let selection: Vec<_> = match self.named.as_slice() {
            [] => self.registry.selection(),
            // A name that is gone takes its environment along.
            names => names
                .iter()
                .filter_map(|id| self.registry.get(id))
                .collect(),
        };
        Registry::connect_eagerly(&selection);
        Some(Ok(selection))
    }
}

fn seen(snapshot: Snapshot, selection: &[Arc<Environment>]) -> Vec<Seen> {
    // A snapshot has the order of the selection it was made of.
    let entries = snapshot.entries.into_iter().zip(selection);
    let seen = |(entry, environment): (SnapshotEntry, &Arc<Environment>)| Seen {
        local: entry.id.is_local(),
        id: entry.id.as_str().into(),
        presence: match entry.state {
            SnapshotState::Starting => Presence::Starting,
            SnapshotState::Available(executor) => Presence::Available(Arc::new(Kept {
                environment: Arc::clone(environment),
                executor,
            })),
            SnapshotState::Disconnected { reason } => Presence::Disconnected { reason },
            SnapshotState::Failed { reason } => Presence::Failed { reason },
        },
    };
    entries.map(seen).collect()
}

impl EnvironmentSet for Configured {
    fn look(&self) -> Vec<Seen> {
        let selection = self.selection();
        seen(Snapshot::capture_now(&selection), &selection)
    }

    fn settle(&self) -> BoxFuture<'_, Vec<Seen>> {
        Box::pin(async {
            let selection = self.selection();
            seen(Snapshot::capture_blocking(&selection).await, &selection)
        })
    }

    fn refresh(&self) -> BoxFuture<'_, Refreshed> {
        Box::pin(async {
            let Some(following) = &self.following else {
                return Refreshed::default();
            };
            match following.lock().await.changed().await {
                None => Refreshed::default(),
                Some(Ok(selection)) => Refreshed {
                    change: Some(self.replace(selection)),
                    problem: None,
                },
                Some(Err(problem)) => Refreshed {
                    change: None,
                    problem: Some(problem),
                },
            }
        })
    }

    fn wait<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let selection = self.selection();
            let environment = selection.iter().find(|one| one.id().as_str() == id);
            let environment = environment.ok_or_else(|| "it is not selected".to_owned())?;
            environment
                .executor()
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
    }
}

/// The connection a step saw, and the environment it leads to.
///
/// A call that never left this side is made once more, over the connection the environment has or
/// gets then: nobody can tell the difference. One that was sent is not, because what it asked for
/// may have been done; its caller is told.
#[derive(Debug)]
struct Kept {
    environment: Arc<Environment>,
    executor: Executor,
}

impl Kept {
    /// Another connection for a call that failed like this, if there is a point in one.
    async fn another(&self, error: &CallError) -> Option<Executor> {
        if !matches!(error, CallError::NotSent { .. }) {
            return None;
        }
        let executor = self.environment.executor().await.ok()?;
        if executor.is_same(&self.executor) {
            return None;
        }
        tracing::info!(env = %self.environment.id(), "a call that was not sent is made again");
        Some(executor)
    }
}

/// `$call` on the connection of `$kept`, under the name `$executor`; and again as told there.
macro_rules! on {
    ($kept:ident, $executor:ident => $call:expr) => {
        Box::pin(async move {
            let $executor = &$kept.executor;
            match $call.await {
                Ok(done) => Ok(done),
                Err(error) => match $kept.another(&error).await {
                    Some(another) => {
                        let $executor = &another;
                        $call.await
                    }
                    None => Err(error),
                },
            }
        })
    };
}

impl Machine for Kept {
    fn info(&self) -> &EnvironmentInfo {
        self.executor.info()
    }

    fn is_connected(&self) -> bool {
        self.executor.is_connected()
    }

    fn start(&self, params: StartParams) -> Answer<'_, Box<dyn Running>> {
        Box::pin(async move {
            let started: Answer<'_, Process> =
                on!(self, executor => executor.start(params.clone()));
            let running: Box<dyn Running> = Box::new(started.await?);
            Ok(running)
        })
    }

    fn read_file<'a>(&'a self, path: &'a PathUri) -> Answer<'a, Bytes> {
        on!(self, executor => executor.read_file(path))
    }

    fn write_file<'a>(&'a self, path: &'a PathUri, bytes: &'a [u8]) -> Answer<'a, ()> {
        on!(self, executor => executor.write_file(path, bytes))
    }

    fn create_directory<'a>(&'a self, path: &'a PathUri) -> Answer<'a, ()> {
        on!(self, executor => executor.create_directory(path, true))
    }

    fn metadata<'a>(&'a self, path: &'a PathUri) -> Answer<'a, Metadata> {
        on!(self, executor => executor.metadata(path))
    }

    fn remove<'a>(&'a self, path: &'a PathUri) -> Answer<'a, ()> {
        on!(self, executor => executor.remove(path, false, false))
    }
}

impl Running for Process {
    fn next(&mut self) -> BoxFuture<'_, Option<ProcessEvent>> {
        Box::pin(Process::next(self))
    }

    fn write<'a>(&'a self, bytes: &'a [u8]) -> Answer<'a, WriteStatus> {
        Box::pin(Process::write(self, bytes))
    }

    fn interrupt(&self) -> Answer<'_, ()> {
        Box::pin(Process::interrupt(self))
    }

    fn terminate(&self) -> Answer<'_, bool> {
        Box::pin(Process::terminate(self))
    }
}

#[cfg(all(test, unix))]
mod tests;
