//! What one executor's relay does with frames, without a socket and without a clock.
//!
//! ```text
//!   on_frame(executor) ─▶ queue of a stream ─▶ next_for(orchestrator)
//!   on_frame(orchestrator) ─▶ queue of its stream ─▶ turns ─▶ next_for(executor)
//! ```
//!
//! Call whatever happened (`join`, `on_frame`, `leave`, `on_time`), then do what
//! [`Machine::take_actions`] says; when a websocket takes more, ask [`Machine::next_for`]. An end
//! whose frame made [`Reading::Stop`] is not read from until [`Action::Read`] names it.
//!
//! No frame is dropped out of the middle: a stream either goes on or is reset at both ends.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use farstep_protocol::relay::{CREDENTIAL_EXPIRED, Frame, Kind};

use super::Ending;
use super::queue::{Queue, QueueLimits, Queued};
use super::streams::{FromExecutor, FromHarness, HarnessId, Streams};
use super::turns::Turns;

/// Ended streams that an executor was not told about yet. With more nobody else gets in, and
/// streams that an executor makes up are not answered.
const RESETS_MAX: usize = 256;

/// A websocket at this relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Conn {
    Executor,
    Harness(HarnessId),
}

/// Whether the websocket that said something is read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Go,
    /// Until [`Action::Read`].
    Stop,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// There is something to write.
    Write(Conn),
    /// It is read again.
    Read(Conn),
    /// An orchestrator's websocket ends now, whatever it was in the middle of.
    End(HarnessId, Ending),
    /// A stream was reset.
    Reset(By, Why),
}

/// Who reset a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum By {
    Executor,
    Harness,
    Relay,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// A peer said so.
    Said,
    /// Its orchestrator's websocket ended.
    Left,
    /// Nothing of it was taken for too long.
    Stalled,
    /// Its orchestrator's credential came to its end.
    Expired,
    /// Nobody has it.
    Unknown,
}

/// Why a stream is reset at both ends, as each side hears it.
#[derive(Clone, Copy)]
struct GivenUp {
    ending: Ending,
    reason: &'static str,
    why: Why,
}

impl GivenUp {
    const STALLED: GivenUp = GivenUp {
        ending: Ending::STALLED,
        reason: "nothing of it was taken for too long",
        why: Why::Stalled,
    };
    const EXPIRED: GivenUp = GivenUp {
        ending: Ending::EXPIRED,
        reason: CREDENTIAL_EXPIRED,
        why: Why::Expired,
    };
}

/// What to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Frame(Queued),
    /// For now nothing.
    Nothing,
    /// Nothing ever again.
    End(Ending),
}

/// The relay of one executor.
#[derive(Debug)]
pub(super) struct Machine {
    limits: QueueLimits,
    streams: Streams,
    ends: HashMap<HarnessId, Ends>,
    turns: Turns<HarnessId>,
    /// Resets for the executor, which overtake everything: what comes behind them on their stream
    /// means nothing to it.
    resets: VecDeque<Queued>,
    /// The streams they are for.
    resetting: HashSet<String>,
    /// Handshakes that are held back, oldest first.
    held: VecDeque<HarnessId>,
    /// The executor is not read from until this one's queue has room.
    full: Option<HarnessId>,
    queued: usize,
    actions: Vec<Action>,
}

/// Both directions of one orchestrator.
#[derive(Debug, Default)]
struct Ends {
    to_executor: Queue,
    to_harness: Queue,
    /// Its handshake, until the executor can take one.
    held: Option<Queued>,
    /// It is not read from.
    is_stopped: bool,
    /// The executor knows of its stream.
    is_known: bool,
    /// It goes when what is queued for it was written.
    ending: Option<Ending>,
    /// It is gone, and the executor gets what it still said.
    left: Option<String>,
}

impl Machine {
    pub(super) fn new(limits: QueueLimits, streams_max: usize) -> Machine {
        Machine {
            limits,
            streams: Streams::new(streams_max),
            ends: HashMap::new(),
            turns: Turns::default(),
            resets: VecDeque::new(),
            resetting: HashSet::new(),
            held: VecDeque::new(),
            full: None,
            queued: 0,
            actions: Vec::new(),
        }
    }

    /// Takes an orchestrator in. False when there is no room.
    pub(super) fn join(&mut self, harness: HarnessId) -> bool {
        if self.resets.len() >= RESETS_MAX || !self.streams.join(harness) {
            return false;
        }
        self.ends.insert(harness, Ends::default());
        true
    }

    /// An orchestrator's websocket is gone. `gently` is when it went by itself: then the executor
    /// gets what it still said.
    pub(super) fn leave(&mut self, harness: HarnessId, gently: bool, now: Instant) {
        let stream = self.streams.leave(harness);
        let Some(ends) = self.ends.get_mut(&harness) else {
            return;
        };
        self.queued -= ends.to_harness.clear();
        self.queued -= ends.held.take().map_or(0, |held| held.bytes.len());
        self.held.retain(|held| *held != harness);
        let stream = stream.filter(|_| ends.is_known);
        if let Some(stream) = &stream {
            self.actions.push(Action::Reset(By::Relay, Why::Left));
            tracing::debug!(stream, gently, "its orchestrator left");
        }
        if gently && !ends.to_executor.is_empty() && stream.is_some() {
            ends.left = stream;
        } else {
            self.queued -= ends.to_executor.clear();
            self.ends.remove(&harness);
            if let Some(stream) = stream {
                self.tell_executor(stream, now);
            }
        }
        self.unblock(harness);
    }

    /// How many orchestrators there are.
    pub(super) fn streams(&self) -> usize {
        self.streams.count()
    }

    /// How much waits, in bytes.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// What follows from what happened.
    pub(super) fn take_actions(&mut self) -> std::vec::Drain<'_, Action> {
        self.actions.drain(..)
    }

    /// Whether a websocket may be read.
    pub(super) fn may_read(&self, conn: Conn) -> bool {
        match conn {
            Conn::Executor => self.full.is_none(),
            Conn::Harness(harness) => self.ends.get(&harness).is_none_or(|ends| !ends.is_stopped),
        }
    }

    /// A websocket said something: `frame` is what `bytes` are.
    pub(super) fn on_frame(
        &mut self,
        from: Conn,
        frame: &Frame,
        bytes: Bytes,
        now: Instant,
    ) -> Reading {
        match from {
            Conn::Executor => self.executor_said(frame, bytes, now),
            Conn::Harness(harness) => self.harness_said(harness, frame, bytes, now),
        }
    }

    fn executor_said(&mut self, frame: &Frame, bytes: Bytes, now: Instant) -> Reading {
        let said = self.streams.executor_said(frame, now);
        if matches!(frame.kind, Kind::Handshake(_) | Kind::Reset { .. }) {
            self.release(now);
        }
        let (harness, is_last) = match said {
            FromExecutor::Forward(harness) => (harness, false),
            FromExecutor::Last(harness) => (harness, true),
            FromExecutor::Ignore => return Reading::Go,
            FromExecutor::Reset => {
                // One that is about to be told need not be told again.
                let is_leaving = |ends: &Ends| ends.left.as_ref() == Some(&frame.stream);
                if self.resets.len() < RESETS_MAX && !self.ends.values().any(is_leaving) {
                    self.actions.push(Action::Reset(By::Relay, Why::Unknown));
                    self.tell_executor(frame.stream.clone(), now);
                }
                return Reading::Go;
            }
        };
        let Some(ends) = self.ends.get_mut(&harness) else {
            return Reading::Go;
        };
        let was_full = ends.to_harness.is_full(&self.limits);
        self.queued += bytes.len();
        ends.to_harness.push(bytes, now, &self.limits);
        self.actions.push(Action::Write(Conn::Harness(harness)));
        if is_last {
            ends.ending = Some(Ending::GONE);
            self.queued -= ends.to_executor.clear();
            self.actions.push(Action::Reset(By::Executor, Why::Said));
            return Reading::Go;
        }
        // As long as the frames are for others they are read.
        if was_full {
            self.full = Some(harness);
            return Reading::Stop;
        }
        Reading::Go
    }

    fn harness_said(
        &mut self,
        harness: HarnessId,
        frame: &Frame,
        bytes: Bytes,
        now: Instant,
    ) -> Reading {
        let is_new = self.streams.of(harness).is_none();
        let said = match is_new && self.is_ending(&frame.stream) {
            // The executor would take the reset of the former for one of this.
            true => FromHarness::Refuse,
            false => self.streams.harness_said(harness, frame),
        };
        match said {
            FromHarness::Forward => {
                if matches!(frame.kind, Kind::Reset { .. }) {
                    self.actions.push(Action::Reset(By::Harness, Why::Said));
                }
                self.pass_up(harness, Queued { bytes, since: now }, now)
            }
            FromHarness::Ignore => Reading::Go,
            FromHarness::Handshake if self.held.is_empty() && self.may_shake(harness, now) => {
                self.pass_up(harness, Queued { bytes, since: now }, now)
            }
            FromHarness::Handshake => {
                if let Some(ends) = self.ends.get_mut(&harness) {
                    self.queued += bytes.len();
                    ends.held = Some(Queued { bytes, since: now });
                    ends.is_stopped = true;
                    self.held.push_back(harness);
                }
                Reading::Stop
            }
            FromHarness::Refuse => {
                self.actions.push(Action::End(harness, Ending::RULES));
                Reading::Stop
            }
        }
    }

    fn may_shake(&mut self, harness: HarnessId, now: Instant) -> bool {
        match self.streams.of(harness).map(str::to_owned) {
            Some(stream) => self.streams.may_shake(&stream, now),
            // Its executor ended the stream meanwhile: it goes nowhere.
            None => true,
        }
    }

    /// Whether the executor is yet to be told that a former stream of that id ended.
    fn is_ending(&self, stream: &str) -> bool {
        self.resetting.contains(stream)
            || self
                .ends
                .values()
                .any(|ends| ends.left.as_deref() == Some(stream))
    }

    fn pass_up(&mut self, harness: HarnessId, queued: Queued, now: Instant) -> Reading {
        let Some(ends) = self.ends.get_mut(&harness) else {
            return Reading::Stop;
        };
        let size = queued.bytes.len();
        self.queued += size;
        ends.is_known = true;
        ends.to_executor.push(queued.bytes, now, &self.limits);
        ends.is_stopped = ends.to_executor.is_full(&self.limits);
        let reading = match ends.is_stopped {
            true => Reading::Stop,
            false => Reading::Go,
        };
        self.turns.arrive(harness, size);
        self.actions.push(Action::Write(Conn::Executor));
        reading
    }

    /// Lets handshakes go that were held back.
    fn release(&mut self, now: Instant) {
        while let Some(harness) = self.held.front().copied() {
            if !self.may_shake(harness, now) {
                return;
            }
            self.held.pop_front();
            let ends = self.ends.get_mut(&harness);
            let Some(held) = ends.and_then(|ends| ends.held.take()) else {
                continue;
            };
            self.queued -= held.bytes.len();
            if self.streams.of(harness).is_none() {
                continue;
            }
            if self.pass_up(harness, held, now) == Reading::Go {
                self.actions.push(Action::Read(Conn::Harness(harness)));
            }
        }
    }

    /// Time passed: what has stalled is reset, what was held is let go.
    pub(super) fn on_time(&mut self, now: Instant) {
        self.release(now);
        let limits = self.limits;
        let is_stalled = |ends: &Ends| {
            ends.to_harness.is_stalled(now, &limits) || ends.to_executor.is_stalled(now, &limits)
        };
        let stalled: Vec<HarnessId> = self
            .ends
            .iter()
            .filter(|(_, ends)| is_stalled(ends))
            .map(|(harness, _)| *harness)
            .collect();
        for harness in stalled {
            self.give_up(harness, GivenUp::STALLED, now);
        }
    }

    /// The credential that an orchestrator's stream was opened with came to its end.
    pub(super) fn expire(&mut self, harness: HarnessId, now: Instant) {
        self.give_up(harness, GivenUp::EXPIRED, now);
    }

    /// Resets a stream at both ends.
    fn give_up(&mut self, harness: HarnessId, because: GivenUp, now: Instant) {
        let GivenUp {
            ending,
            reason,
            why,
        } = because;
        let Some(ends) = self.ends.get_mut(&harness) else {
            return;
        };
        self.queued -= ends.to_harness.clear() + ends.to_executor.clear();
        ends.ending = Some(ending);
        let left = ends.left.take();
        let is_gone = left.is_some();
        let stream = left.or_else(|| self.streams.of(harness).map(str::to_owned));
        if let Some(stream) = stream {
            tracing::warn!(stream, reason, "a stream is reset");
            self.actions.push(Action::Reset(By::Relay, why));
            self.streams.give_up(&stream);
            if is_gone {
                self.ends.remove(&harness);
            } else if let Some(ends) = self.ends.get_mut(&harness) {
                let reset = Frame::reset(&stream, reason).encode();
                self.queued += reset.len();
                ends.to_harness.push(reset, now, &self.limits);
            }
            self.tell_executor(stream, now);
        }
        if !is_gone {
            self.actions.push(Action::End(harness, ending));
        }
        self.unblock(harness);
    }

    /// What a websocket is to be written now.
    pub(super) fn next_for(&mut self, conn: Conn, now: Instant) -> Next {
        match conn {
            Conn::Executor => match self.next_for_executor(now) {
                Some(queued) => Next::Frame(queued),
                None => Next::Nothing,
            },
            Conn::Harness(harness) => self.next_for_harness(harness, now),
        }
    }

    fn next_for_executor(&mut self, now: Instant) -> Option<Queued> {
        if let Some(reset) = self.resets.pop_front() {
            if let Ok(frame) = Frame::decode(reset.bytes.clone()) {
                self.resetting.remove(&frame.stream);
            }
            self.queued -= reset.bytes.len();
            return Some(reset);
        }
        let ends = &self.ends;
        let head = |harness| {
            ends.get(&harness)
                .and_then(|ends: &Ends| ends.to_executor.head())
        };
        let harness = self.turns.next(head)?;
        let ends = self.ends.get_mut(&harness)?;
        let queued = ends.to_executor.pop(now, &self.limits)?;
        self.queued -= queued.bytes.len();
        if ends.is_stopped && ends.held.is_none() && !ends.to_executor.is_full(&self.limits) {
            ends.is_stopped = false;
            self.actions.push(Action::Read(Conn::Harness(harness)));
        }
        if ends.to_executor.is_empty()
            && let Some(stream) = ends.left.take()
        {
            // The last it said is on its way, and now the session is detached.
            self.ends.remove(&harness);
            self.tell_executor(stream, now);
        }
        Some(queued)
    }

    fn next_for_harness(&mut self, harness: HarnessId, now: Instant) -> Next {
        let Some(ends) = self.ends.get_mut(&harness) else {
            return Next::End(Ending::GONE);
        };
        let Some(queued) = ends.to_harness.pop(now, &self.limits) else {
            return ends.ending.map_or(Next::Nothing, Next::End);
        };
        self.queued -= queued.bytes.len();
        let has_room = !ends.to_harness.is_full(&self.limits);
        if has_room {
            self.unblock(harness);
        }
        Next::Frame(queued)
    }

    /// The executor is read again, if it waited for this one.
    fn unblock(&mut self, harness: HarnessId) {
        if self.full == Some(harness) {
            self.full = None;
            self.actions.push(Action::Read(Conn::Executor));
        }
    }

    /// Has the executor told that a stream is over.
    fn tell_executor(&mut self, stream: String, now: Instant) {
        if !self.resetting.insert(stream.clone()) {
            return;
        }
        let bytes = Frame::reset(stream, "stream closed").encode();
        self.queued += bytes.len();
        self.resets.push_back(Queued { bytes, since: now });
        self.actions.push(Action::Write(Conn::Executor));
    }
}

#[cfg(test)]
mod tests;
