//! Who waits for a connection for long is told what for, if somebody wants that.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Environment;
use crate::config::EnvironmentId;
use crate::dial::{Told, Waiting};

/// What is over sooner needs no words. A registry that is asked for an executor that is away has said
/// why by then.
const SILENCE: Duration = Duration::from_millis(1250);

type Tell = dyn Fn(&EnvironmentId, &Waiting) + Send + Sync;

/// Tells somebody that an environment is waited for: once for each attempt, and once more when it was
/// learned later what is in the way.
#[derive(Clone)]
pub struct Herald(Arc<Tell>);

impl Herald {
    /// `tell` is called in the task that waits, so it must not take long.
    pub fn new(tell: impl Fn(&EnvironmentId, &Waiting) + Send + Sync + 'static) -> Herald {
        Herald(Arc::new(tell))
    }
}

impl fmt::Debug for Herald {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Herald")
    }
}

impl Environment {
    /// Does `work`, which waits for an attempt to connect.
    pub(super) async fn told<T>(&self, work: impl Future<Output = T>) -> T {
        let Some(herald) = &self.tasks.herald else {
            return work.await;
        };
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased; // What is done is not waited for.
            done = &mut work => return done,
            () = sleep(SILENCE) => {}
        }
        let mut waiting = self.news.subscribe();
        loop {
            if let Some(now) = self.news_to_tell() {
                (herald.0)(&self.id, &now);
            }
            tokio::select! {
                biased; // As above.
                done = &mut work => return done,
                changed = waiting.changed() => if changed.is_err() {
                    return work.await;
                },
            }
        }
    }

    /// What nobody was told yet, however many wait.
    fn news_to_tell(&self) -> Option<Waiting> {
        let mut news = None;
        self.news.send_if_modified(|waiting| {
            let next = match (&waiting.because, waiting.at) {
                (Some(_), _) => Told::Reason,
                (None, Some(_)) => Told::Place,
                (None, None) => Told::Nothing,
            };
            if next > waiting.told {
                waiting.told = next;
                news = Some(waiting.clone());
            }
            false
        });
        news
    }
}
