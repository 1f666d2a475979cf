//! Who has which stream of one executor. Holds no socket and reads no clock.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use farstep_protocol::relay::{Frame, Kind};

/// Streams of one executor: a few below the 128 that the peer takes.
pub const STREAMS_MAX: usize = 120;

/// Handshakes of one executor that may fail within [`FAILURE_WINDOW`] before more are held back.
const FAILURES_MAX: usize = 4;

/// Failures after which the peer locks everybody out. Those under way may all fail, so they and
/// the failures together stay below.
const LOCKED_OUT_AT: usize = 8;

const FAILURE_WINDOW: Duration = Duration::from_secs(10);

/// A handshake that was not answered for so long has failed: the peer gives a validation 10 s.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// An orchestrator's websocket, by number.
pub(super) type HarnessId = u64;

/// What to do with a frame of an orchestrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FromHarness {
    /// Pass it on.
    Forward,
    /// It means nothing to the executor.
    Ignore,
    /// A handshake. Pass it on when [`Streams::may_shake`] says so.
    Handshake,
    /// The orchestrator broke the rules, and its websocket ends.
    Refuse,
}

/// What to do with a frame of the executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FromExecutor {
    /// Pass it on.
    Forward(HarnessId),
    /// Pass it on; the stream ends with it.
    Last(HarnessId),
    /// It means nothing to anybody.
    Ignore,
    /// Nobody has the stream any more, and the executor does not know.
    Reset,
}

/// The streams of one executor.
#[derive(Debug)]
pub(super) struct Streams {
    max: usize,
    claims: HashMap<String, HarnessId>,
    harnesses: HashMap<HarnessId, Harness>,
    /// Handshakes that the executor has not answered yet, and when they went there. They stay when
    /// their orchestrator goes: the executor judges them all the same.
    unanswered: HashMap<String, Instant>,
    failures: Vec<Instant>,
}

#[derive(Debug, Default)]
struct Harness {
    stream: Option<String>,
    shook_hands: bool,
}

impl Streams {
    /// For an executor that takes `max` of them.
    pub(super) fn new(max: usize) -> Streams {
        Streams {
            max,
            claims: HashMap::new(),
            harnesses: HashMap::new(),
            unanswered: HashMap::new(),
            failures: Vec::new(),
        }
    }

    /// Takes an orchestrator in. False when there is no room.
    pub(super) fn join(&mut self, harness: HarnessId) -> bool {
        if self.harnesses.len() >= self.max {
            return false;
        }
        self.harnesses.insert(harness, Harness::default());
        true
    }

    /// Lets an orchestrator go. Returns the stream that the executor has to be told about.
    pub(super) fn leave(&mut self, harness: HarnessId) -> Option<String> {
        let stream = self.harnesses.remove(&harness)?.stream?;
        // Otherwise the executor ended it, and somebody else may have the id by now.
        let is_ours = self.claims.get(&stream) == Some(&harness);
        is_ours.then(|| {
            self.claims.remove(&stream);
            stream
        })
    }

    /// How many orchestrators there are.
    pub(super) fn count(&self) -> usize {
        self.harnesses.len()
    }

    /// An orchestrator's first frame binds its websocket to a stream; nobody else gets a word in.
    pub(super) fn harness_said(&mut self, harness: HarnessId, frame: &Frame) -> FromHarness {
        let Some(known) = self.harnesses.get_mut(&harness) else {
            return FromHarness::Refuse;
        };
        match &known.stream {
            Some(stream) if *stream != frame.stream => return FromHarness::Refuse,
            Some(stream) if self.claims.get(stream) != Some(&harness) => {
                // The executor ended it, and what was under way means nothing.
                return FromHarness::Ignore;
            }
            Some(_) => {}
            None => match self.claims.entry(frame.stream.clone()) {
                Entry::Occupied(_) => return FromHarness::Refuse,
                Entry::Vacant(claim) => {
                    claim.insert(harness);
                    known.stream = Some(frame.stream.clone());
                }
            },
        }
        match frame.kind {
            Kind::Handshake(_) if known.shook_hands => FromHarness::Refuse,
            Kind::Handshake(_) => {
                known.shook_hands = true;
                FromHarness::Handshake
            }
            Kind::Data { .. } | Kind::Reset { .. } => FromHarness::Forward,
            // A resume is for the relay: the claim above was all it says.
            Kind::Resume { .. } | Kind::Ack | Kind::Heartbeat => FromHarness::Ignore,
        }
    }

    /// Whether a handshake may go to the executor now, which it does if so.
    pub(super) fn may_shake(&mut self, stream: &str, now: Instant) -> bool {
        let late: Vec<String> = self
            .unanswered
            .iter()
            .filter(|(_, since)| now >= **since + ANSWER_MAX)
            .map(|(stream, _)| stream.clone())
            .collect();
        for stream in late {
            self.unanswered.remove(&stream);
            self.failed(now);
        }
        self.failures.retain(|at| now < *at + FAILURE_WINDOW);
        let failures = self.failures.len();
        let may = failures < FAILURES_MAX && failures + self.unanswered.len() + 1 < LOCKED_OUT_AT;
        if may {
            self.unanswered.insert(stream.to_owned(), now);
        }
        may
    }

    /// What the executor says on a stream goes to whoever has it.
    pub(super) fn executor_said(&mut self, frame: &Frame, now: Instant) -> FromExecutor {
        let claimed = self.claims.get(&frame.stream).copied();
        if matches!(frame.kind, Kind::Handshake(_) | Kind::Reset { .. })
            && self.unanswered.remove(&frame.stream).is_some()
            && matches!(frame.kind, Kind::Reset { .. })
        {
            self.failed(now);
        }
        match (&frame.kind, claimed) {
            (Kind::Reset { .. }, Some(harness)) => {
                self.claims.remove(&frame.stream);
                FromExecutor::Last(harness)
            }
            (Kind::Data { .. } | Kind::Handshake(_), Some(harness)) => {
                FromExecutor::Forward(harness)
            }
            (Kind::Data { .. } | Kind::Handshake(_), None) => FromExecutor::Reset,
            _ => FromExecutor::Ignore,
        }
    }

    /// The stream of an orchestrator, as long as the executor has not ended it.
    pub(super) fn of(&self, harness: HarnessId) -> Option<&str> {
        let stream = self.harnesses.get(&harness)?.stream.as_deref()?;
        (self.claims.get(stream) == Some(&harness)).then_some(stream)
    }

    /// Takes a stream from an orchestrator. Both ends have to be told.
    pub(super) fn give_up(&mut self, stream: &str) {
        self.claims.remove(stream);
    }

    fn failed(&mut self, now: Instant) {
        self.failures.retain(|at| now < *at + FAILURE_WINDOW);
        // More than these change nothing.
        if self.failures.len() < LOCKED_OUT_AT {
            self.failures.push(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn frame(stream: &str, kind: Kind) -> Frame {
        Frame {
            stream: stream.to_owned(),
            kind,
        }
    }

    fn data(stream: &str) -> Frame {
        let payload = Bytes::from_static(b"x");
        frame(stream, Kind::Data { seq: 0, payload })
    }

    fn handshake(stream: &str) -> Frame {
        frame(stream, Kind::Handshake(Bytes::from_static(b"x")))
    }

    fn with(harnesses: &[HarnessId]) -> Streams {
        let mut streams = Streams::new(STREAMS_MAX);
        for harness in harnesses {
            assert!(streams.join(*harness));
        }
        streams
    }

    #[test]
    fn a_stream_belongs_to_whoever_spoke_on_it_first() {
        let mut streams = with(&[1, 2]);
        let now = Instant::now();
        let resume = frame("a", Kind::Resume { next_seq: 0 });
        assert_eq!(streams.harness_said(1, &resume), FromHarness::Ignore);
        for foreign in [data("a"), handshake("a"), Frame::reset("a", "no")] {
            assert_eq!(streams.harness_said(2, &foreign), FromHarness::Refuse);
        }
        assert_eq!(
            streams.harness_said(1, &handshake("a")),
            FromHarness::Handshake
        );
        // One websocket, one stream, one handshake.
        assert_eq!(
            streams.harness_said(1, &handshake("a")),
            FromHarness::Refuse
        );
        assert_eq!(streams.harness_said(1, &data("b")), FromHarness::Refuse);
        assert_eq!(
            streams.executor_said(&data("a"), now),
            FromExecutor::Forward(1)
        );
        assert_eq!(streams.harness_said(3, &data("c")), FromHarness::Refuse);
    }

    #[test]
    fn the_executor_is_told_when_nobody_has_a_stream_any_more() {
        let mut streams = with(&[1]);
        let now = Instant::now();
        streams.harness_said(1, &handshake("a"));
        assert_eq!(streams.leave(1), Some("a".to_owned()));
        assert_eq!(streams.executor_said(&data("a"), now), FromExecutor::Reset);
        assert_eq!(
            streams.executor_said(&Frame::reset("a", "no"), now),
            FromExecutor::Ignore
        );
        assert_eq!(
            streams.executor_said(&frame("a", Kind::Heartbeat), now),
            FromExecutor::Ignore
        );
        assert_eq!(streams.leave(1), None);
    }

    #[test]
    fn a_reset_of_the_executor_is_the_last_that_is_heard_of_a_stream() {
        let mut streams = with(&[1]);
        let now = Instant::now();
        streams.harness_said(1, &handshake("a"));
        assert_eq!(
            streams.executor_said(&Frame::reset("a", "no"), now),
            FromExecutor::Last(1)
        );
        assert_eq!(streams.harness_said(1, &data("a")), FromHarness::Ignore);
        // The id is free again, and whoever had it takes nothing with it.
        assert!(streams.join(2));
        assert_eq!(
            streams.harness_said(2, &handshake("a")),
            FromHarness::Handshake
        );
        assert_eq!(streams.harness_said(1, &data("a")), FromHarness::Ignore);
        assert_eq!(streams.leave(1), None);
        assert_eq!(streams.of(2), Some("a"));
    }

    #[test]
    fn failures_and_what_is_under_way_stay_below_where_the_peer_locks_everybody_out() {
        let begin = Instant::now();
        let mut streams = with(&[]);
        let reset = |stream: &str| Frame::reset(stream, "no");
        // As many as may fail together, however many come at once.
        let went: Vec<String> = (0..20)
            .map(|number| format!("s{number}"))
            .filter(|stream| streams.may_shake(stream, begin))
            .collect();
        assert_eq!(went.len(), LOCKED_OUT_AT - 1);
        // A good answer makes room.
        let hello = handshake(&went[0]);
        streams.executor_said(&hello, begin);
        assert!(streams.may_shake("t1", begin));
        assert!(!streams.may_shake("t2", begin));
        // Failures do so only up to a number of them, then their time has to pass.
        for stream in &went[1..5] {
            streams.executor_said(&reset(stream), begin);
        }
        assert!(!streams.may_shake("t2", begin + FAILURE_WINDOW / 2));
        for stream in ["t1", &went[5], &went[6]] {
            streams.executor_said(&handshake(stream), begin);
        }
        assert!(!streams.may_shake("t2", begin + FAILURE_WINDOW / 2));
        assert!(streams.may_shake("t2", begin + FAILURE_WINDOW));
        // One that is never answered has failed, and keeps no place.
        let later = begin + FAILURE_WINDOW + ANSWER_MAX;
        assert!(streams.may_shake("t3", later));
        assert_eq!((streams.failures.len(), streams.unanswered.len()), (1, 1));
    }

    #[test]
    fn an_executor_is_not_filled_beyond_what_it_takes() {
        let mut streams = with(&(0..STREAMS_MAX as HarnessId).collect::<Vec<_>>());
        assert!(!streams.join(9999));
        streams.leave(0);
        assert!(streams.join(9999));
    }
}
