//! How much output of finished processes is kept in all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Process;

/// Output of closed processes kept in all sessions together, beyond which the oldest lose theirs.
const CLOSED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What a closed process keeps at least while an older one still has more: a reader that looks
/// for the end of a failed build finds it.
pub(super) const TAIL: usize = 1024 * 1024;

/// Knows the closed processes of all sessions, oldest first. Keeps none of them alive.
#[derive(Debug, Default)]
pub(super) struct Retention {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// With everything they had, then with their tail only.
    whole: VecDeque<Kept>,
    tails: VecDeque<Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    process: Weak<Process>,
    bytes: usize,
}

impl Retention {
    /// A process is closed: it keeps what it has until newer ones need the room.
    pub(super) fn closed(&self, process: &Arc<Process>) {
        self.admit(process, CLOSED_BYTES_MAX);
    }

    pub(super) fn admit(&self, process: &Arc<Process>, max: usize) {
        let bytes = process.retained_bytes();
        if bytes == 0 {
            return;
        }
        let mut inner = self.lock();
        inner.bytes += bytes;
        inner.whole.push_back(Kept {
            process: Arc::downgrade(process),
            bytes,
        });
        inner.forget_the_forgotten();
        while inner.bytes > max {
            if let Some(kept) = inner.whole.pop_front() {
                inner.bytes -= kept.bytes;
                if let Some(tail) = kept.cut_to(TAIL) {
                    inner.bytes += tail.bytes;
                    inner.tails.push_back(tail);
                }
            } else if let Some(kept) = inner.tails.pop_front() {
                inner.bytes -= kept.bytes;
                kept.cut_to(0);
            } else {
                break;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let mut inner = self.lock();
        inner.forget_the_forgotten();
        inner.bytes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Processes are forgotten in about the order in which they were closed.
    fn forget_the_forgotten(&mut self) {
        for queue in [&mut self.tails, &mut self.whole] {
            while let Some(kept) = queue.front()
                && kept.process.strong_count() == 0
            {
                self.bytes -= kept.bytes;
                queue.pop_front();
            }
        }
    }
}

impl Kept {
    fn cut_to(self, bytes: usize) -> Option<Kept> {
        let process = self.process.upgrade()?;
        process.shrink(bytes);
        Some(Kept {
            bytes: process.retained_bytes(),
            process: self.process,
        })
    }
}
