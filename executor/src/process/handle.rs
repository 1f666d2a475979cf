//! The handle on one process: what a session, a connection and the actor share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use farstep_protocol::output::{Event, Exit, Limits, OutputLog, ReadPage, Seq};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::ReadyQueue;
use super::stdin::{Begun, PendingWrite, Stdin, Write};
use crate::os::{Group, Input, READ_MAX, WindowSize};

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
    /// There is room in the log again for an actor that found none.
    room: Notify,
    stdin: Mutex<Stdin>,
    /// How often somebody wrote to it.
    inputs: AtomicU64,
    ready: Arc<ReadyQueue>,
    queued: AtomicBool,
}

#[derive(Debug)]
struct Log {
    output: OutputLog,
    /// The reply to the start is on its way, so events may follow.
    announced: bool,
    /// The actor waits for room.
    paused: bool,
}

impl Process {
    pub(super) fn new(
        id: Arc<str>,
        group: Arc<Group>,
        input: Option<Input>,
        ready: Arc<ReadyQueue>,
        limits: Limits,
    ) -> Process {
        Process {
            id,
            group,
            terminated: AtomicBool::new(false),
            log: Mutex::new(Log {
                output: OutputLog::new(limits),
                announced: false,
                paused: false,
            }),
            news: Notify::new(),
            room: Notify::new(),
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
    pub fn take_event(&self) -> Option<Event> {
        let mut log = self.log();
        if !log.announced {
            return None;
        }
        let event = log.output.take();
        self.let_go_on(log);
        event
    }

    /// What is retained behind `after`. See [`OutputLog::read`].
    pub fn read(&self, after: Seq, max_bytes: Option<u64>) -> ReadPage {
        let mut log = self.log();
        let page = log.output.read(after, max_bytes);
        self.let_go_on(log);
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

    /// What Ctrl-C does. Nothing, if the program has ended.
    pub fn interrupt(&self) {
        self.group.interrupt();
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
        self.let_go_on(log);
    }

    pub(super) fn attach(self: &Arc<Self>) {
        self.change(|log| log.output.attach());
    }

    pub(super) fn release_pins(&self) {
        let mut log = self.log();
        log.output.release_pins();
        self.let_go_on(log);
    }

    /// Whether its last event was handed to a connection.
    pub(super) fn is_finished(&self) -> bool {
        self.log().output.is_finished()
    }

    /// Bytes of output held, and the means to hold fewer.
    pub(super) fn retained_bytes(&self) -> usize {
        self.log().output.retained_bytes()
    }

    pub(super) fn shrink(&self, bytes: usize) {
        self.log().output.shrink(bytes);
    }

    // For the actor.

    pub(super) fn was_terminated(&self) -> bool {
        self.terminated.load(Ordering::Acquire)
    }

    /// Whether a read may be made. If not, [`wait_room`](Self::wait_room) tells when.
    pub(super) fn has_room(&self) -> bool {
        let mut log = self.log();
        let room = log.output.can_accept(READ_MAX);
        log.paused = !room;
        room
    }

    pub(super) async fn wait_room(&self) {
        self.room.notified().await;
    }

    pub(super) fn output(
        self: &Arc<Self>,
        stream: farstep_protocol::method::process::OutputStream,
        bytes: Bytes,
    ) {
        self.change(|log| {
            log.output.push(stream, bytes);
        });
    }

    /// Memory of output that was dropped, to be read into again.
    pub(super) fn take_evicted(&self) -> impl Iterator<Item = Bytes> + use<> {
        self.log().output.take_evicted()
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
        self.let_go_on(log);
        self.news.notify_waiters();
        if for_connection && self.enters_queue() {
            self.ready.push(Arc::clone(self));
        }
    }

    fn let_go_on(&self, mut log: MutexGuard<'_, Log>) {
        if log.paused && log.output.can_accept(READ_MAX) {
            log.paused = false;
            drop(log);
            self.room.notify_one();
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
