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
//! worth counting, and one that is hardly ever late is soon awaited again.
//!
//! A task that stays awake keeps its worker from everybody else. So it does that once in a turn, and
//! more often, up to a bound, only when its caller has been the only one with anything to do for some
//! milliseconds: another connection's turn or output for the caller itself, and it is once again.
//! Knows no socket and reads no clock.

use std::time::{Duration, Instant};

/// So many questions in rhythm are enough at first.
const ENOUGH: u32 = 8;

/// So many always are.
const ENOUGH_MAX: u32 = 1024;

/// So many turns in which nobody else had one, and in which staying awake once was too little, make
/// us the only one who has anything to do. Two questions each: some milliseconds.
const ALONE: u32 = 64;

/// We stay awake so often in one turn at most. Each time takes up to the moment, and whatever else
/// this worker has to do waits for all of them.
const TIMES_MAX: u32 = 16;

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
    /// Turns in which we did not stay awake often enough, since anything else happened.
    alone: u32,
    /// How often we may still stay awake in this turn.
    times_left: u32,
    /// The number of our next turn if nobody has one before.
    next_turn: u64,
}

impl Rhythm {
    pub(super) fn new(moment: Duration) -> Rhythm {
        Rhythm {
            moment,
            answered: None,
            in_rhythm: 0,
            enough: ENOUGH,
            alone: 0,
            times_left: 0,
            next_turn: 0,
        }
    }

    /// A turn of the task begins, with its number among those of all connections.
    pub(super) fn turn(&mut self, number: u64) {
        if number != self.next_turn {
            self.alone = 0;
        }
        self.times_left = (self.alone.saturating_sub(ALONE) + 1).min(TIMES_MAX);
        self.next_turn = number + 1;
    }

    /// A question came. Asks for the time only when it matters.
    pub(super) fn asked(&mut self, now: impl FnOnce() -> Instant) {
        let in_time = self.moment * WOKEN_WITHIN;
        match self.answered.take() {
            Some(answered) if now().saturating_duration_since(answered) <= in_time => {
                if self.in_rhythm >= self.enough {
                    self.enough = (self.enough / 2).max(1);
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
            Some(_) => self.lost(),
        }
    }

    /// Something was said that nobody had asked for.
    pub(super) fn broken(&mut self) {
        self.lost();
        self.alone = 0;
        self.times_left = self.times_left.min(1);
    }

    fn lost(&mut self) {
        self.answered = None;
        self.in_rhythm = 0;
    }

    /// For how long to stay awake from now on. Counts as one of the times of this turn.
    pub(super) fn awake_for(&mut self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        let answered = self.answered?;
        if self.in_rhythm < self.enough {
            return None;
        }
        let Some(times_left) = self.times_left.checked_sub(1) else {
            self.alone = self.alone.saturating_add(1);
            return None;
        };
        self.times_left = times_left;
        let left = self
            .moment
            .checked_sub(now().saturating_duration_since(answered))?;
        (!left.is_zero()).then_some(left)
    }

    /// It was in vain.
    pub(super) fn missed(&mut self) {
        self.lost();
        self.enough = (self.enough * 2).min(ENOUGH_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_micros(50);
    const QUICK: Duration = Duration::from_micros(90);
    const LATE: Duration = Duration::from_micros(110);

    /// A caller, the clock on the wall, and how many turns all connections had.
    struct Caller {
        rhythm: Rhythm,
        now: Instant,
        turns: u64,
    }

    impl Caller {
        fn new() -> Caller {
            let (mut rhythm, now) = (Rhythm::new(MOMENT), Instant::now());
            rhythm.asked(|| now);
            rhythm.answered(|| now);
            Caller {
                rhythm,
                now,
                turns: 0,
            }
        }

        /// Asks so long after an answer, is answered, and says whether we stay awake then, in a turn
        /// of its own.
        fn asks_after(&mut self, pause: Duration) -> bool {
            self.is_answered_after(pause);
            self.awake_for().is_some()
        }

        fn is_answered_after(&mut self, pause: Duration) {
            self.now += pause;
            self.rhythm.asked(|| self.now);
            self.rhythm.answered(|| self.now);
        }

        fn awake_for(&mut self) -> Option<Duration> {
            self.begin_turn();
            self.rhythm.awake_for(|| self.now)
        }

        fn begin_turn(&mut self) {
            self.rhythm.turn(self.turns);
            self.turns += 1;
        }

        /// How often we stay awake in a turn in which one question comes behind the other.
        fn times(&mut self) -> u32 {
            self.begin_turn();
            let mut count = 0;
            loop {
                self.is_answered_after(QUICK);
                if self.rhythm.awake_for(|| self.now).is_none() {
                    return count;
                }
                count += 1;
            }
        }

        /// The same for so many turns.
        fn times_of(&mut self, turns: u32) -> Vec<u32> {
            (0..turns).map(|_| self.times()).collect()
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
        assert_eq!(caller.questions(), ENOUGH / 2);
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
        for _ in 0..ENOUGH_MAX.ilog2() {
            assert!(caller.asks_after(QUICK));
        }
        caller.asks_after(LATE);
        assert_eq!(caller.questions(), 1);
    }

    #[test]
    fn a_caller_that_is_alone_for_long_is_awaited_more_often_in_a_turn() {
        let mut caller = Caller::new();
        caller.questions();
        let mut expected = vec![1; ALONE as usize];
        expected.extend(1..=TIMES_MAX);
        expected.push(TIMES_MAX);
        let turns = ALONE + TIMES_MAX + 1;
        assert_eq!(caller.times_of(turns), expected);
        // Somebody else had a turn.
        caller.turns += 1;
        assert_eq!(caller.times_of(turns), expected);
        // Something was said that the caller had not asked for, between two turns and in one.
        caller.rhythm.broken();
        caller.is_answered_after(QUICK);
        assert_eq!(caller.times_of(turns), expected);
        caller.begin_turn();
        caller.rhythm.broken();
        for time in 0..3 {
            caller.is_answered_after(QUICK);
            let is_awake = caller.rhythm.awake_for(|| caller.now).is_some();
            assert_eq!(is_awake, time == 1, "{time}");
        }
    }

    #[test]
    fn one_question_a_turn_is_no_reason_to_be_awaited_more_often() {
        let mut caller = Caller::new();
        caller.questions();
        for _ in 0..3 * ALONE {
            assert!(caller.asks_after(QUICK));
        }
        assert_eq!(caller.times(), 1);
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
        rhythm.turn(0);
        assert_eq!(rhythm.awake_for(Instant::now), None);
    }
}
