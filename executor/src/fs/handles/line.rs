//! What is done on one handle one after the other, in the order it was asked for.
//!
//! Blocks that several threads read at once are finished in any order, and who wants the file has to
//! put them in theirs again; and they push each other out of the processor's cache.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Handle;

/// How much is done before whoever does it makes way for others.
const SHIFT: usize = 32;

type Work = dyn FnOnce(&Handle) + Send;

/// Whoever waits for a handle. Bounded by the calls in flight.
#[derive(Default)]
pub(super) struct Line(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<Work>>,
    is_worked_off: bool,
}

impl Line {
    /// Lines up. True if nobody works the line off: the caller has to have it done.
    #[must_use]
    pub(super) fn join(&self, work: impl FnOnce(&Handle) + Send + 'static) -> bool {
        let mut state = self.lock();
        state.waiting.push_back(Box::new(work));
        !std::mem::replace(&mut state.is_worked_off, true)
    }

    /// Does what waits. True if there is more than was to be done at once: to be called again.
    #[must_use]
    pub(super) fn work_off(&self, handle: &Handle) -> bool {
        for _ in 0..SHIFT {
            let mut state = self.lock();
            let Some(work) = state.waiting.pop_front() else {
                state.is_worked_off = false;
                return false;
            };
            drop(state);
            work(handle);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody leaves the state half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Line")
            .field(&self.lock().waiting.len())
            .finish()
    }
}
