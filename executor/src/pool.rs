//! Where calls that block may run.
//!
//! Most file calls end in the page cache after a few microseconds, less than handing them to
//! another thread costs; those run in place, on the task that read the request. Calls that can
//! take long go to a bounded pool of threads. Knows nothing of what runs.
//!
//! A call in place holds a worker of the runtime. On a dead network mount it would hold it for
//! ever, so one worker is always left out: who finds no room goes to the pool instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Workers of the runtime. One carries a connection at full speed; the second keeps everybody else
/// served meanwhile. More would cost memory and, on a machine that runs the commands we start,
/// take the processors those commands should have.
pub const WORKERS: usize = 2;

/// Threads of the pool, started on demand. File systems answer few calls at once any faster than
/// one after the other; what finds no thread waits in its connection's bounded set of calls.
pub const THREADS_MAX: usize = 16;

/// Pool calls of one connection at once, unless it is told otherwise: half of the threads, so that
/// one connection's walks do not shut out another's.
pub(crate) const CALLS_AT_ONCE: usize = THREADS_MAX / 2;

/// How many calls may run in place at the same time.
#[derive(Debug)]
pub(crate) struct InPlace {
    running: AtomicUsize,
    max: usize,
}

/// The permission to block the current worker for a moment.
#[derive(Debug)]
pub(crate) struct Permission<'a>(&'a InPlace);

impl InPlace {
    pub(crate) fn new(workers: usize) -> InPlace {
        InPlace {
            running: AtomicUsize::new(0),
            max: workers.saturating_sub(1).max(1),
        }
    }

    /// Asks to run in place; `None` when too many already do.
    pub(crate) fn enter(&self) -> Option<Permission<'_>> {
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        let permission = Permission(self);
        (before < self.max).then_some(permission)
    }
}

impl Drop for Permission<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Work on the pool did not come back: it panicked, or the runtime is going down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the call failed inside the executor")]
pub(crate) struct Lost;

/// A place on the pool, free again when it is dropped.
pub(crate) type Place = OwnedSemaphorePermit;

/// Runs `work` on the pool as soon as one of `places` is free, which it is given to keep.
///
/// Dropping the future withdraws work that has not begun. Work that has begun runs to its end.
pub(crate) async fn run<T: Send + 'static>(
    places: Arc<Semaphore>,
    work: impl FnOnce(Place) -> T + Send + 'static,
) -> Result<T, Lost> {
    let place = places.acquire_owned().await.map_err(|_| Lost)?;
    let done = tokio::task::spawn_blocking(move || work(place));
    done.await.map_err(|_| Lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_is_always_left_out() {
        let in_place = InPlace::new(3);
        let first = in_place.enter();
        let second = in_place.enter();
        assert!(first.is_some() && second.is_some() && in_place.enter().is_none());
        drop(first);
        assert!(in_place.enter().is_some());
    }

    #[test]
    fn a_single_worker_may_run_calls_all_the_same() {
        assert!(InPlace::new(1).enter().is_some());
    }

    #[tokio::test]
    async fn work_waits_for_a_place_and_a_panic_is_reported() {
        let places = Arc::new(Semaphore::new(1));
        let held = Arc::clone(&places).acquire_owned().await.unwrap();
        let waiting = run(Arc::clone(&places), |_| 7);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(held);
        assert_eq!(waiting.await, Ok(7));
        assert_eq!(
            run(places, |_| panic!("as a test wants")).await,
            Err::<(), _>(Lost)
        );
    }
}
