//! When a program that ended is started again without anybody asking.
//!
//! Only what ran once is restarted: a program that cannot even be started is told to whoever
//! wanted it. A restart is a new session; what ran in the old one is lost and told as lost.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use crate::config::{Entry, RestartPolicy, Transport};

/// Restarts in a row when the entry does not say.
const ATTEMPTS: u32 = 5;
/// The first pause when the entry does not say; doubled for each that follows.
const BACKOFF: Duration = Duration::from_millis(500);
/// The longest pause, before jitter.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A program that ran this long did not fail at its start: counting begins anew.
const STEADY: Duration = Duration::from_secs(60);

/// How often and when, for one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) policy: RestartPolicy,
    attempts: u32,
    backoff: Duration,
}

/// The restarts of one program so far.
#[derive(Debug)]
pub(super) struct Restarts {
    rule: Option<Rule>,
    done: u32,
}

impl Rule {
    /// None for an entry that does not want restarts, which is then started by its next use.
    pub(super) fn of(entry: &Entry) -> Option<Rule> {
        let wishes = entry.farstep.restart.as_ref()?;
        match entry.transport {
            Transport::WebSocket { .. } | Transport::Rendezvous { .. } => None,
            Transport::Stdio { .. } => Some(Rule {
                policy: wishes.policy?,
                attempts: wishes.max_attempts.unwrap_or(ATTEMPTS),
                backoff: wishes.backoff.unwrap_or(BACKOFF),
            }),
        }
    }
}

impl Restarts {
    pub(super) fn new(rule: Option<Rule>) -> Restarts {
        Restarts { rule, done: 0 }
    }

    /// The pause before the next start of a program that ran for `ran` and ended `well` or not;
    /// none when it is not to be started.
    pub(super) fn after_end(&mut self, ran: Duration, well: bool) -> Option<Duration> {
        if ran >= STEADY {
            self.done = 0;
        }
        match self.rule?.policy {
            RestartPolicy::Never => None,
            RestartPolicy::OnFailure if well => None,
            RestartPolicy::OnFailure | RestartPolicy::Always => self.next(),
        }
    }

    /// The pause before the next start after one that failed; none for the very first.
    pub(super) fn after_failure(&mut self) -> Option<Duration> {
        if self.done == 0 {
            return None;
        }
        self.next()
    }

    /// How many there were.
    pub(super) fn done(&self) -> u32 {
        self.done
    }

    fn next(&mut self) -> Option<Duration> {
        let rule = self.rule?;
        if self.done >= rule.attempts {
            return None;
        }
        let doubled = rule.backoff.saturating_mul(1 << self.done.min(16));
        self.done += 1;
        Some(jittered(doubled.min(BACKOFF_MAX)))
    }
}

/// Between three quarters and all of `pause`, so that many that ended together do not start
/// together.
fn jittered(pause: Duration) -> Duration {
    // The only randomness the standard library has; nothing depends on its quality.
    let random = RandomState::new().hash_one(0_u8) % 256;
    pause - pause / 4 * (random as u32) / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restarts(policy: RestartPolicy, attempts: u32) -> Restarts {
        Restarts::new(Some(Rule {
            policy,
            attempts,
            backoff: Duration::from_secs(8),
        }))
    }

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_a_limit_and_end() {
        let mut restarts = restarts(RestartPolicy::OnFailure, 4);
        assert_eq!(restarts.after_failure(), None, "it never ran");
        for limit in [8, 16, 30, 30] {
            let pause = restarts.after_end(SHORT, false).unwrap();
            let limit = Duration::from_secs(limit);
            assert!(
                pause <= limit && pause > limit * 2 / 3,
                "{pause:?} {limit:?}"
            );
        }
        assert_eq!(restarts.after_end(SHORT, false), None);
        assert_eq!(restarts.after_failure(), None);
        assert!(
            restarts.after_end(STEADY, false).is_some(),
            "it ran long enough"
        );
    }

    #[test]
    fn the_policy_decides() {
        use RestartPolicy::{Always, Never, OnFailure};
        for (policy, well, expected) in [
            (Never, false, false),
            (Never, true, false),
            (OnFailure, false, true),
            (OnFailure, true, false),
            (Always, true, true),
        ] {
            let pause = restarts(policy, 1).after_end(SHORT, well);
            assert_eq!(pause.is_some(), expected, "{policy:?} {well}");
        }
        assert_eq!(Restarts::new(None).after_end(SHORT, false), None);
    }
}
