//! Whether anything will still come, on a way that can lose something without a word.
//!
//! A relay that swallows one record stalls its stream for ever: no error, no reset, because whoever
//! waits for that record also keeps back all that follow (`rendezvous` section A7). The only way to
//! know is to ask. Somebody who waits long for an answer, or hears nothing while something runs, sends
//! a probe behind everything else; in a stream that is in order its answer means that nothing is
//! missing.
//!
//! ```text
//!   a request is 20 s old, or 20 s of silence while something is awaited ─▶ probe
//!      ▲                                                                     │
//!      └──────────── answered ◀──────────────────────────────────────────────┤
//!                                          nothing more for 10 s ─▶ stalled ◀┘
//! ```
//!
//! Knows no clock and no wire: both are told.

use std::time::Duration;

use tokio::time::Instant;

/// How old a request gets, and how long silence may last, before a probe is sent.
pub(crate) const SUSPICIOUS: Duration = Duration::from_secs(20);

/// How long the answer of a probe may take when nothing else arrives meanwhile.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// Between two looks. A request is between one and one and a quarter times [`SUSPICIOUS`] old when
/// it is noticed, and nobody keeps a list of all of them.
const LOOK: Duration = Duration::from_secs(5);
const LOOKS: usize = 4;

/// What a probe may have in front of itself on its way out is bounded by buffers; a way that
/// carries this much a second is slow and not stalled.
const SLOW_BYTES_A_SECOND: u64 = 64 << 10;
const BUFFERED_BYTES_MAX: u64 = 4 << 20;

/// What is known of one connection when it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What the wire counts of what arrived.
    pub(crate) arrived: u64,
    /// Bytes that were given to the wire.
    pub(crate) sent: u64,
    /// The number of the newest request.
    pub(crate) newest: u64,
    /// Something is to come without being asked for.
    pub(crate) awaited: bool,
    /// A probe still waits to be given to the wire.
    pub(crate) unsent: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look again then, or when something has arrived.
    At(Instant),
    /// Ask for a sign of life.
    Probe,
    /// Nothing will come any more.
    Stalled,
}

/// The watch over one connection.
#[derive(Debug)]
pub(crate) struct Stall {
    /// The newest request at the last looks, oldest first; requests are numbered from 1.
    marks: [u64; LOOKS],
    look: Instant,
    arrived: u64,
    /// Bytes that were sent when something arrived the last time.
    sent_before: u64,
    quiet_since: Instant,
    /// Until when the answer of a probe has time.
    probing: Option<Instant>,
}

impl Stall {
    pub(crate) fn new(now: Instant) -> Stall {
        Stall {
            marks: [0; LOOKS],
            look: now + LOOK,
            arrived: 0,
            sent_before: 0,
            quiet_since: now,
            probing: None,
        }
    }

    /// Looks. `oldest` finds the number of the oldest request without an answer, if there is one.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        seen: Seen,
        oldest: impl FnOnce() -> Option<u64>,
    ) -> Next {
        if seen.arrived != self.arrived {
            self.arrived = seen.arrived;
            self.sent_before = seen.sent;
            self.quiet_since = now;
            // What arrives is in front of the answer.
            if let Some(limit) = &mut self.probing {
                *limit = now + ANSWER;
            }
        }
        if let Some(limit) = self.probing {
            let limit = if seen.unsent {
                now + self.answer(seen.sent)
            } else {
                limit
            };
            self.probing = Some(limit);
            return if now >= limit {
                Next::Stalled
            } else {
                Next::At(limit)
            };
        }
        if now < self.look {
            return Next::At(self.look);
        }
        self.look = now + LOOK;
        let is_old = oldest().is_some_and(|oldest| oldest <= self.marks[0]);
        let is_quiet = seen.awaited && now.duration_since(self.quiet_since) >= SUSPICIOUS;
        if is_old || is_quiet {
            self.probing = Some(now + self.answer(seen.sent));
            return Next::Probe;
        }
        self.marks.rotate_left(1);
        self.marks[LOOKS - 1] = seen.newest;
        Next::At(self.look)
    }

    /// The probe was answered, or somebody of ours did not read: everything counts from now on.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.probing = None;
        self.marks = [0; LOOKS];
        self.look = now + LOOK;
        self.quiet_since = now;
    }

    /// How long an answer may take, behind what was sent since something arrived.
    fn answer(&self, sent: u64) -> Duration {
        let ahead = sent
            .saturating_sub(self.sent_before)
            .min(BUFFERED_BYTES_MAX);
        ANSWER + Duration::from_secs(ahead / SLOW_BYTES_A_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A connection of which nothing is known yet.
    const NOTHING: Seen = Seen {
        arrived: 0,
        sent: 0,
        newest: 0,
        awaited: false,
        unsent: false,
    };

    /// Looks every second from `second` on until there is something to do; how long that took.
    fn until(
        stall: &mut Stall,
        from: Instant,
        mut second: u64,
        what: impl Fn(u64) -> (Seen, Option<u64>),
    ) -> (Next, u64) {
        loop {
            let (seen, oldest) = what(second);
            let now = from + second as u32 * SECOND;
            match stall.look(now, seen, || oldest) {
                Next::At(at) if second < 10_000 => assert!(at > now, "it would turn for ever"),
                next => return (next, second),
            }
            second += 1;
        }
    }

    #[test]
    fn a_request_without_an_answer_leads_to_a_probe_and_a_probe_without_one_to_the_end() {
        let start = Instant::now();
        let mut stall = Stall::new(start);
        let waiting = |_| {
            (
                Seen {
                    newest: 1,
                    ..NOTHING
                },
                Some(1),
            )
        };
        let (next, probed) = until(&mut stall, start, 0, waiting);
        assert_eq!(next, Next::Probe);
        assert!((20..=25).contains(&probed), "{probed}");
        let (next, stalled) = until(&mut stall, start, probed, waiting);
        assert_eq!((next, stalled), (Next::Stalled, probed + 10));
    }

    #[test]
    fn later_answers_do_not_hide_a_request_that_got_none() {
        let start = Instant::now();
        let mut stall = Stall::new(start);
        let busy = |second| {
            let seen = Seen {
                newest: 1 + second,
                arrived: second,
                ..NOTHING
            };
            (seen, Some(1))
        };
        let (next, probed) = until(&mut stall, start, 0, busy);
        assert!(next == Next::Probe && probed <= 25, "{probed}");
        // The answer ends the suspicion, and it comes up again when the request gets no younger.
        stall.rest(start + probed as u32 * SECOND);
        let (next, again) = until(&mut stall, start, probed + 1, busy);
        assert!(next == Next::Probe && again >= probed + 20, "{again}");
    }

    #[test]
    fn whoever_is_answered_in_time_is_never_probed() {
        let start = Instant::now();
        let mut stall = Stall::new(start);
        // One request is always under way, and none is older than ten seconds.
        let quick = |second| {
            let seen = Seen {
                newest: second + 1,
                arrived: second,
                awaited: true,
                ..NOTHING
            };
            (seen, Some((second + 1).saturating_sub(10).max(1)))
        };
        let (_, second) = until(&mut stall, start, 0, quick);
        assert_eq!(second, 10_000);
    }

    #[test]
    fn silence_is_suspicious_only_while_something_is_to_come() {
        let start = Instant::now();
        let mut idle = Stall::new(start);
        assert_eq!(until(&mut idle, start, 0, |_| (NOTHING, None)).1, 10_000);
        let mut running = Stall::new(start);
        let seen = Seen {
            awaited: true,
            ..NOTHING
        };
        let (next, probed) = until(&mut running, start, 0, |_| (seen, None));
        assert!(
            next == Next::Probe && (20..=25).contains(&probed),
            "{probed}"
        );
    }

    #[test]
    fn a_way_that_is_slow_is_not_stalled() {
        let start = Instant::now();
        let mut stall = Stall::new(start);
        // A large message goes out, then nothing is heard of it; the probe is behind it.
        let upload = |second: u64| {
            let seen = Seen {
                newest: 1,
                sent: (64 << 20) * u64::from(second > 0),
                unsent: second < 300,
                ..NOTHING
            };
            (seen, Some(1))
        };
        let (next, probed) = until(&mut stall, start, 0, upload);
        assert_eq!(next, Next::Probe);
        let (next, stalled) = until(&mut stall, start, probed, upload);
        assert_eq!((next, stalled), (Next::Stalled, 299 + 10 + 64));

        // Large messages that arrive are in front of the answer.
        let mut stall = Stall::new(start);
        let download = |second: u64| {
            let seen = Seen {
                newest: 1,
                arrived: second.min(500),
                ..NOTHING
            };
            (seen, Some(1))
        };
        let (_, probed) = until(&mut stall, start, 0, download);
        let (next, stalled) = until(&mut stall, start, probed, download);
        assert_eq!((next, stalled), (Next::Stalled, 510));
    }
}
