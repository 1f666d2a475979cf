//! How long to wait before the next attempt: longer each time, and never quite the same, so that
//! many executors do not come back at one moment.

use std::time::Duration;

use uuid::Uuid;

/// The first pause at most, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// The pauses of one row of failures.
#[derive(Debug)]
pub(crate) struct Pauses {
    step: Duration,
}

impl Default for Pauses {
    fn default() -> Pauses {
        Pauses { step: FIRST }
    }
}

impl Pauses {
    /// Something worked for long enough.
    pub(crate) fn reset(&mut self) {
        self.step = FIRST;
    }

    /// The next one.
    pub(crate) fn pick(&mut self) -> Duration {
        self.next(None, random())
    }

    /// The same, at most `cap`.
    fn next(&mut self, cap: Option<Duration>, random: u32) -> Duration {
        let step = self.step;
        self.step = (2 * step).min(LONGEST);
        let half = step / 2;
        let pause = half + half.mul_f64(f64::from(random) / f64::from(u32::MAX));
        cap.map_or(pause, |cap| pause.min(cap))
    }

    /// Waits for it.
    pub(crate) async fn wait(&mut self, cap: Option<Duration>) {
        let pause = self.next(cap, random());
        let seconds = pause.as_secs_f64();
        tracing::debug!(seconds, "waiting before the next attempt");
        tokio::time::sleep(pause).await;
    }
}

fn random() -> u32 {
    (Uuid::new_v4().as_u128() >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_begin_again() {
        let mut pauses = Pauses::default();
        let longest: Vec<_> = (0..7).map(|_| pauses.next(None, u32::MAX)).collect();
        let seconds = [1, 2, 4, 8, 16, 30, 30];
        assert_eq!(longest, seconds.map(Duration::from_secs));
        assert_eq!(pauses.next(None, 0), Duration::from_secs(15));
        let cap = Duration::from_secs(5);
        assert_eq!(pauses.next(Some(cap), 7), cap);
        pauses.reset();
        assert_eq!(pauses.next(None, 0), FIRST / 2);
    }
}
