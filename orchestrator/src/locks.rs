//! Who may work in an environment at the same time.
//!
//! Calls that only add to an environment share it; calls that rewrite it have it alone. There is
//! one queue per environment, so a patch in one holds up nothing in another, and places are
//! given in the order of the calls.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Shared,
    Alone,
}

/// One queue per environment, made at its first use. Bounded by the number of environments.
#[derive(Debug, Default)]
pub struct Locks(Mutex<HashMap<Arc<str>, Arc<RwLock<()>>>>);

/// The right to work, until it is dropped.
#[derive(Debug)]
pub enum Permit {
    Shared(OwnedRwLockReadGuard<()>),
    Alone(OwnedRwLockWriteGuard<()>),
}

/// A place in the queue: it is taken when this is made, not when it is first awaited.
pub type Place = Pin<Box<dyn Future<Output = Permit> + Send>>;

impl Locks {
    pub fn line_up(&self, environment: &Arc<str>, mode: Mode) -> Place {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(Arc::clone(environment)).or_default())
        };
        let mut place: Place = match mode {
            Mode::Shared => Box::pin(async { Permit::Shared(lock.read_owned().await) }),
            Mode::Alone => Box::pin(async { Permit::Alone(lock.write_owned().await) }),
        };
        // The lock is fair but queues on the first poll. Tasks start in any order, so the first
        // poll happens here, where calls are still in theirs.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match place.as_mut().poll(&mut context) {
            Poll::Ready(permit) => Box::pin(std::future::ready(permit)),
            Poll::Pending => place,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn id(text: &str) -> Arc<str> {
        text.into()
    }

    #[tokio::test]
    async fn places_are_given_in_the_order_of_lining_up() {
        let locks = Locks::default();
        let first = locks.line_up(&id("a"), Mode::Shared).await;
        let patch = locks.line_up(&id("a"), Mode::Alone);
        let mut later = locks.line_up(&id("a"), Mode::Shared);
        assert!(
            (&mut later).now_or_never().is_none(),
            "a later reader waits behind the writer"
        );
        drop(first);
        let patch = patch.await;
        assert!((&mut later).now_or_never().is_none());
        drop(patch);
        later.await;
    }

    #[tokio::test]
    async fn one_environment_does_not_hold_up_another() {
        let locks = Locks::default();
        let _patch = locks.line_up(&id("a"), Mode::Alone).await;
        assert!(
            locks
                .line_up(&id("b"), Mode::Alone)
                .now_or_never()
                .is_some()
        );
    }

    #[tokio::test]
    async fn a_place_given_up_lets_the_next_one_in() {
        let locks = Locks::default();
        let held = locks.line_up(&id("a"), Mode::Alone).await;
        let given_up = locks.line_up(&id("a"), Mode::Alone);
        let next = locks.line_up(&id("a"), Mode::Shared);
        drop(given_up);
        drop(held);
        next.await;
    }
}
