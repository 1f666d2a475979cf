//! Forgetting closed processes, each a while after its close, and most of their output sooner. One
//! task per table does it, and only while there is something to forget.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::{Inner, Slot, Slots};
use crate::process::Process;
use crate::process::retention::TAIL;

/// When a client that is still attached has everything it was sent, or its connection would have
/// broken: from then on the tail that may be read again is enough.
const ARRIVED_AFTER: Duration = Duration::from_secs(10);

/// Closed processes in the order of their close, and the task that waits for the first.
#[derive(Debug, Default)]
pub(super) struct Closed {
    /// When to forget them.
    queue: VecDeque<(Instant, Arc<str>)>,
    /// When to forget what surely arrived.
    fresh: VecDeque<(Instant, Arc<str>)>,
    sweeper: Option<AbortOnDropHandle<()>>,
}

impl Slots {
    /// Keeps a process that was just closed for as long as callers rely on.
    pub(super) fn remember(&mut self, table: &Arc<Inner>, process: &Arc<Process>) {
        let settings = &table.host.settings;
        let now = Instant::now();
        let until = now + settings.remembered_for;
        self.closed.queue.push_back((until, process.shared_id()));
        if process.retained_bytes() > TAIL {
            let arrived = now + ARRIVED_AFTER;
            self.closed.fresh.push_back((arrived, process.shared_id()));
        }
        if self.closed.queue.len() > settings.remembered_max {
            self.forget_oldest_delivered();
        }
        if self.closed.sweeper.is_none() {
            let task = tokio::spawn(sweep(Arc::downgrade(table)));
            self.closed.sweeper = Some(AbortOnDropHandle::new(task));
        }
    }

    fn forget_oldest_delivered(&mut self) {
        let Some((_, id)) = self.closed.queue.front() else {
            return;
        };
        // One whose end nobody was told yet stays: it is a matter of time, or of a resume.
        if let Some(Slot::Known(process)) = self.by_id.get(id)
            && process.is_finished()
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, id)) = self.closed.queue.pop_front() {
            self.by_id.remove(&id);
        }
    }

    /// Forgets what is due, and says when there is more. Without any the sweeper is over.
    fn forget_due(&mut self, now: Instant) -> Option<Instant> {
        while let Some((due, id)) = self.closed.fresh.pop_front() {
            if due > now {
                self.closed.fresh.push_front((due, id));
                break;
            }
            self.forget_what_arrived(&id);
        }
        while self
            .closed
            .queue
            .front()
            .is_some_and(|(due, _)| *due <= now)
        {
            self.forget_first();
        }
        let nexts = [&self.closed.fresh, &self.closed.queue];
        let next = nexts
            .iter()
            .filter_map(|queue| Some(queue.front()?.0))
            .min();
        if next.is_none()
            && let Some(sweeper) = self.closed.sweeper.take()
        {
            // It is the caller, on its way out.
            drop(sweeper.detach());
        }
        next
    }

    fn forget_what_arrived(&self, id: &str) {
        if let (false, Some(Slot::Known(process))) = (self.detached, self.by_id.get(id))
            && process.is_finished()
        {
            process.shrink(TAIL);
        }
    }
}

async fn sweep(table: Weak<Inner>) {
    loop {
        let next = match table.upgrade() {
            Some(table) => table.slots().forget_due(Instant::now()),
            None => None,
        };
        match next {
            Some(due) => sleep_until(due).await,
            None => return,
        }
    }
}
