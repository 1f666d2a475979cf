//! Staying awake for a moment, instead of sleeping until somebody wakes us.
//!
//! A processor that has nothing to do halts, and to wake it takes longer than to answer a small
//! call. Whoever stays awake is there at once, at the price of the processor. So only one connection
//! at a time may, for some tens of microseconds behind an answer, and nobody where processors are few:
//! the programs we start need them. Decides who may; whether it is worth it is each connection's own
//! affair (`connection::rhythm`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::os;

/// One for us, one for the caller and one for what we start: with fewer, whoever stays awake takes
/// the processor from somebody who has something to do.
pub(crate) const PROCESSORS_MIN: usize = 3;

/// Whether connections may stay awake, whether one does, and how many turns all of them had.
#[derive(Debug)]
pub(crate) struct Vigil {
    moment: Duration,
    is_kept: AtomicBool,
    turns: AtomicU64,
}

/// The permission to stay awake.
#[derive(Debug)]
pub(crate) struct Awake<'a>(&'a Vigil);

impl Vigil {
    /// `moment` is how long to stay awake; zero never does.
    pub(crate) fn new(moment: Duration) -> Vigil {
        Vigil::on(os::processors(), moment)
    }

    pub(crate) fn on(processors: usize, moment: Duration) -> Vigil {
        let is_possible = os::READS_NOW && processors >= PROCESSORS_MIN;
        Vigil {
            moment: if is_possible { moment } else { Duration::ZERO },
            is_kept: AtomicBool::new(false),
            turns: AtomicU64::new(0),
        }
    }

    /// For how long a connection may stay awake; zero where none may.
    pub(crate) fn moment(&self) -> Duration {
        self.moment
    }

    /// Counts a turn of some connection's task; returns how many there were before it. Whoever finds
    /// one missing between two of its own knows that others have something to do.
    pub(crate) fn turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks to stay awake; `None` while somebody else does.
    pub(crate) fn enter(&self) -> Option<Awake<'_>> {
        let is_kept = self.is_kept.swap(true, Ordering::Relaxed);
        (!is_kept).then(|| Awake(self))
    }
}

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        self.0.is_kept.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_micros(50);

    #[test]
    fn one_stays_awake_at_a_time() {
        let vigil = Vigil::new(MOMENT);
        let awake = vigil.enter();
        assert!(awake.is_some() && vigil.enter().is_none() && vigil.enter().is_none());
        drop(awake);
        assert!(vigil.enter().is_some());
    }

    #[test]
    fn whoever_counts_his_turns_sees_those_of_others() {
        let vigil = Vigil::new(MOMENT);
        let mine = vigil.turn();
        assert_eq!(vigil.turn(), mine + 1);
        let _others = vigil.turn();
        assert_eq!(vigil.turn(), mine + 3);
    }

    #[test]
    fn nobody_stays_awake_where_processors_are_few() {
        assert_eq!(Vigil::on(2, MOMENT).moment(), Duration::ZERO);
        let moment = if os::READS_NOW {
            MOMENT
        } else {
            Duration::ZERO
        };
        assert_eq!(Vigil::on(3, MOMENT).moment(), moment);
    }
}
