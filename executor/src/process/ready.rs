//! Which processes of a session have something to tell, in the order they found out.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Process;

/// Filled by processes, emptied by the one attached connection. A process is in it at most once,
/// so it is never longer than the session has processes.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    processes: VecDeque<Arc<Process>>,
    waiting: Option<Waker>,
}

impl ReadyQueue {
    /// The next process with something to tell. One caller at a time; cancel-safe.
    pub async fn next(&self) -> Arc<Process> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same for a caller that polls; only the last waker is woken.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Arc<Process>> {
        let mut inner = self.lock();
        match inner.processes.pop_front() {
            Some(process) => {
                drop(inner);
                process.left_queue();
                Poll::Ready(process)
            }
            None => {
                match &mut inner.waiting {
                    Some(waker) => waker.clone_from(cx.waker()),
                    empty => *empty = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// The same without waiting.
    pub fn try_next(&self) -> Option<Arc<Process>> {
        let process = self.lock().processes.pop_front()?;
        process.left_queue();
        Some(process)
    }

    /// Queues a process again that has more to tell than there was room for.
    pub fn put_back(&self, process: Arc<Process>) {
        if process.enters_queue() {
            self.push(process);
        }
    }

    /// For a process that has made sure that it is not in the queue.
    pub(super) fn push(&self, process: Arc<Process>) {
        let mut inner = self.lock();
        inner.processes.push_back(process);
        let waiting = inner.waiting.take();
        drop(inner);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// Forgets everything: the connection is gone.
    pub(super) fn clear(&self) {
        let mut inner = self.lock();
        inner.waiting = None;
        let processes = std::mem::take(&mut inner.processes);
        drop(inner);
        processes.iter().for_each(|process| process.left_queue());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
