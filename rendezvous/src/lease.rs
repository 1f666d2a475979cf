//! A node's word that it lives, and what of its executors others learn by it (`rendezvous` section
//! C7).
//!
//! A lease is the only thing a node writes unasked, whatever the number of its executors. A node that
//! dies takes nothing back: what it had counts no more when its lease is over.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::node::{Node, now};
use crate::store::NodeLease;

/// How long a lease counts, in seconds.
const LEASE_SECONDS: i64 = 15;

/// How often it is renewed: two may fail.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(5);

/// Holds the lease of a node until it stops.
pub(crate) async fn hold(node: &Node) {
    let mut ticks = tokio::time::interval(RENEWAL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = node.stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let executors = node.bus.links().len();
        let lease = NodeLease {
            id: node.id.clone(),
            address: node.websocket_base.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            executors: u32::try_from(executors).unwrap_or(u32::MAX),
            until: now() + LEASE_SECONDS,
        };
        if let Err(error) = node.store.hold_lease(&lease).await {
            tracing::warn!(%error, "the node's lease was not renewed");
        }
    }
}
