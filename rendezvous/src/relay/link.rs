//! The link of one executor: its relay, and whoever serves its websockets.
//!
//! The machine is locked for a few lines at a time. What follows from an event is said to the tasks
//! that own the websockets, each of which waits for its own two bells.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use farstep_protocol::relay::Frame;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Ending;
use super::machine::{Action, Conn, Machine, Next, Reading};
use super::streams::HarnessId;
use crate::limits::Limits;
use crate::metrics::{Counts, Metrics};
use crate::store::EnvironmentKey;

/// Whose link it is.
#[derive(Clone, Debug)]
pub struct Linked {
    /// Which environment it is.
    pub environment: EnvironmentKey,
    /// Of its registration.
    pub generation: u64,
    /// When the credential ends with which it registered.
    pub ends_at: Option<i64>,
    /// Whether it wants to be told that the node is about to go.
    pub wants_notice: bool,
}

/// A connected executor.
#[derive(Debug)]
pub struct ExecutorLink {
    /// Which environment it is.
    pub environment: EnvironmentKey,
    /// Of its registration.
    pub generation: u64,
    /// When its credential is looked at again; `i64::MAX` is never.
    ends_at: AtomicI64,
    /// Where its tenant's bytes are counted.
    pub(super) counts: Arc<Counts>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) limits: Arc<Limits>,
    number: u64,
    state: Mutex<State>,
    bell: Bell,
}

#[derive(Debug)]
struct State {
    machine: Machine,
    bells: HashMap<HarnessId, Arc<Bell>>,
    /// What of its queues the node knows about, in bytes.
    counted: usize,
}

/// What the task of a websocket waits for.
#[derive(Debug, Default)]
pub(super) struct Bell {
    pub(super) may_write: Notify,
    may_read: Notify,
    stop: CancellationToken,
    ending: OnceLock<Ending>,
    wants_notice: bool,
    has_notice: AtomicBool,
}

impl Bell {
    fn new(wants_notice: bool) -> Bell {
        Bell {
            wants_notice,
            ..Bell::default()
        }
    }

    fn end(&self, ending: Ending) {
        let _: Result<(), Ending> = self.ending.set(ending);
        self.stop.cancel();
    }

    /// Waits for the end that somebody else decided on.
    pub(super) async fn ended(&self) -> Ending {
        self.stop.cancelled().await;
        self.ending.get().copied().unwrap_or(Ending::GONE)
    }

    fn notice(&self) {
        if self.wants_notice {
            self.has_notice.store(true, Ordering::Release);
            self.may_write.notify_one();
        }
    }

    /// Whether it is to be told now that the node is about to go.
    pub(super) fn take_notice(&self) -> bool {
        self.has_notice.load(Ordering::Acquire) && self.has_notice.swap(false, Ordering::AcqRel)
    }
}

/// A place at an executor for one orchestrator. Dropping it gives the place back and tells the
/// executor.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) link: Arc<ExecutorLink>,
    pub(super) conn: Conn,
    pub(super) bell: Arc<Bell>,
    harness: HarnessId,
    gently: bool,
}

impl ExecutorLink {
    /// A link, to be served.
    pub fn new(linked: Linked, metrics: Arc<Metrics>, limits: Arc<Limits>) -> Arc<ExecutorLink> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let quotas = limits.quotas();
        let counts = metrics.of(&linked.environment.tenant);
        let machine = Machine::new(quotas.queue(), quotas.streams_per_executor);
        Arc::new(ExecutorLink {
            environment: linked.environment,
            generation: linked.generation,
            counts,
            ends_at: AtomicI64::new(linked.ends_at.unwrap_or(i64::MAX)),
            metrics,
            limits,
            number: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            state: Mutex::new(State {
                machine,
                bells: HashMap::new(),
                counted: 0,
            }),
            bell: Bell::new(linked.wants_notice),
        })
    }

    /// Tells it from every other link of this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Ends it. Only the first reason counts.
    pub fn end(&self, ending: Ending) {
        self.bell.end(ending);
    }

    /// Its credential counts until then.
    pub(crate) fn lasts(&self, until: Option<i64>) {
        let until = until.unwrap_or(i64::MAX);
        self.ends_at.store(until, Ordering::Relaxed);
    }

    /// Whether its credential may have come to its end.
    pub(crate) fn is_due(&self, now: i64) -> bool {
        self.ends_at.load(Ordering::Relaxed) <= now
    }

    /// An orchestrator's credential came to its end: its stream is reset at both ends.
    pub(super) fn expire(&self, conn: Conn) {
        if let Conn::Harness(harness) = conn {
            self.with(|machine, now| machine.expire(harness, now));
        }
    }

    /// Why it ended, once it did.
    pub(super) fn ending_or(&self, ending: Ending) -> Ending {
        *self.bell.ending.get_or_init(|| ending)
    }

    /// Tells it and its orchestrators, those who want to know, that the node is about to go.
    pub fn notice(&self) {
        self.bell.notice();
        for bell in self.state().bells.values() {
            bell.notice();
        }
    }

    /// How many orchestrators it has.
    pub fn streams(&self) -> usize {
        self.state().machine.streams()
    }

    /// Time passed.
    pub fn on_time(&self) {
        self.with(|machine, now| machine.on_time(now));
    }

    pub(super) fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Takes an orchestrator in. `None` when there is no room.
    pub(super) fn join(self: &Arc<Self>, wants_notice: bool) -> Option<Place> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let harness = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let bell = Arc::new(Bell::new(wants_notice));
        let mut state = self.state();
        if !state.machine.join(harness) {
            return None;
        }
        state.bells.insert(harness, Arc::clone(&bell));
        drop(state);
        Some(Place {
            link: Arc::clone(self),
            conn: Conn::Harness(harness),
            bell,
            harness,
            gently: false,
        })
    }

    /// A websocket said something.
    pub(super) fn on_frame(&self, from: Conn, frame: &Frame, bytes: Bytes) -> Reading {
        self.with(|machine, now| machine.on_frame(from, frame, bytes, now))
    }

    /// What a websocket is to be written now.
    pub(super) fn next_for(&self, conn: Conn) -> Next {
        self.with(|machine, now| machine.next_for(conn, now))
    }

    /// Waits until a websocket may be read.
    pub(super) async fn readable(&self, conn: Conn, bell: &Bell) {
        while !self.state().machine.may_read(conn) {
            bell.may_read.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the machine do something, and passes on what follows.
    fn with<T>(&self, act: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let mut state = self.state();
        let State {
            machine,
            bells,
            counted,
        } = &mut *state;
        let done = act(machine, Instant::now());
        for action in machine.take_actions() {
            match action {
                Action::Write(Conn::Executor) => self.bell.may_write.notify_one(),
                Action::Read(Conn::Executor) => self.bell.may_read.notify_one(),
                Action::Write(Conn::Harness(harness)) => {
                    if let Some(bell) = bells.get(&harness) {
                        bell.may_write.notify_one();
                    }
                }
                Action::Read(Conn::Harness(harness)) => {
                    if let Some(bell) = bells.get(&harness) {
                        bell.may_read.notify_one();
                    }
                }
                Action::End(harness, ending) => {
                    if let Some(bell) = bells.get(&harness) {
                        bell.end(ending);
                    }
                }
                Action::Reset(by, why) => self.metrics.resets.count(by, why),
            }
        }
        let queued = machine.queued();
        self.limits.memory().changed(*counted, queued);
        *counted = queued;
        done
    }
}

impl Drop for ExecutorLink {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.limits.memory().changed(state.counted, 0);
    }
}

impl Place {
    /// Goes; `gently` is when the orchestrator did so by itself.
    pub(super) fn leave(mut self, gently: bool) {
        self.gently = gently;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.link.state().bells.remove(&self.harness);
        let (harness, gently) = (self.harness, self.gently);
        self.link
            .with(|machine, now| machine.leave(harness, gently, now));
    }
}
