//! How often, and after which pauses, a rendezvous is asked again for a first connection
//! (`rendezvous` section A13). Recovering a session has a window instead of a number.
//!
//! Knows no clock: it is told what failed and says how long to wait.

use std::time::Duration;

use super::ConnectError;
use super::error::Step;

/// Before each further attempt, as the peer pauses.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(600),
    Duration::from_millis(1400),
    Duration::from_millis(2500),
    Duration::from_millis(5000),
];

/// A relay that is full, or that has just lost the executor.
const RELAY_PAUSE: Duration = Duration::from_millis(400);

/// How often the executor may end the stream instead of letting us in.
const RESETS_MAX: usize = 3;

/// Longer than this is not waited for, whatever the registry says.
const TOLD_MAX: Duration = Duration::from_secs(10);

/// What became of the attempts so far.
#[derive(Debug, Default)]
pub(super) struct Patience {
    ordinary: usize,
    resets: usize,
    unauthorized: bool,
    unavailable: bool,
}

impl Patience {
    /// After which pause to try again; `None` when it is enough. `spread` of 0 to 1 keeps those who
    /// failed together from coming back together.
    pub(super) fn after(&mut self, error: &ConnectError, spread: f64) -> Option<Duration> {
        let ConnectError::Rendezvous {
            step,
            status,
            may_pass: true,
            retry_after,
            held,
            ..
        } = error
        else {
            return None;
        };
        if *held {
            // That was the pause.
            return Some(Duration::ZERO);
        }
        let pause = match (step, status) {
            (Step::Executor, _) => {
                self.resets += 1;
                return (self.resets < RESETS_MAX).then_some(RELAY_PAUSE);
            }
            // A signed URL that was too old: the next bundle has another one.
            (Step::Relay, Some(401)) if !self.unauthorized => {
                self.unauthorized = true;
                return Some(Duration::ZERO);
            }
            (Step::Relay, Some(403 | 503)) if !self.unavailable => {
                self.unavailable = true;
                return Some(RELAY_PAUSE);
            }
            (Step::Relay | Step::Registry, _) => {
                let pause = PAUSES.get(self.ordinary).copied()?;
                self.ordinary += 1;
                pause
            }
        };
        let told = Duration::from_secs(retry_after.unwrap_or_default().into()).min(TOLD_MAX);
        Some(pause.mul_f64(0.8 + 0.4 * spread).max(told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(step: Step, status: Option<u16>, may_pass: bool) -> ConnectError {
        ConnectError::Rendezvous {
            url: "u".to_owned(),
            environment: "e".into(),
            step,
            reason: "r".to_owned(),
            status,
            may_pass,
            retry_after: None,
            held: false,
            within: None,
        }
    }

    /// The pauses in milliseconds until it is enough.
    fn pauses(error: &ConnectError) -> Vec<u128> {
        let mut patience = Patience::default();
        let pauses = std::iter::from_fn(|| patience.after(error, 0.5));
        pauses.map(|pause| pause.as_millis()).take(20).collect()
    }

    #[test]
    fn every_row_of_the_table_is_followed() {
        for status in [408, 429, 500, 502, 503, 504] {
            let error = failed(Step::Registry, Some(status), true);
            assert_eq!(pauses(&error), [600, 1400, 2500, 5000], "{status}");
        }
        for status in [400, 401, 403, 404, 409] {
            let error = failed(Step::Registry, Some(status), false);
            assert!(pauses(&error).is_empty(), "{status}");
        }
        let unauthorized = failed(Step::Relay, Some(401), true);
        assert_eq!(pauses(&unauthorized), [0, 600, 1400, 2500, 5000]);
        for status in [403, 503] {
            let error = failed(Step::Relay, Some(status), true);
            assert_eq!(pauses(&error), [400, 600, 1400, 2500, 5000], "{status}");
        }
        // Three tries in all.
        assert_eq!(pauses(&failed(Step::Executor, None, true)), [400, 400]);
        // The executor's credential was refused, which nobody here can help.
        assert!(pauses(&failed(Step::Executor, None, false)).is_empty());
    }

    #[test]
    fn a_registry_that_waits_itself_is_asked_again_at_once_and_for_as_long_as_there_is_time() {
        let mut error = failed(Step::Registry, Some(503), true);
        if let ConnectError::Rendezvous { held, .. } = &mut error {
            *held = true;
        }
        assert_eq!(pauses(&error), [0; 20]);
    }

    #[test]
    fn what_the_registry_asks_for_is_waited_within_reason() {
        let told = |seconds| {
            let mut error = failed(Step::Registry, Some(429), true);
            if let ConnectError::Rendezvous { retry_after, .. } = &mut error {
                *retry_after = Some(seconds);
            }
            Patience::default().after(&error, 0.5)
        };
        assert_eq!(told(3), Some(Duration::from_secs(3)));
        assert_eq!(told(3600), Some(TOLD_MAX));
    }
}
