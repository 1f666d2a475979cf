//! When to ask a model provider again, and after how long.
//!
//! Two budgets are nested. Inside one sampling request, connections that fail and servers that
//! stumble before they begin to answer are tried again quietly ([`RequestRetry`]). Around it, the
//! turn repeats a whole request whose answer broke off ([`StreamRetry`]), with everything that had
//! already finished kept in the history. Both are plain decisions over an error: no clock, no I/O.
//! [`with_retries`] and [`pause`] are the thin shells that really wait.
//!
//! This is the one module that may name the `backoff` crate, which nobody maintains any more: it
//! borrows the doubling of an interval and nothing else, so replacing it is a change to one file.

#![expect(
    clippy::disallowed_types,
    reason = "the one module that may name backoff"
)]

mod told;

use std::time::Duration;

use backoff::SystemClock;
use backoff::backoff::Backoff;
use backoff::exponential::{ExponentialBackoff, ExponentialBackoffBuilder};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::model::{ModelError, ModelErrorKind};

pub(crate) use told::{told_by_headers, told_delay};

/// More retries than this serve nobody, whatever a configuration says.
pub const MAX_RETRIES: u32 = 100;
/// Doubling stops here, so that a long budget stays a matter of minutes per try.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// A provider that wants us away for longer gets an end of the turn and not a silent wait.
const MAX_TOLD_DELAY: Duration = Duration::from_secs(600);
/// Delays vary by this much to either side, so that many clients do not return in step.
const SPREAD: f64 = 0.1;

/// How often a provider is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    request_max: u32,
    stream_max: u32,
    first_delay: Duration,
    seed: Option<u64>,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy::new(4, 5)
    }
}

impl RetryPolicy {
    /// `request_max` retries inside a sampling request, `stream_max` of the request as a whole.
    pub fn new(request_max: u32, stream_max: u32) -> RetryPolicy {
        RetryPolicy {
            request_max: request_max.min(MAX_RETRIES),
            stream_max: stream_max.min(MAX_RETRIES),
            first_delay: Duration::from_millis(200),
            seed: None,
        }
    }

    /// The same policy with another delay before the first retry; later ones double from there.
    #[must_use]
    pub fn first_delay(self, first_delay: Duration) -> RetryPolicy {
        RetryPolicy {
            first_delay,
            ..self
        }
    }

    /// The same policy with delays that can be foretold.
    #[must_use]
    pub fn seeded(self, seed: u64) -> RetryPolicy {
        RetryPolicy {
            seed: Some(seed),
            ..self
        }
    }

    /// The outer budget of one sampling step.
    pub fn stream(&self) -> StreamRetry {
        StreamRetry(Budget::new(self, self.stream_max))
    }

    pub(crate) fn request(&self) -> RequestRetry {
        RequestRetry(Budget::new(self, self.request_max))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Wait(Duration),
    GiveUp,
}

/// The outer budget: repeating a whole sampling request. One per step, made by
/// [`RetryPolicy::stream`].
#[derive(Debug)]
pub struct StreamRetry(Budget);

impl StreamRetry {
    /// Whether the step is tried again after `error`, and after how long.
    pub fn next(&mut self, error: &ModelError) -> Decision {
        if repeats_whole(&error.kind) {
            self.0.spend(error)
        } else {
            Decision::GiveUp
        }
    }

    /// How many retries were granted so far: the n of "reconnecting n/max".
    pub fn granted(&self) -> u32 {
        self.0.spent
    }

    pub fn max(&self) -> u32 {
        self.0.max
    }
}

/// The inner budget: one sampling request before its answer begins.
#[derive(Debug)]
pub(crate) struct RequestRetry(Budget);

impl RequestRetry {
    pub(crate) fn next(&mut self, error: &ModelError) -> Decision {
        if repeats_inside(&error.kind) {
            self.0.spend(error)
        } else {
            Decision::GiveUp
        }
    }
}

/// Nothing of the answer has been seen, and another try may well succeed.
fn repeats_inside(kind: &ModelErrorKind) -> bool {
    matches!(
        kind,
        ModelErrorKind::Unreachable | ModelErrorKind::Server { .. } | ModelErrorKind::Overloaded
    )
}

/// Worth asking again as a whole. An overloaded provider had its inner retries and is left alone.
fn repeats_whole(kind: &ModelErrorKind) -> bool {
    match kind {
        ModelErrorKind::Unreachable
        | ModelErrorKind::Server { .. }
        | ModelErrorKind::RateLimited
        | ModelErrorKind::Unauthorized
        | ModelErrorKind::Failed { .. }
        | ModelErrorKind::Cut
        | ModelErrorKind::Silent => true,
        ModelErrorKind::Overloaded
        | ModelErrorKind::UsageLimit
        | ModelErrorKind::InvalidRequest
        | ModelErrorKind::InvalidImage
        | ModelErrorKind::Refused { .. }
        | ModelErrorKind::ContextTooLong
        | ModelErrorKind::Rejected { .. }
        | ModelErrorKind::Incomplete { .. } => false,
    }
}

struct Budget {
    spent: u32,
    max: u32,
    intervals: ExponentialBackoff<SystemClock>,
    jitter: Jitter,
}

impl Budget {
    fn new(policy: &RetryPolicy, max: u32) -> Budget {
        let intervals = ExponentialBackoffBuilder::new()
            .with_initial_interval(policy.first_delay)
            .with_multiplier(2.0)
            .with_max_interval(MAX_DELAY)
            // The spread is ours, because it must be possible to seed it.
            .with_randomization_factor(0.0)
            // Said out loud: by default the crate falls silent after fifteen minutes.
            .with_max_elapsed_time(None)
            .build();
        let seed = policy
            .seed
            .unwrap_or_else(|| Uuid::new_v4().as_u64_pair().1);
        Budget {
            spent: 0,
            max,
            intervals,
            jitter: Jitter(seed),
        }
    }

    fn spend(&mut self, error: &ModelError) -> Decision {
        if self.spent == self.max {
            return Decision::GiveUp;
        }
        let Some(interval) = self.intervals.next_backoff() else {
            return Decision::GiveUp;
        };
        let delay = match error.retry_after {
            Some(told) if told > MAX_TOLD_DELAY => return Decision::GiveUp,
            // Never before the time we were told.
            Some(told) => told.mul_f64(1.0 + SPREAD * self.jitter.next()),
            None => interval.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * self.jitter.next()),
        };
        self.spent += 1;
        Decision::Wait(delay)
    }
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Budget({}/{})", self.spent, self.max)
    }
}

/// A splitmix64 sequence: enough to spread delays, and nothing else.
#[derive(Debug)]
struct Jitter(u64);

impl Jitter {
    /// The next number in 0..1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The upper 53 bits are exactly what the mantissa holds.
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Waits, unless `stop` comes first; says whether the wait was completed.
pub async fn pause(delay: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased; // Stopping beats going on.
        () = stop.cancelled() => false,
        () = tokio::time::sleep(delay) => true,
    }
}

/// Runs `attempt` until it succeeds or `retry` gives up. Dropping the future stops it.
pub(crate) async fn with_retries<T, F>(
    mut retry: RequestRetry,
    mut attempt: impl FnMut() -> F,
) -> Result<T, ModelError>
where
    F: Future<Output = Result<T, ModelError>>,
{
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match retry.next(&error) {
            Decision::Wait(delay) => {
                let delay_ms = delay.as_millis() as u64;
                tracing::info!(%error, delay_ms, "asking the provider again");
                tokio::time::sleep(delay).await;
            }
            Decision::GiveUp => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
