//! What a node looks at unasked: credentials that were taken back or ended, takeovers.
//!
//! The store counts its changes, so most looks are one number. Credentials that end by themselves
//! change nothing there; each link and each stream knows when its own does, and those that are due are
//! looked at then. What the store says counts: a credential's end may have been put forward, and an
//! executor may have registered anew with another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::auth::Signer;
use crate::bus::{Heard, Notice};
use crate::lease;
use crate::node::{Node, now};
use crate::relay::{Ending, ExecutorLink};
use crate::store::{Shown, StoreError};

/// How often a node looks for revocations and takeovers: well below the 2 s that a revocation may
/// take (`rendezvous` section C10).
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// How often what nobody can use any more is let go of.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// What a credential is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It counts, for ever or until then.
    Counts(Option<i64>),
    /// It counts no more, and what it opened ends so.
    Over(Ending),
}

impl Node {
    /// Looks for revocations and takeovers, sweeps, and holds the node's lease, until it stops.
    pub async fn watch(&self) {
        tokio::join!(self.look_again_and_again(), lease::hold(self));
    }

    async fn look_again_and_again(&self) {
        let mut told = self.bus.subscribe();
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweeps = tokio::time::interval(SWEEP_INTERVAL);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            let done = tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => self.look(&mut seen).await,
                // The bus may lose it; the tick does not.
                heard = told.next() => match heard {
                    Heard::Notice(Notice::Changed) | Heard::Missed(_) => self.look(&mut seen).await,
                    Heard::Notice(_) => Ok(()),
                },
                _ = sweeps.tick() => {
                    // Should anything have slipped through.
                    seen = None;
                    self.limits.forget_idle();
                    self.guard.forget_idle();
                    self.store.sweep(now()).await
                }
            };
            if let Err(error) = done {
                tracing::warn!(%error, "the store was not looked at");
            }
        }
    }

    async fn look(&self, seen: &mut Option<i64>) -> Result<(), StoreError> {
        let changes = self.store.changes().await?;
        if *seen == Some(changes) {
            let now = now();
            let mut links = self.bus.links();
            links.retain(|link| link.is_due(now));
            return self.look_at(links, self.limits.due(now)).await;
        }
        let keys = self.store.url_keys().await?;
        self.sign_with(Signer::new(keys));
        self.look_at(self.bus.links(), self.limits.connected())
            .await?;
        *seen = Some(changes);
        Ok(())
    }

    async fn look_at(
        &self,
        links: Vec<Arc<ExecutorLink>>,
        streams: Vec<(u64, Shown)>,
    ) -> Result<(), StoreError> {
        for link in links {
            let route = self.store.route(&link.environment).await?;
            let route = route.filter(|route| route.generation == link.generation);
            let standing = match route {
                Some(route) => self.of_credential(&route.kid).await?,
                None => Standing::Over(Ending::REVOKED),
            };
            match standing {
                Standing::Counts(until) => link.lasts(until),
                Standing::Over(ending) => {
                    tracing::info!(env = %link.environment, ending.reason, "executor's link ends");
                    link.end(ending);
                }
            }
        }
        let mut known: HashMap<String, Standing> = HashMap::new();
        for (number, shown) in streams {
            let standing = match known.get(&shown.kid) {
                Some(standing) => *standing,
                None => self.standing(&shown).await?,
            };
            if !shown.is_outside() {
                known.insert(shown.kid.clone(), standing);
            }
            match standing {
                Standing::Counts(until) => self.limits.lasts(number, until),
                Standing::Over(ending) => {
                    tracing::info!(kid = shown.kid, ending.reason, "orchestrator's stream ends");
                    self.limits.end(number, ending);
                }
            }
        }
        Ok(())
    }

    /// What somebody's credential is worth now.
    pub(crate) async fn standing(&self, shown: &Shown) -> Result<Standing, StoreError> {
        if !shown.is_outside() {
            return self.of_credential(&shown.kid).await;
        }
        let now = now();
        for name in [Some(&shown.kid), shown.token_id.as_ref()]
            .into_iter()
            .flatten()
        {
            if self.store.denied(&shown.tenant, name, now).await? {
                return Ok(Standing::Over(Ending::REVOKED));
            }
        }
        Ok(match shown.ends_at {
            Some(until) if until <= now => Standing::Over(Ending::EXPIRED),
            until => Standing::Counts(until),
        })
    }

    async fn of_credential(&self, kid: &str) -> Result<Standing, StoreError> {
        let credential = self.store.credential(kid).await?;
        Ok(match credential {
            Some(credential) if credential.is_valid(now()) => {
                Standing::Counts(credential.expires_at)
            }
            Some(credential) if credential.revoked_at.is_none() => Standing::Over(Ending::EXPIRED),
            _ => Standing::Over(Ending::REVOKED),
        })
    }
}
