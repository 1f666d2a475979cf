//! How nodes find each other's executors.
//!
//! [`Bus`] is drawn for several nodes: one announces an executor, another looks it up. [`Local`] is
//! the one of a single node, where both are the same and a look-up is a map's.

mod local;

use std::fmt;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

pub use local::Local;

use crate::relay::{Ending, ExecutorLink};
use crate::store::{Arrival, Closed, EnvironmentKey};

/// Notices that one subscriber may be behind. Beyond it the oldest are lost to it, and it is told how
/// many; nobody waits for it.
pub const BEHIND_MAX: usize = 256;

/// What nodes tell each other. It is a hint: it may be lost or come twice, and what counts stands in
/// the store. So each carries what tells an old one from a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An executor came.
    Online(Arrival),
    /// An executor went.
    Offline(Arrival, Closed),
    /// Another executor took an environment over.
    Superseded {
        /// Which one.
        environment: EnvironmentKey,
        /// Of the executor that has it now.
        generation: u64,
    },
    /// The store holds something that every node must look at.
    Changed,
}

impl Notice {
    /// Which environment it is about.
    pub fn environment(&self) -> Option<&EnvironmentKey> {
        match self {
            Notice::Online(arrival) | Notice::Offline(arrival, _) => Some(&arrival.environment),
            Notice::Superseded { environment, .. } => Some(environment),
            Notice::Changed => None,
        }
    }
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Something.
    Notice(Notice),
    /// That it missed so many.
    Missed(u64),
}

/// One subscriber's end of the bus.
pub struct Subscription(BoxStream<'static, Heard>);

impl Subscription {
    /// Of a stream that does not end.
    pub fn new(stream: BoxStream<'static, Heard>) -> Subscription {
        Subscription(stream)
    }

    /// The next of what is published. Waits for ever on a bus that is gone.
    pub async fn next(&mut self) -> Heard {
        match self.0.next().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}

/// What carries frames and control between nodes.
pub trait Bus: Send + Sync + fmt::Debug {
    /// Makes a connected executor reachable. One that was reachable under the same name ends.
    fn announce(&self, link: Arc<ExecutorLink>);

    /// Takes back what [`Bus::announce`] said, unless another one said it since. Says whether the
    /// environment is away now.
    fn withdraw(&self, link: &ExecutorLink) -> bool;

    /// The executor of an environment, if it is there.
    fn find(&self, environment: &EnvironmentKey) -> Option<Arc<ExecutorLink>>;

    /// The executor of an environment, as soon as it is there.
    fn wait<'a>(&'a self, environment: &'a EnvironmentKey) -> BoxFuture<'a, Arc<ExecutorLink>>;

    /// All that are there.
    fn links(&self) -> Vec<Arc<ExecutorLink>>;

    /// How many are there.
    fn count(&self) -> usize;

    /// Tells every node, this one too. Nobody is waited for.
    fn publish(&self, notice: Notice);

    /// Hears what is published from now on.
    fn subscribe(&self) -> Subscription;

    /// Ends all of them.
    fn end_all(&self, ending: Ending) {
        for link in self.links() {
            link.end(ending);
        }
    }
}
