//! How much output an executor retains in all, and who gives way when that is too much.
//!
//! ```text
//!   limit  ├─ a floor for each process that may run ─┤───────────── common room ─────────────┤
//! ```
//!
//! The floor of a process is always there for it, so each goes on as soon as somebody takes what
//! it said, whatever the others hold. The common room is for whoever comes first. Who finds it used
//! up gets room, in this order, from
//!
//! 1. its own old output, if it holds more than its share,
//! 2. closed processes, the oldest first, down to their tails, and then from the tails,
//! 3. running processes that hold more than their share,
//! 4. its own old output, share or not;
//!
//! and else it pauses until somebody reads, or goes. Only output that was delivered is ever dropped:
//! a late reader sees the gap. What nobody was given yet waits for its reader.
//!
//! Nobody looks again by the clock. Who needs room is in the queue before he looks, and whatever
//! may let him find some from then on brings it to him: room that is given back, a process that is
//! closed, and output that is delivered by one that holds more than its share. What a process may
//! drop of its own it exchanges for room under the lock of its log, so nobody else can take that,
//! and who is read goes on.
//!
//! Every byte is booked before it is read, so the limit holds at every moment. A process that is
//! closed gives its floor back when the common room can take what it left; until then it counts as
//! running.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use tokio::sync::OwnedSemaphorePermit;

use super::Process;
use super::store::Store;
use crate::os::READ_MAX;

/// What a closed process keeps at least while an older one still has more: a reader that looks
/// for the end of a failed build finds it.
pub const TAIL: usize = 1024 * 1024;
/// What a chunk costs beside its bytes: its entry in the log, its memory's own bookkeeping.
pub(super) const CHUNK_COST: usize = 128;
/// Half of what an ordinary pipe holds: enough to keep a reader busy.
const FLOOR_MAX: usize = 32 * 1024;
/// The floors of all processes are at most this part of the limit.
const FLOORS_PART: usize = 4;
/// Room for less than this, or than a floor is for, is not worth a read.
const READ_MIN: usize = 4 * 1024;

/// What output costs here.
pub(super) fn cost(bytes: usize, chunks: usize) -> usize {
    bytes + chunks * CHUNK_COST
}

/// Knows all processes that retain output. Keeps none of them alive.
#[derive(Debug)]
pub(super) struct Retention {
    floor: usize,
    /// Room for less is not worth a read.
    read_min: usize,
    common: usize,
    /// Of the common room.
    used: AtomicUsize,
    /// In all.
    held: AtomicUsize,
    /// What each process that runs may hold while room is short.
    share: AtomicUsize,
    /// Since all processes were looked at, somebody has come to hold more than his share that may
    /// be dropped.
    excess: AtomicBool,
    inner: Mutex<Inner>,
    queue: Mutex<Queue>,
    queued: AtomicUsize,
    store: Arc<Store>,
}

#[derive(Debug, Default)]
struct Inner {
    running: Vec<Weak<Process>>,
    /// Closed ones in the order of their close: with everything they had, then with their tail.
    whole: VecDeque<Weak<Process>>,
    tails: VecDeque<Weak<Process>>,
    /// Closed ones that still count as running.
    leaving: Vec<Weak<Process>>,
}

/// Actors that wait for common room, in the order in which they came.
#[derive(Debug, Default)]
struct Queue {
    last: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Retention {
    /// `max` bytes for as many as `processes` that run and all that are closed.
    pub(super) fn new(max: usize, processes: usize) -> Retention {
        let processes = processes.max(1);
        let floor = FLOOR_MAX.min(max / processes / FLOORS_PART);
        let floor = floor.max(2 * CHUNK_COST);
        Retention {
            floor,
            read_min: READ_MIN.min(floor - CHUNK_COST),
            common: max.saturating_sub(floor * processes),
            used: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            share: AtomicUsize::new(max),
            excess: AtomicBool::new(false),
            inner: Mutex::default(),
            queue: Mutex::default(),
            queued: AtomicUsize::new(0),
            store: Store::new(max),
        }
    }

    /// Where old output is put.
    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What is retained right now, in bytes.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// A process runs from now on.
    pub(super) fn started(&self, process: &Arc<Process>) {
        let mut inner = self.lock();
        inner.running.push(Arc::downgrade(process));
        self.set_share(&inner);
        // It is smaller than before.
        self.excess.store(true, Ordering::SeqCst);
    }

    /// A process is closed: it keeps what it has until others need the room.
    pub(super) fn closed(&self, process: &Arc<Process>) {
        let closed = Arc::downgrade(process);
        let mut inner = self.lock();
        inner.running.retain(|running| !running.ptr_eq(&closed));
        self.set_share(&inner);
        inner.forget_the_forgotten();
        if process.retained_bytes() > 0 {
            inner.whole.push_back(Weak::clone(&closed));
        }
        drop(inner);
        let lack = process.leave();
        if lack > 0 {
            self.make_room(lack);
            if process.leave() > 0 {
                self.lock().leaving.push(closed);
            }
        }
        if self.is_short() {
            self.make_room(READ_MAX + CHUNK_COST);
        }
    }

    /// Lets closed processes go that still count as running, if there is room for what they left.
    pub(super) fn free_places(&self) {
        let leaving = std::mem::take(&mut self.lock().leaving);
        let still: Vec<_> = leaving
            .into_iter()
            .filter(|process| process.upgrade().is_some_and(|process| process.leave() > 0))
            .collect();
        self.lock().leaving.extend(still);
    }

    /// Looks for `lack` bytes of common room, among closed processes and those above their share,
    /// and says whether it was there. Whoever asks must not hold the lock of a log.
    pub(super) fn make_room(&self, lack: usize) -> bool {
        let mut inner = self.lock();
        while self.free() < lack {
            if let Some(oldest) = inner.whole.pop_front() {
                if let Some(process) = oldest.upgrade() {
                    process.shrink(TAIL);
                    inner.tails.push_back(oldest);
                }
            } else if let Some(oldest) = inner.tails.pop_front() {
                if let Some(process) = oldest.upgrade() {
                    process.shrink(0);
                }
            } else {
                break;
            }
        }
        if self.free() >= lack {
            return true;
        }
        if self.excess.swap(false, Ordering::SeqCst) {
            inner.running.retain(|process| process.strong_count() > 0);
            self.set_share(&inner);
            let share = self.share();
            for process in inner.running.iter().filter_map(Weak::upgrade) {
                process.cut_to(share);
            }
        }
        self.free() >= lack
    }

    /// What each process that runs may hold while room is short.
    pub(super) fn share(&self) -> usize {
        self.share.load(Ordering::Relaxed)
    }

    fn set_share(&self, inner: &Inner) {
        let share = self.floor + self.common / inner.running.len().max(1);
        self.share.store(share, Ordering::Relaxed);
    }

    /// Told by one that runs when more than its share is in its log and some of that may be
    /// dropped. Says whether it has to be at once, because somebody waits for it; who comes later
    /// looks for himself.
    pub(super) fn wants_excess(&self) -> bool {
        // In this order: who waits has entered the queue before he looked.
        if !self.excess.load(Ordering::SeqCst) {
            self.excess.store(true, Ordering::SeqCst);
        }
        self.is_short()
    }

    /// Whether somebody waits.
    fn is_short(&self) -> bool {
        self.queued.load(Ordering::SeqCst) > 0
    }

    /// Gives common room back, to those who wait for it.
    pub(super) fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::SeqCst);
            self.wake();
        }
    }

    /// Wakes as many of those who wait as there is room for.
    pub(super) fn wake(&self) {
        if !self.is_short() {
            return;
        }
        let mut woken = Vec::new();
        let mut queue = self.lock_queue();
        let mut free = self.free();
        while free >= self.read_min + CHUNK_COST
            && let Some((_, waker)) = queue.wakers.pop_first()
        {
            woken.push(waker);
            free = free.saturating_sub(READ_MAX);
        }
        self.queued.store(queue.wakers.len(), Ordering::SeqCst);
        drop(queue);
        woken.into_iter().for_each(Waker::wake);
    }

    fn free(&self) -> usize {
        self.common.saturating_sub(self.used.load(Ordering::SeqCst))
    }

    /// Takes common room: all of `most`, or what there is of it if that is at least `least`.
    fn take(&self, least: usize, most: usize) -> usize {
        let mut taken = 0;
        let took = self
            .used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                taken = most.min(self.common.saturating_sub(used));
                (taken >= least).then_some(used + taken)
            });
        if took.is_ok() { taken } else { 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Processes are forgotten in about the order in which they were closed.
    fn forget_the_forgotten(&mut self) {
        for queue in [&mut self.tails, &mut self.whole] {
            while queue.front().is_some_and(|kept| kept.strong_count() == 0) {
                queue.pop_front();
            }
        }
    }
}

/// What one log has of the room. Guarded by the log's lock, under which it may take and not wait.
#[derive(Debug)]
pub(super) struct Account {
    held: usize,
    /// Set aside for a read that is under way.
    reserved: usize,
    /// Of the common room: what of both lies beyond the floor.
    charged: usize,
    /// The right to run, and to a floor.
    place: Option<OwnedSemaphorePermit>,
    leaving: bool,
    /// Its place among those who wait.
    ticket: Option<u64>,
}

impl Account {
    /// Of a process that begins to run.
    pub(super) fn new(place: Option<OwnedSemaphorePermit>) -> Account {
        Account {
            held: 0,
            reserved: 0,
            charged: 0,
            place,
            leaving: false,
            ticket: None,
        }
    }

    /// Reserves room for a read of [`READ_MAX`]; says how much common room is lacking.
    pub(super) fn reserve(&mut self, all: &Retention) -> Result<(), usize> {
        let lack = self.lacks(all, self.held);
        if lack > 0 && all.take(lack, lack) == 0 {
            return Err(lack);
        }
        self.charged += lack;
        self.reserved = READ_MAX + CHUNK_COST;
        Ok(())
    }

    /// Reserves what room there is, if it is worth a read.
    pub(super) fn reserve_some(&mut self, all: &Retention) -> Option<usize> {
        let spare = self.spare(all);
        let wanted = (READ_MAX + CHUNK_COST).saturating_sub(spare);
        let least = (all.read_min + CHUNK_COST).saturating_sub(spare);
        self.charged += all.take(least, wanted);
        let room = self.spare(all).min(READ_MAX + CHUNK_COST);
        (room >= all.read_min + CHUNK_COST).then(|| {
            self.reserved = room;
            room - CHUNK_COST
        })
    }

    /// The read is over, and what it read is in the log.
    pub(super) fn read(&mut self) {
        self.reserved = 0;
    }

    /// What a read of [`READ_MAX`] lacks if so much is held.
    pub(super) fn lacks(&self, all: &Retention, held: usize) -> usize {
        (READ_MAX + CHUNK_COST + held).saturating_sub(self.floor(all) + self.charged)
    }

    /// Books what the log holds now. Returns what is to be given back, by
    /// [`Retention::give_back`], when the lock is free.
    pub(super) fn settle(&mut self, all: &Retention, held: usize) -> usize {
        self.hold(all, held);
        if self.leaving {
            self.leave(all);
        }
        let due = (held + self.reserved).saturating_sub(self.floor(all));
        debug_assert!(due <= self.charged, "more was read than reserved");
        let free = self.charged.saturating_sub(due);
        self.charged -= free;
        free
    }

    /// The log holds so much now, and what was dropped stays in hand until the books are
    /// [`settle`](Self::settle)d.
    pub(super) fn hold(&mut self, all: &Retention, held: usize) {
        if held >= self.held {
            all.held.fetch_add(held - self.held, Ordering::Relaxed);
        } else {
            all.held.fetch_sub(self.held - held, Ordering::Relaxed);
        }
        self.held = held;
    }

    /// Gives up the right to run as soon as the common room takes what is held. Returns what it
    /// lacks for that.
    pub(super) fn leave(&mut self, all: &Retention) -> usize {
        self.leaving = self.place.is_some();
        let lack = self.held.saturating_sub(self.charged);
        if !self.leaving || (lack > 0 && all.take(lack, lack) == 0) {
            return if self.leaving { lack } else { 0 };
        }
        self.charged += lack;
        self.leaving = false;
        self.place = None;
        0
    }

    /// Has somebody woken when there is common room.
    pub(super) fn wait(&mut self, all: &Retention, waker: &Waker) {
        let mut queue = all.lock_queue();
        let ticket = *self.ticket.get_or_insert_with(|| {
            queue.last += 1;
            queue.last
        });
        queue.wakers.insert(ticket, waker.clone());
        all.queued.store(queue.wakers.len(), Ordering::SeqCst);
    }

    /// Waits no longer; says whether it did, and then others may have to be woken in its place.
    pub(super) fn stop_waiting(&mut self, all: &Retention) -> bool {
        let Some(ticket) = self.ticket.take() else {
            return false;
        };
        let mut queue = all.lock_queue();
        queue.wakers.remove(&ticket);
        all.queued.store(queue.wakers.len(), Ordering::SeqCst);
        true
    }

    #[cfg(test)]
    pub(super) fn is_woken(&self, all: &Retention) -> bool {
        self.ticket
            .is_some_and(|ticket| !all.lock_queue().wakers.contains_key(&ticket))
    }

    fn floor(&self, all: &Retention) -> usize {
        if self.place.is_some() { all.floor } else { 0 }
    }

    /// What may be read without more common room.
    fn spare(&self, all: &Retention) -> usize {
        (self.floor(all) + self.charged).saturating_sub(self.held)
    }
}
