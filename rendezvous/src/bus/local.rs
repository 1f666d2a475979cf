//! The bus of a single node.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use super::{BEHIND_MAX, Bus, Heard, Notice, Subscription};
use crate::relay::{Ending, ExecutorLink};
use crate::store::EnvironmentKey;

/// Everything in this process.
#[derive(Debug)]
pub struct Local {
    links: Mutex<HashMap<EnvironmentKey, Arc<ExecutorLink>>>,
    arrivals: watch::Sender<u64>,
    notices: broadcast::Sender<Notice>,
}

impl Default for Local {
    fn default() -> Local {
        Local {
            links: Mutex::default(),
            arrivals: watch::Sender::default(),
            notices: broadcast::Sender::new(BEHIND_MAX),
        }
    }
}

impl Local {
    fn links(&self) -> MutexGuard<'_, HashMap<EnvironmentKey, Arc<ExecutorLink>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bus for Local {
    fn announce(&self, link: Arc<ExecutorLink>) {
        let former = self.links().insert(link.environment.clone(), link);
        if let Some(former) = former {
            former.end(Ending::DISPLACED);
        }
        self.arrivals.send_modify(|count| *count += 1);
    }

    fn withdraw(&self, link: &ExecutorLink) -> bool {
        match self.links().entry(link.environment.clone()) {
            Entry::Occupied(entry) if entry.get().number() == link.number() => {
                entry.remove();
                true
            }
            _ => false,
        }
    }

    fn find(&self, environment: &EnvironmentKey) -> Option<Arc<ExecutorLink>> {
        self.links().get(environment).cloned()
    }

    fn wait<'a>(&'a self, environment: &'a EnvironmentKey) -> BoxFuture<'a, Arc<ExecutorLink>> {
        Box::pin(async move {
            let mut arrivals = self.arrivals.subscribe();
            loop {
                arrivals.mark_unchanged();
                if let Some(link) = self.find(environment) {
                    return link;
                }
                // The sender lives in `self`.
                let _ = arrivals.changed().await;
            }
        })
    }

    fn links(&self) -> Vec<Arc<ExecutorLink>> {
        self.links().values().cloned().collect()
    }

    fn count(&self) -> usize {
        self.links().len()
    }

    fn publish(&self, notice: Notice) {
        // Nobody listening is nobody who misses it.
        let _: Result<usize, _> = self.notices.send(notice);
    }

    fn subscribe(&self) -> Subscription {
        let told = self.notices.subscribe();
        let next = |mut told: broadcast::Receiver<Notice>| async move {
            let heard = match told.recv().await {
                Ok(notice) => Heard::Notice(notice),
                Err(RecvError::Lagged(count)) => Heard::Missed(count),
                Err(RecvError::Closed) => return None,
            };
            Some((heard, told))
        };
        Subscription::new(stream::unfold(told, next).boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::quotas::Quotas;
    use crate::relay::Linked;

    fn link(generation: u64) -> Arc<ExecutorLink> {
        let linked = Linked {
            environment: EnvironmentKey::new("t", "e"),
            generation,
            ends_at: None,
            wants_notice: false,
        };
        ExecutorLink::new(
            linked,
            Arc::default(),
            Arc::new(Limits::new(Quotas::default())),
        )
    }

    #[tokio::test]
    async fn the_newer_executor_displaces_the_older_and_outlives_its_farewell() {
        let bus = Local::default();
        let (old, new) = (link(1), link(2));
        let environment = old.environment.clone();
        let waiting = bus.wait(&environment);
        bus.announce(Arc::clone(&old));
        assert_eq!(waiting.await.number(), old.number());
        bus.announce(Arc::clone(&new));
        assert!(!bus.withdraw(&old));
        let found = bus.find(&environment).map(|link| link.number());
        assert_eq!(found, Some(new.number()));
        assert!(bus.withdraw(&new));
        assert!(bus.find(&environment).is_none());
    }
}
