//! Who shows what, and what becomes of those who guess.
//!
//! Failures count against the address they come from and against the key id they name. A right
//! credential is never turned away for them: a key id is no secret, and whoever knows one could
//! otherwise lock its owner out. What guessing costs is time, for the one who guesses.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use super::{digest, kid};
use crate::api::Refused;
use crate::node::{Node, now};
use crate::store::{Credential, Store, StoreError};

/// Wrong secrets for one key id, a minute and at once. Beyond it each next one waits.
const FAILURES_A_MINUTE: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

/// How long a guess beyond that waits for its answer.
const PAUSE: Duration = Duration::from_millis(500);

/// Guesses that wait at once, each of which holds a connection. Those beyond are told at once.
const WAITING_MAX: usize = 64;

/// Counts wrong secrets by key id.
#[derive(Debug)]
pub(crate) struct Guard {
    failures: DefaultKeyedRateLimiter<String>,
    waiting: Semaphore,
}

impl Default for Guard {
    fn default() -> Guard {
        Guard {
            failures: RateLimiter::keyed(Quota::per_minute(FAILURES_A_MINUTE)),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }
}

impl Guard {
    /// Lets go of key ids that nobody guesses for.
    pub(crate) fn forget_idle(&self) {
        self.failures.retain_recent();
    }

    /// A secret was wrong. Returns whether that happens too often for its key id, after a while if
    /// it does.
    async fn failed(&self, kid: &str) -> bool {
        let is_often = self.failures.check_key(&kid.to_owned()).is_err();
        if is_often && let Ok(_place) = self.waiting.try_acquire() {
            tokio::time::sleep(PAUSE).await;
        }
        is_often
    }
}

/// The credential of a bearer, if it counts.
pub(crate) async fn authenticate(
    node: &Node,
    bearer: Option<&str>,
    address: IpAddr,
) -> Result<Credential, Refused> {
    let bearer = bearer.map(str::trim);
    if let Some(bearer) = bearer
        && let Some(credential) = known(node.store.as_ref(), bearer).await?
    {
        if credential.used_at.is_none() {
            // From here on a rotation does not take it for one whose text was lost.
            node.store.used(&credential.kid, now()).await?;
        }
        return Ok(credential);
    }
    Err(refuse(node, bearer, address).await)
}

/// What somebody hears whose credential does not count.
pub(crate) async fn refuse(node: &Node, bearer: Option<&str>, address: IpAddr) -> Refused {
    let is_often = node.limits.failed(address);
    let named = bearer.and_then(kid);
    let is_guessed = match named {
        Some(kid) => node.guard.failed(kid).await,
        None => false,
    };
    match is_often || is_guessed {
        true => Refused::GUESSING,
        false => Refused::CREDENTIAL,
    }
}

/// Compares in constant time, and whether there is such a key id or not.
async fn known(store: &dyn Store, bearer: &str) -> Result<Option<Credential>, StoreError> {
    let Some(kid) = kid(bearer) else {
        return Ok(None);
    };
    let shown = digest(bearer);
    let credential = store.credential(kid).await?;
    let kept = credential.as_ref().map_or([0; 32], |known| known.digest);
    let is_right = bool::from(kept.ct_eq(&shown));
    Ok(credential.filter(|credential| is_right && credential.is_valid(now())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn guessing_for_one_key_id_takes_longer_and_longer_than_for_another() {
        let guard = Guard::default();
        let began = tokio::time::Instant::now();
        for _ in 0..10 {
            assert!(!guard.failed("a").await);
        }
        assert!(began.elapsed().is_zero());
        assert!(guard.failed("a").await);
        assert_eq!(began.elapsed(), PAUSE);
        assert!(!guard.failed("b").await);
    }
}
