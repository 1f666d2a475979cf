//! The events of one process, between the connection that delivers them and the one reader.
//!
//! The executor decides how much output it sends and the reader decides how fast it reads, so
//! something has to give when they disagree. The protocol has no flow control per process: not
//! reading the socket would stop every process and every call of the connection. So the inbox
//! gives: what does not fit is dropped, and the reader finds one [`ProcessEvent::Truncated`] in
//! its place that says how much. A caller that owns its connection can ask for
//! [`Overflow::Wait`] instead, and then the connection does wait.
//!
//! The end of a process is never dropped.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use super::process::ProcessEvent;

/// Unread output one process may hold here. A reader that keeps up never sees a tenth of it;
/// one that is a whole command behind still finds everything. Beyond it output is dropped and
/// counted, or the connection waits, as its [`Overflow`] says.
pub(super) const UNREAD_MAX: usize = 8 << 20;

/// Unread output all processes of one connection may hold together (`security` SR-40). When it
/// is used up, each process has only [`SHARE_MIN`] left.
pub(super) const UNREAD_TOTAL_MAX: usize = 64 << 20;

/// What every process may hold whatever the others do, so that readers who do not read cannot
/// cost one who does a byte. With as many processes as a connection may have this is the same
/// again as [`UNREAD_TOTAL_MAX`].
const SHARE_MIN: usize = 256 << 10;

/// What an event costs beside its bytes, so that a flood of empty ones is bounded as well.
const EVENT_COST: usize = 128;

/// What happens to output that its reader does not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It is dropped and counted; nobody else notices. Right wherever connections are shared.
    #[default]
    Truncate,
    /// The whole connection stops being read until the reader has caught up, and in the end the
    /// process itself is held back. Loses nothing; right for a caller that owns the connection.
    Wait,
}

/// How much unread output a connection holds over all its processes.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Arc<AtomicUsize>);

/// Both ends hold the same inbox; the reader's end is the only one that takes from it.
#[derive(Debug)]
pub(super) struct Inbox {
    overflow: Overflow,
    unread: Unread,
    queue: Mutex<Queue>,
    /// Something to read. One reader, so a stored permit is enough.
    filled: Notify,
    /// The connection, when it waits for room.
    writer: AtomicWaker,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<ProcessEvent>,
    charged: usize,
    /// Set when output was dropped and until half of the room is free again: a reader that is a
    /// little too slow sees one large gap rather than a sieve.
    dropping: bool,
    /// The last event is in, or the reader is gone: nothing more is taken in.
    complete: bool,
}

impl Inbox {
    pub(super) fn new(overflow: Overflow, unread: Unread) -> Arc<Inbox> {
        Arc::new(Inbox {
            overflow,
            unread,
            queue: Mutex::default(),
            filled: Notify::new(),
            writer: AtomicWaker::new(),
        })
    }

    /// Takes an event in. Never waits and never fails.
    pub(super) fn push(&self, event: ProcessEvent) {
        let mut queue = self.queue();
        if queue.complete {
            return;
        }
        match event {
            ProcessEvent::Output { ref bytes, .. } => {
                let cost = bytes.len() + EVENT_COST;
                if self.overflow == Overflow::Truncate && self.must_drop(&mut queue, cost) {
                    queue.drop_output(bytes.len());
                } else {
                    queue.charged += cost;
                    self.unread.0.fetch_add(cost, Ordering::Relaxed);
                    queue.events.push_back(event);
                }
            }
            ProcessEvent::Closed | ProcessEvent::Lost { .. } => {
                queue.complete = true;
                queue.events.push_back(event);
            }
            ProcessEvent::Exited { .. }
            | ProcessEvent::Truncated { .. }
            | ProcessEvent::Missed { .. } => {
                queue.events.push_back(event);
            }
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// The next event; `None` behind the last one. May be dropped and called again.
    pub(super) async fn next(&self) -> Option<ProcessEvent> {
        loop {
            {
                let mut queue = self.queue();
                if let Some(event) = queue.events.pop_front() {
                    self.credit(&mut queue, &event);
                    return Some(event);
                }
                if queue.complete {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// The reader is gone: lets go of everything and takes nothing in from now on.
    pub(super) fn abandon(&self) {
        let mut queue = self.queue();
        queue.complete = true;
        queue.events.clear();
        self.unread.0.fetch_sub(queue.charged, Ordering::Relaxed);
        queue.charged = 0;
        drop(queue);
        self.writer.wake();
    }

    /// Whether the connection has to wait for this reader.
    pub(super) fn is_full(&self) -> bool {
        let queue = self.queue();
        self.overflow == Overflow::Wait && !queue.complete && queue.charged > UNREAD_MAX
    }

    /// As [`Inbox::is_full`], and `cx` is woken when it no longer is.
    pub(super) fn holds_back(&self, cx: &Context<'_>) -> bool {
        // Registered first: room that is made in between must not go unnoticed.
        self.writer.register(cx.waker());
        self.is_full()
    }

    fn must_drop(&self, queue: &mut Queue, cost: usize) -> bool {
        let total = self.unread.0.load(Ordering::Relaxed);
        let room = if total + cost <= UNREAD_TOTAL_MAX {
            UNREAD_MAX
        } else {
            SHARE_MIN
        };
        let relaxed = !queue.dropping || queue.charged <= room / 2;
        // One event alone always fits: the transport has bounded its size already.
        let fits = queue.charged == 0 || queue.charged + cost <= room;
        queue.dropping = !(fits && relaxed);
        queue.dropping
    }

    fn credit(&self, queue: &mut Queue, event: &ProcessEvent) {
        if let ProcessEvent::Output { bytes, .. } = event {
            let cost = bytes.len() + EVENT_COST;
            queue.charged -= cost;
            self.unread.0.fetch_sub(cost, Ordering::Relaxed);
            if queue.charged <= UNREAD_MAX {
                self.writer.wake();
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A queue is consistent between any two statements above, so a panic elsewhere while it
        // was held is no reason to give it up.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn drop_output(&mut self, length: usize) {
        let length = length as u64;
        if let Some(ProcessEvent::Truncated { bytes }) = self.events.back_mut() {
            *bytes += length;
        } else {
            self.events
                .push_back(ProcessEvent::Truncated { bytes: length });
        }
    }
}

#[cfg(test)]
mod tests;
