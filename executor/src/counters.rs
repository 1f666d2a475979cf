//! What is counted over the life of an executor.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of what happened, each only ever growing.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    trace_ignored: AtomicU64,
}

/// The counts at one moment.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests whose trace context was wrong and ignored.
    pub(crate) trace_ignored: u64,
}

impl Counters {
    pub(crate) fn trace_ignored(&self) {
        self.trace_ignored.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn now(&self) -> Counts {
        Counts {
            trace_ignored: self.trace_ignored.load(Ordering::Relaxed),
        }
    }
}
