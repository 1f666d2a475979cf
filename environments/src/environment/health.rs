//! Whether an idle connection still leads to somebody.
//!
//! *Theory of operation.* When nothing was received for an interval, the executor is asked for a
//! sign of life, and whatever it says is one: an answer, a refusal, output of a process. Silence
//! for as long as a look may take gives the connection up, so that its session is taken up again
//! over another one while nobody needs it. What we do not read ourselves, because a reader of ours
//! is behind, is nobody's silence.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Status;
use crate::client::{Executor, Link, PROBE};
use crate::terms::Pulse;

/// What one look found.
#[derive(Clone, Debug)]
pub struct Check {
    at: Instant,
    /// How long the answer took, or was waited for.
    pub took: Duration,
    /// Why there was none.
    pub problem: Option<String>,
}

impl Check {
    /// How long ago it was.
    pub fn age(&self) -> Duration {
        self.at.elapsed()
    }

    pub fn is_alive(&self) -> bool {
        self.problem.is_none()
    }
}

/// The last look, for whoever asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Arc<Mutex<Option<Check>>>);

impl Seen {
    pub(super) fn last(&self) -> Option<Check> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    fn note(&self, check: &Check) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(check.clone());
    }
}

/// Looks once.
pub(super) async fn look(executor: &Executor, limit: Option<Duration>, seen: &Seen) -> Check {
    let began = Instant::now();
    let asked = executor.status_within(limit.unwrap_or(PROBE));
    let problem = asked.await.err().map(|error| error.to_string());
    let check = Check {
        at: Instant::now(),
        took: began.elapsed(),
        problem,
    };
    seen.note(&check);
    check
}

/// Looks whenever the connection was idle, and gives it up when it is dead. Never ends by itself
/// while somebody holds the environment.
pub(super) async fn watch(
    status: Weak<watch::Sender<Status>>,
    link: Arc<Link>,
    pulse: Pulse,
    seen: &Seen,
) {
    loop {
        tokio::time::sleep(pulse.interval).await;
        if link.is_recovering() || !link.was_silent() {
            continue;
        }
        // Nothing that waits here may hold the connection.
        let executor = match status.upgrade().map(|status| status.borrow().clone()) {
            Some(Status::Ready(executor)) => executor,
            Some(_) | None => return,
        };
        let began = Instant::now();
        let check = look(&executor, Some(pulse.timeout), seen).await;
        drop(executor);
        // A process that was stopped, as by a closed lid, knows nothing of the time in between.
        let overslept = began.elapsed() > pulse.timeout * 2;
        let silent = link.was_silent();
        if !check.is_alive() && silent && !overslept && !link.is_recovering() {
            let seconds = pulse.timeout.as_secs_f64();
            tracing::warn!(conn = link.serial(), seconds, "no sign of life");
            link.doubt();
        }
    }
}

#[cfg(test)]
mod tests;
