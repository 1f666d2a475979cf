//! Whether it is worth staying awake for the next question of a caller.
//!
//! A caller that asks, takes the answer and asks again at once does so for a while: somebody copies
//! a tree file by file. Whoever sleeps in between is woken for every question, and being woken takes
//! longer than answering. So once a caller has asked often enough in that rhythm, its connection
//! stays awake behind an answer for the moment in which the next question has to come:
//!
//! ```text
//!   asleep ── so many questions, each right behind an answer ──▶ awake
//!      ▲                                                           │
//!      └── a question was late, or something else was said ────────┘
//! ```
//!
//! Staying awake in vain asks for twice as many such questions the next time, up to a bound, and a
//! question that found us awake for half as many: a caller that is late ever so often costs nothing
//! worth counting. Knows no socket and reads no clock.

use std::time::{Duration, Instant};

/// So many questions in rhythm are enough at first.
const ENOUGH: u32 = 8;

/// So many always are.
const ENOUGH_MAX: u32 = 1024;

/// While we sleep a question seems to come later than it does, by what it takes to be woken: so many
/// times the moment for which we would stay awake are still in rhythm.
const WOKEN_WITHIN: u32 = 2;

/// The rhythm of one caller.
#[derive(Debug)]
pub(super) struct Rhythm {
    /// For how long to stay awake; zero never does.
    moment: Duration,
    /// When the last question was answered, and none has come since.
    answered: Option<Instant>,
    in_rhythm: u32,
    enough: u32,
}

impl Rhythm {
    pub(super) fn new(moment: Duration) -> Rhythm {
        Rhythm {
            moment,
            answered: None,
            in_rhythm: 0,
            enough: ENOUGH,
        }
    }

    /// A question came. Asks for the time only when it matters.
    pub(super) fn asked(&mut self, now: impl FnOnce() -> Instant) {
        let in_time = self.moment * WOKEN_WITHIN;
        match self.answered.take() {
            Some(answered) if now().saturating_duration_since(answered) <= in_time => {
                if self.in_rhythm >= self.enough {
                    self.enough = (self.enough / 2).max(ENOUGH);
                }
                self.in_rhythm = self.in_rhythm.saturating_add(1);
            }
            // Late, or one of several at once: those find us awake anyhow.
            _ => self.in_rhythm = 0,
        }
    }

    /// All that was asked is answered.
    pub(super) fn answered(&mut self, now: impl FnOnce() -> Instant) {
        if self.moment.is_zero() {
            return;
        }
        match self.answered {
            None => self.answered = Some(now()),
            Some(_) => self.broken(),
        }
    }

    /// Something was said that nobody had asked for.
    pub(super) fn broken(&mut self) {
        self.answered = None;
        self.in_rhythm = 0;
    }

    /// For how long to stay awake from now on.
    pub(super) fn awake_for(&self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        let answered = self.answered?;
        if self.in_rhythm < self.enough {
            return None;
        }
        let left = self
            .moment
            .checked_sub(now().saturating_duration_since(answered))?;
        (!left.is_zero()).then_some(left)
    }

    /// It was in vain.
    pub(super) fn missed(&mut self) {
        self.broken();
        self.enough = (self.enough * 2).min(ENOUGH_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_micros(50);
    const QUICK: Duration = Duration::from_micros(90);
    const LATE: Duration = Duration::from_micros(110);

    /// A caller, and the clock on the wall.
    struct Caller {
        rhythm: Rhythm,
        now: Instant,
    }

    impl Caller {
        fn new() -> Caller {
            let (mut rhythm, now) = (Rhythm::new(MOMENT), Instant::now());
            rhythm.asked(|| now);
            rhythm.answered(|| now);
            Caller { rhythm, now }
        }

        /// Asks so long after an answer, is answered, and says whether we stay awake then.
        fn asks_after(&mut self, pause: Duration) -> bool {
            self.now += pause;
            self.rhythm.asked(|| self.now);
            self.rhythm.answered(|| self.now);
            self.awake_for().is_some()
        }

        fn awake_for(&self) -> Option<Duration> {
            self.rhythm.awake_for(|| self.now)
        }

        /// How many questions it takes until we stay awake.
        fn questions(&mut self) -> u32 {
            let mut count = 1;
            while !self.asks_after(QUICK) {
                count += 1;
            }
            count
        }
    }

    #[test]
    fn a_caller_in_rhythm_is_awaited_until_it_is_late() {
        let mut caller = Caller::new();
        assert_eq!(caller.questions(), ENOUGH);
        assert!(caller.asks_after(QUICK) && !caller.asks_after(LATE));
        assert_eq!(caller.questions(), ENOUGH);
    }

    #[test]
    fn nobody_stays_awake_longer_than_a_moment_behind_the_answer() {
        let mut caller = Caller::new();
        caller.questions();
        assert_eq!(caller.awake_for(), Some(MOMENT));
        caller.now += MOMENT - Duration::from_nanos(1);
        assert_eq!(caller.awake_for(), Some(Duration::from_nanos(1)));
        caller.now += Duration::from_nanos(1);
        assert_eq!(caller.awake_for(), None);
    }

    #[test]
    fn staying_awake_in_vain_gets_rarer_until_it_is_of_use_again() {
        let mut caller = Caller::new();
        for doublings in 0..20 {
            assert_eq!(caller.questions(), (ENOUGH << doublings).min(ENOUGH_MAX));
            caller.rhythm.missed();
            assert_eq!(caller.awake_for(), None);
            caller.rhythm.answered(|| caller.now);
        }
        caller.questions();
        for _ in 0..(ENOUGH_MAX / ENOUGH).ilog2() {
            assert!(caller.asks_after(QUICK));
        }
        caller.asks_after(LATE);
        assert_eq!(caller.questions(), ENOUGH);
    }

    #[test]
    fn output_between_two_questions_is_no_rhythm() {
        let mut caller = Caller::new();
        for _ in 0..3 * ENOUGH {
            assert!(!caller.asks_after(QUICK));
            caller.rhythm.broken();
            caller.rhythm.answered(|| caller.now);
        }
    }

    #[test]
    fn several_questions_at_once_are_no_rhythm() {
        let mut caller = Caller::new();
        for _ in 0..3 * ENOUGH {
            caller.rhythm.asked(|| caller.now);
            assert!(!caller.asks_after(QUICK));
        }
    }

    #[test]
    fn who_never_stays_awake_does_not_ask_for_the_time() {
        let mut rhythm = Rhythm::new(Duration::ZERO);
        for _ in 0..3 * ENOUGH {
            rhythm.asked(|| unreachable!("the time is of no use"));
            rhythm.answered(|| unreachable!("the time is of no use"));
        }
        assert_eq!(rhythm.awake_for(Instant::now), None);
    }
}
