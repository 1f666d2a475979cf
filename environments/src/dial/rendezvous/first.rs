//! The first connection: tried again while it may still succeed, and never longer than the entry's time
//! for connecting.
//!
//! A registry waits for an executor that is away. The first time it is asked to wait a moment only,
//! because its answer says why; from then on as long as there is time.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::super::patience::Patience;
use super::super::{ConnectError, Trail};
use super::{Meeting, Wire};

/// What of the time for connecting is left for the rest of the way when the registry has waited for the
/// executor until then, if that is not more than a quarter.
const REST: Duration = Duration::from_secs(1);

/// For how long the registry waits for an executor that is away the first time, in seconds: then it
/// says why, and whoever waits can be told.
const FIRST_HOLD_SECONDS: u64 = 1;

/// The same later on; no registry of ours waits longer.
const HOLD_SECONDS_MAX: u64 = 8;

impl Meeting {
    /// A first connection, tried as often as [`Patience`] grants within the time for connecting.
    pub(super) async fn reach_patiently(
        &self,
        once: bool,
        trail: &mut Trail,
    ) -> Result<(Wire, String), ConnectError> {
        let limit = self.registry.connect_timeout;
        let began = Instant::now();
        trail.within(limit);
        let mut last = None;
        let attempts = self.attempts(once, began, &mut last, trail);
        match tokio::time::timeout(limit, attempts).await {
            Ok(met) => met,
            // What was in the way before says more than that time is over.
            Err(_) => Err(match last {
                Some(last) => given_up(last, limit),
                None => ConnectError::TimedOut {
                    url: self.registry.url.clone(),
                    after: limit,
                    hop: trail.under_way(),
                },
            }),
        }
    }

    async fn attempts(
        &self,
        once: bool,
        began: Instant,
        last: &mut Option<ConnectError>,
        trail: &mut Trail,
    ) -> Result<(Wire, String), ConnectError> {
        let limit = self.registry.connect_timeout;
        let left = || limit.saturating_sub(began.elapsed());
        let rest = REST.min(limit / 4);
        let mut patience = Patience::default();
        let mut most = FIRST_HOLD_SECONDS;
        loop {
            // Whole seconds, and half of the rest may go into making them whole.
            let hold = (left().saturating_sub(rest) + rest / 2).as_secs().min(most);
            let asked = Instant::now();
            let mut error = match self.meet(None, Some(hold), trail).await {
                Ok(met) => return Ok(met),
                Err(error) => error,
            };
            if once {
                return Err(error);
            }
            if let ConnectError::Rendezvous { held, .. } = &mut error {
                // One that only says so would be asked without end.
                *held &= hold > 0 && asked.elapsed() >= Duration::from_secs(hold);
            }
            let Some(pause) = patience.after(&error, spread()) else {
                return Err(error);
            };
            most = HOLD_SECONDS_MAX;
            if left().saturating_sub(pause) < rest {
                return Err(given_up(error, limit));
            }
            let seconds = pause.as_secs_f64();
            tracing::debug!(%error, seconds, "trying again");
            trail.again(error.obstacle());
            *last = Some(error);
            tokio::time::sleep(pause).await;
        }
    }
}

/// What is said when the time is over.
fn given_up(mut error: ConnectError, limit: Duration) -> ConnectError {
    if let ConnectError::Rendezvous { within, .. } = &mut error {
        *within = Some(Box::new(limit));
    }
    error
}

/// Between 0 and 1, another one each time.
fn spread() -> f64 {
    f64::from(Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}
