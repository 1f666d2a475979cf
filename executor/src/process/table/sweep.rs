//! Forgetting closed processes, each a while after its close. One task per table does it, and only
//! while there is something to forget.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::{Inner, Slot, Slots};
use crate::process::Process;

/// Closed processes in the order of their close, and the task that waits for the first.
#[derive(Debug, Default)]
pub(super) struct Closed {
    queue: VecDeque<(Instant, Arc<str>)>,
    sweeper: Option<AbortOnDropHandle<()>>,
}

impl Slots {
    /// Keeps a process that was just closed for as long as callers rely on.
    pub(super) fn remember(&mut self, table: &Arc<Inner>, process: &Arc<Process>) {
        let settings = &table.host.settings;
        let until = Instant::now() + settings.remembered_for;
        self.closed.queue.push_back((until, process.shared_id()));
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

    /// Forgets what is due, and says when the next one is. Without one the sweeper is over.
    fn forget_due(&mut self, now: Instant) -> Option<Instant> {
        loop {
            match self.closed.queue.front() {
                Some((due, _)) if *due <= now => self.forget_first(),
                Some((due, _)) => return Some(*due),
                None => {
                    if let Some(sweeper) = self.closed.sweeper.take() {
                        // It is the caller, on its way out.
                        drop(sweeper.detach());
                    }
                    return None;
                }
            }
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
