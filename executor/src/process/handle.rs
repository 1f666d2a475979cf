//! The handle on one process: what a session, a connection and the actor share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;
use farstep_protocol::output::{Body as _, Event, Exit, OutputLog, ReadPage, Seq};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::ReadyQueue;
use super::retention::{Account, Retention, cost};
use super::stdin::{Begun, PendingWrite, Stdin, Write, WriteStatus};
use super::store::{Held, KEPT_HERE, SEGMENT};
use crate::os::{Group, Input, Notice, READ_MAX, WindowSize};

/// One started program. The handle outlives it: what it said can be read until it is forgotten.
///
/// No method waits for the program except [`wait_news`](Self::wait_news), and none holds a lock
/// while bytes are encoded or sent: pieces of output are shared, not copied.
#[derive(Debug)]
pub struct Process {
    id: Arc<str>,
    group: Arc<Group>,
    /// Asked for by a caller, so its survivors shall not keep the output open.
    terminated: AtomicBool,
    log: Mutex<Log>,
    /// Somebody may be interested in the log.
    news: Notify,
    retention: Arc<Retention>,
    stdin: Mutex<Stdin>,
    /// How often somebody wrote to it.
    inputs: AtomicU64,
    ready: Arc<ReadyQueue>,
    queued: AtomicBool,
}

#[derive(Debug)]
struct Log {
    output: OutputLog<Held>,
    account: Account,
    /// The reply to the start is on its way, so events may follow.
    announced: bool,
    /// The actor, while it waits for room.
    paused: Option<Waker>,
}

impl Process {
    pub(super) fn new(
        id: Arc<str>,
        group: Arc<Group>,
        input: Option<Input>,
        ready: Arc<ReadyQueue>,
        output: OutputLog<Held>,
        retention: Arc<Retention>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Process {
        Process {
            id,
            group,
            terminated: AtomicBool::new(false),
            log: Mutex::new(Log {
                output,
                account: Account::new(place),
                announced: false,
                paused: None,
            }),
            news: Notify::new(),
            retention,
            stdin: Mutex::new(Stdin::new(input)),
            inputs: AtomicU64::new(0),
            ready,
            queued: AtomicBool::new(false),
        }
    }

    /// What its caller calls it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Lets events flow to the attached connection. Call it once the reply to the start is
    /// queued: nothing of a process may overtake that.
    pub fn announce(self: &Arc<Self>) {
        self.change(|log| log.announced = true);
    }

    /// The next event for the attached connection; from here on it counts as delivered.
    pub fn take_event(&self) -> Option<Event<Held>> {
        let mut log = self.log();
        if !log.announced {
            return None;
        }
        let event = log.output.take();
        self.done(log);
        event
    }

    /// What is retained behind `after`. See [`OutputLog::read`].
    pub fn read(&self, after: Seq, max_bytes: Option<u64>) -> ReadPage<Held> {
        let mut log = self.log();
        let page = log.output.read(after, max_bytes);
        self.done(log);
        page
    }

    /// Waits until a read behind `after` has something to report, or until the deadline.
    pub async fn wait_news(&self, after: Seq, deadline: Option<Instant>) {
        let news = async {
            loop {
                let news = self.news.notified();
                tokio::pin!(news);
                // Registered before looking, so that nothing falls in between.
                news.as_mut().enable();
                if self.log().output.has_news(after) {
                    return;
                }
                news.await;
            }
        };
        match deadline {
            // Too late is an answer as good as any: the caller reads what there is.
            Some(deadline) => timeout_at(deadline, news).await.unwrap_or_default(),
            None => news.await,
        }
    }

    /// Hands input to the program. Its place among other writes is decided by this call; `id`
    /// makes a repetition harmless.
    pub fn begin_write(self: &Arc<Self>, id: &str, bytes: Bytes) -> Write {
        self.inputs.fetch_add(1, Ordering::Relaxed);
        let begun = self.stdin().begin(id, bytes);
        match begun {
            Begun::Done(status) => Write::Done(status),
            Begun::Waiting(waiting) => Write::Waiting(PendingWrite::new(Arc::clone(self), waiting)),
        }
    }

    /// Ends its input behind what was written to it so far.
    pub fn end_input(&self) -> WriteStatus {
        self.stdin().end()
    }

    /// What Ctrl-C does. Nothing, if the program has ended.
    pub fn interrupt(&self) {
        self.group.interrupt();
    }

    /// Tells it something it may heed. Nothing, if it has ended.
    pub fn notify(&self, notice: Notice) {
        self.group.notify(notice);
    }

    /// Kills the program and its group; says whether it was running. Exit and close follow by
    /// themselves, even if a descendant that escaped holds the output open.
    pub fn terminate(&self) -> bool {
        if self.has_exited() {
            return false;
        }
        self.terminated.store(true, Ordering::Release);
        self.group.kill()
    }

    /// Changes the size of its terminal, if it has one.
    pub fn resize(&self, size: WindowSize) -> std::io::Result<()> {
        self.group.resize(size)
    }

    /// Whether the program has ended.
    pub fn has_exited(&self) -> bool {
        self.log().output.exit().is_some()
    }

    /// Whether it has nothing more to say.
    pub fn is_closed(&self) -> bool {
        self.log().output.is_closed()
    }

    // For the table.

    pub(super) fn shared_id(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }

    pub(super) fn detach(&self) {
        let mut log = self.log();
        // Who resumes knows the id already, reply or not.
        log.announced = true;
        log.output.detach();
        self.done(log);
    }

    pub(super) fn attach(self: &Arc<Self>) {
        self.change(|log| log.output.attach());
    }

    pub(super) fn release_pins(&self) {
        let mut log = self.log();
        log.output.release_pins();
        self.done(log);
    }

    /// Whether its last event was handed to a connection.
    pub(super) fn is_finished(&self) -> bool {
        self.log().output.is_finished()
    }

    /// Bytes of output held.
    pub(super) fn retained_bytes(&self) -> usize {
        self.log().output.retained_bytes()
    }

    // For the retention of all processes.

    /// Keeps no more than `bytes` from now on, but for what nobody was given yet.
    pub(super) fn shrink(&self, bytes: usize) {
        let mut log = self.log();
        log.output.shrink(bytes);
        self.done(log);
    }

    /// Drops old output until the rest costs no more than `max`, but for what nobody was given yet.
    pub(super) fn cut_to(&self, max: usize) {
        let mut log = self.log();
        let before = log.cost();
        log.output.cut_while(|output| cost_of(output) > max);
        if log.cost() < before {
            self.done(log);
        }
    }

    /// Gives up the right to run, if there is room for what is held without it; else says how much
    /// is lacking, and goes as soon as that is there.
    pub(super) fn leave(&self) -> usize {
        self.log().account.leave(&self.retention)
    }

    // For the actor.

    pub(super) fn was_terminated(&self) -> bool {
        self.terminated.load(Ordering::Acquire)
    }

    /// Reserves room for a read and says for how many bytes, until the read's outcome is recorded
    /// or [`release`](Self::release)d. Without room, the actor is woken when there is some.
    pub(super) fn reserve(&self, cx: &mut Context<'_>) -> Option<usize> {
        let mut log = self.log();
        if !log.output.can_accept(READ_MAX) {
            log.paused = Some(cx.waker().clone());
            self.stop_waiting(log);
            return None;
        }
        if log.account.reserve(&self.retention).is_ok() {
            self.go_on(log);
            return Some(READ_MAX);
        }
        log.account.wait(&self.retention, cx.waker());
        drop(log);
        self.make_room(Some(cx.waker()))
    }

    /// The same for last words, which do not wait: whether the log is full or not, but not beyond
    /// what the executor may retain.
    pub(super) fn reserve_now(&self) -> Option<usize> {
        let mut log = self.log();
        if log.account.reserve(&self.retention).is_ok() {
            self.go_on(log);
            return Some(READ_MAX);
        }
        drop(log);
        self.make_room(None)
    }

    /// Nothing was read.
    pub(super) fn release(&self) {
        let mut log = self.log();
        log.account.read();
        self.done(log);
    }

    /// Whether the log itself has room for a read.
    pub(super) fn has_room(&self) -> bool {
        self.log().output.can_accept(READ_MAX)
    }

    /// What its output costs, in bytes.
    #[cfg(test)]
    pub(super) fn cost(&self) -> usize {
        self.log().cost()
    }

    /// Whether the actor waits for room, and nobody has woken it yet.
    #[cfg(test)]
    pub(super) fn is_paused(&self) -> bool {
        let log = self.log();
        log.paused.is_some() && !log.account.is_woken(&self.retention)
    }

    pub(super) fn output(
        self: &Arc<Self>,
        stream: farstep_protocol::method::process::OutputStream,
        bytes: Bytes,
    ) {
        self.change(|log| {
            log.output.push(stream, Held::Here(bytes));
            log.account.read();
        });
        self.store_old();
    }

    /// Moves old output out of memory, if it is a segment by now.
    fn store_old(&self) {
        let log = self.log();
        if log.output.unmoved_bytes() < KEPT_HERE + SEGMENT || self.retention.store().is_full() {
            return;
        }
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        for chunk in log.output.movable(KEPT_HERE) {
            bytes += chunk.bytes.size();
            if bytes > SEGMENT {
                break;
            }
            chunks.push(chunk.clone());
        }
        drop(log);
        // Not before a segment is full, or nearly.
        if bytes + READ_MAX > SEGMENT
            && let Some(stored) = self.retention.store().put(&chunks)
        {
            drop(chunks);
            self.log().output.moved(stored);
        }
    }

    /// Memory of output that was dropped or moved, to be read into again.
    pub(super) fn take_evicted(&self) -> impl Iterator<Item = Bytes> + use<> {
        let evicted = self.log().output.take_evicted();
        evicted.filter_map(|held| match held {
            Held::Here(bytes) => Some(bytes),
            Held::Stored(_) => None,
        })
    }

    pub(super) fn exited(self: &Arc<Self>, code: i32) {
        // No program of ours is confined yet, so no sandbox can have denied it anything.
        let exit = Exit {
            code,
            sandbox_denied: false,
        };
        self.change(|log| log.output.exited(exit));
    }

    pub(super) fn closed(self: &Arc<Self>) {
        self.change(|log| log.output.closed());
        self.stop_waiting(self.log());
    }

    pub(super) fn stdin(&self) -> MutexGuard<'_, Stdin> {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn inputs(&self) -> u64 {
        self.inputs.load(Ordering::Relaxed)
    }

    // For the queue and for pending writes.

    /// True once per stay in the queue.
    pub(super) fn enters_queue(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }

    pub(super) fn left_queue(&self) {
        self.queued.store(false, Ordering::Release);
    }

    pub(super) fn abandon_write(&self, ticket: u64) {
        self.stdin().abandon(ticket);
    }

    /// Changes the log and tells everybody who may want to know.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut Log)) {
        let mut log = self.log();
        change(&mut log);
        let for_connection = log.announced && log.output.has_untaken();
        self.done(log);
        self.news.notify_waiters();
        if for_connection && self.enters_queue() {
            self.ready.push(Arc::clone(self));
        }
    }

    /// Finds room for a read; the order is that of [`Retention`]. Without room, the waker is called
    /// when something was taken or read.
    fn make_room(&self, waker: Option<&Waker>) -> Option<usize> {
        let all = &*self.retention;
        self.cut_to(all.share());
        loop {
            let mut log = self.log();
            let Err(lack) = log.account.reserve(all) else {
                self.go_on(log);
                return Some(READ_MAX);
            };
            drop(log);
            // Others may take what was found, and then there may be more.
            if !all.make_room(lack) {
                break;
            }
        }
        let mut log = self.log();
        let Log {
            output, account, ..
        } = &mut *log;
        output.cut_while(|output| account.lacks(all, cost_of(output)) > 0);
        account.hold(all, cost_of(output));
        let room = account.reserve_some(all);
        let free = account.settle(all, cost_of(output));
        if room.is_some() {
            self.go_on(log);
        } else if let Some(waker) = waker {
            // Under the same lock: what is taken from now on calls it.
            log.paused = Some(waker.clone());
            drop(log);
        }
        all.give_back(free);
        room
    }

    /// Room was found.
    fn go_on(&self, mut log: MutexGuard<'_, Log>) {
        log.paused = None;
        self.stop_waiting(log);
    }

    /// Waits for no room any more, so others may have what it was woken for.
    fn stop_waiting(&self, mut log: MutexGuard<'_, Log>) {
        let waited = log.account.stop_waiting(&self.retention);
        drop(log);
        if waited {
            self.retention.wake();
        }
    }

    /// Books a change of the log, and lets the actor go on if it has room now.
    fn done(&self, mut log: MutexGuard<'_, Log>) {
        let share = self.retention.share();
        let may_drop = log.output.has_evictable() && !log.output.is_closed();
        if may_drop && log.cost() > share && self.retention.wants_excess() {
            log.output.cut_while(|output| cost_of(output) > share);
        }
        let cost = log.cost();
        let free = log.account.settle(&self.retention, cost);
        let goes_on = match log.output.can_accept(READ_MAX) {
            true => log.paused.take(),
            false => None,
        };
        drop(log);
        self.retention.give_back(free);
        if let Some(waker) = goes_on {
            waker.wake();
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn cost(&self) -> usize {
        cost_of(&self.output)
    }
}

fn cost_of(output: &OutputLog<Held>) -> usize {
    cost(output.retained_bytes(), output.retained_chunks())
}

impl Drop for Process {
    fn drop(&mut self) {
        let log = self.log.get_mut().unwrap_or_else(PoisonError::into_inner);
        let waited = log.account.stop_waiting(&self.retention);
        log.account.read();
        let free = log.account.settle(&self.retention, 0);
        self.retention.give_back(free);
        if waited {
            self.retention.wake();
        }
    }
}
