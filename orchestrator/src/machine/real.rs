//! The machines of a run that is meant: a thin skin over `farstep_environments`.

use std::sync::Arc;

use farstep_environments::{
    Environment, Executor, Process, Snapshot, SnapshotEntry, SnapshotState,
};

use super::*;

/// Environments as somebody configured them.
#[derive(Debug)]
pub struct Configured {
    selection: Vec<Arc<Environment>>,
}

impl Configured {
    /// In order of priority.
    pub fn new(selection: Vec<Arc<Environment>>) -> Arc<Self> {
        Arc::new(Self { selection })
    }

    fn seen(&self, snapshot: Snapshot) -> Vec<Seen> {
        let seen = |entry: SnapshotEntry| Seen {
            local: entry.id.is_local(),
            id: entry.id.as_str().into(),
            presence: match entry.state {
                SnapshotState::Starting => Presence::Starting,
                SnapshotState::Available(executor) => Presence::Available(Arc::new(executor)),
                SnapshotState::Disconnected { reason } => Presence::Disconnected { reason },
                SnapshotState::Failed { reason } => Presence::Failed { reason },
            },
        };
        snapshot.entries.into_iter().map(seen).collect()
    }
}

impl EnvironmentSet for Configured {
    fn look(&self) -> Vec<Seen> {
        self.seen(Snapshot::capture_now(&self.selection))
    }

    fn settle(&self) -> BoxFuture<'_, Vec<Seen>> {
        Box::pin(async { self.seen(Snapshot::capture_blocking(&self.selection).await) })
    }

    fn wait<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let environment = self.selection.iter().find(|one| one.id().as_str() == id);
            let environment = environment.ok_or_else(|| "it is not selected".to_owned())?;
            environment
                .executor()
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
    }
}

impl Machine for Executor {
    fn info(&self) -> &EnvironmentInfo {
        Executor::info(self)
    }

    fn is_connected(&self) -> bool {
        Executor::is_connected(self)
    }

    fn start(&self, params: StartParams) -> Answer<'_, Box<dyn Running>> {
        Box::pin(async move {
            let running: Box<dyn Running> = Box::new(Executor::start(self, params).await?);
            Ok(running)
        })
    }

    fn read_file<'a>(&'a self, path: &'a PathUri) -> Answer<'a, Bytes> {
        Box::pin(Executor::read_file(self, path))
    }

    fn write_file<'a>(&'a self, path: &'a PathUri, bytes: &'a [u8]) -> Answer<'a, ()> {
        Box::pin(Executor::write_file(self, path, bytes))
    }

    fn create_directory<'a>(&'a self, path: &'a PathUri) -> Answer<'a, ()> {
        Box::pin(Executor::create_directory(self, path, true))
    }

    fn metadata<'a>(&'a self, path: &'a PathUri) -> Answer<'a, Metadata> {
        Box::pin(Executor::metadata(self, path))
    }

    fn remove<'a>(&'a self, path: &'a PathUri) -> Answer<'a, ()> {
        Box::pin(Executor::remove(self, path, false, false))
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
