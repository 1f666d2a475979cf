//! Commands that run on without us, and what this machine remembers of them.
//!
//! ```text
//!   exec --detach ──▶ durable session ──▶ process      on the executor
//!        │                  ▲
//!        ▼                  │ resumed for each look
//!     store ─▶ ps · logs · wait · kill                 here, now or days later
//! ```
//!
//! A *job* is a process in a durable session of its own. The executor keeps both, for as long as
//! was asked for after the last look; this machine keeps the id of the session, which is all it
//! takes to come back. Several commands may look at one job at once, because nothing in a durable
//! session belongs to a connection: each reads the output from where it stands.

mod detach;
mod error;
mod follow;
mod kill;
mod logs;
mod ps;
mod record;
mod store;
mod tail;
mod wait;

pub use detach::detach;
pub use error::JobError;
pub use follow::{Follower, News};
pub use kill::kill;
pub use logs::logs;
pub use ps::ps;
pub use record::Record;
pub use store::{Store, StoreError};
pub use wait::wait;

use std::sync::Arc;

use farstep_environments::{Environment, Registry};

use crate::render::{self, Failure};
use crate::setup::{Setup, Surroundings};

/// Ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// What every command here needs: the jobs, and the ways to their executors.
struct Office {
    store: Store,
    setup: Setup,
    registry: Registry,
}

impl Office {
    fn open(surroundings: &Surroundings) -> Result<Office, Failure> {
        let setup = Setup::load(surroundings)?;
        for warning in &setup.warnings {
            render::note(warning);
        }
        let registry = setup.registry(&setup.settings.credentials());
        let store = Store::open(surroundings.variable).map_err(JobError::from)?;
        Ok(Office {
            store,
            setup,
            registry,
        })
    }

    /// The environment a job runs in, as the configuration has it today.
    async fn environment(&self, record: &Record) -> Result<Arc<Environment>, Failure> {
        let id = Some(record.environment.as_str());
        self.setup.one(&self.registry, id).await
    }
}
