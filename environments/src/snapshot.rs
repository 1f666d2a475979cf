//! The environments as one moment saw them.
//!
//! A snapshot is a plain value that never changes. It holds a counted handle on every connection
//! it shows, so what it shows stays usable for as long as it is held: whatever is reconfigured,
//! replaced or reconnected meanwhile is for the next snapshot.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::client::Executor;
use crate::config::EnvironmentId;
use crate::environment::{Environment, Status};

/// The selected environments, in the order of the selection.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub entries: Vec<SnapshotEntry>,
}

/// One environment of a snapshot.
#[derive(Clone, Debug)]
pub struct SnapshotEntry {
    pub id: EnvironmentId,
    pub state: SnapshotState,
}

/// What could be said about an environment at that moment.
#[derive(Clone, Debug)]
pub enum SnapshotState {
    /// Its first attempt is under way.
    Starting,
    /// It can be used.
    Available(Executor),
    /// It could be used before; it is being tried again.
    Disconnected { reason: String },
    /// The last attempt failed; it is being tried again.
    Failed { reason: String },
}

impl Snapshot {
    /// Waits until every environment is available or has failed. They are connected at the same
    /// time, so the slowest decides.
    pub async fn capture_blocking(selection: &[Arc<Environment>]) -> Snapshot {
        let attempts = selection.iter().map(|environment| async {
            let state = match environment.executor().await {
                Ok(executor) => SnapshotState::Available(executor),
                Err(error) => SnapshotState::Failed {
                    reason: error.to_string(),
                },
            };
            SnapshotEntry {
                id: environment.id().clone(),
                state,
            }
        });
        Snapshot {
            entries: join_all(attempts).await,
        }
    }

    /// Takes the environments as they are and starts or reconnects those that do not run, for the
    /// next snapshot to see.
    pub fn capture_now(selection: &[Arc<Environment>]) -> Snapshot {
        let entries = selection.iter().map(|environment| {
            let seen = environment.reported();
            environment.connect();
            let state = match seen {
                Status::Configured | Status::Starting => SnapshotState::Starting,
                Status::Ready(executor) => SnapshotState::Available(executor),
                Status::Disconnected { reason } => SnapshotState::Disconnected { reason },
                Status::Failed(error) => SnapshotState::Failed {
                    reason: error.to_string(),
                },
            };
            SnapshotEntry {
                id: environment.id().clone(),
                state,
            }
        });
        Snapshot {
            entries: entries.collect(),
        }
    }

    /// Where calls go that name no environment: the first available one.
    pub fn primary(&self) -> Option<&SnapshotEntry> {
        self.entries
            .iter()
            .find(|entry| matches!(entry.state, SnapshotState::Available(_)))
    }

    /// The entry of an environment, by its exact id.
    pub fn get(&self, id: &str) -> Option<&SnapshotEntry> {
        self.entries.iter().find(|entry| entry.id.as_str() == id)
    }
}

impl SnapshotEntry {
    /// The connection, if there is one.
    pub fn executor(&self) -> Option<&Executor> {
        match &self.state {
            SnapshotState::Available(executor) => Some(executor),
            SnapshotState::Starting
            | SnapshotState::Disconnected { .. }
            | SnapshotState::Failed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
