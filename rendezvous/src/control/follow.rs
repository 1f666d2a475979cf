//! What happens to an environment, as it happens: the same for both doors that stream.
//!
//! A follower hears first how things are, then each change. It has a place among a bounded number, is
//! never waited for, is told when it missed something, and ends with its credential or the node.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Control, ControlError, Who, generated as wire};
use crate::bus::{Heard, Notice, Subscription};
use crate::node::{Node, now};
use crate::store::EnvironmentKey;

/// How often a follower's credential is looked at: it ends within two seconds of it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

struct Follower {
    node: Arc<Node>,
    environment: EnvironmentKey,
    kid: String,
    told: Subscription,
    looks: Interval,
    first: Option<wire::Event>,
    _place: OwnedSemaphorePermit,
}

/// Follows an environment for whoever showed the credential `kid`.
pub(crate) async fn follow(
    node: &Arc<Node>,
    who: &Who,
    kid: String,
    request: wire::EnvironmentRef,
) -> Result<impl Stream<Item = wire::Event> + Send + use<>, ControlError> {
    let environment = who.environment(&request.tenant, &request.environment_id)?;
    let room = Arc::clone(&node.followers).try_acquire_owned();
    let room = room.map_err(|_| ControlError::Followers)?;
    // From here on nothing is missed between how it is and what happens.
    let told = node.bus.subscribe();
    let control = Control::of_node(Arc::clone(&node.store), Arc::clone(&node.bus));
    let state = control.get_environment(who, request).await?;
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let name = if state.online { "online" } else { "offline" };
    let first = wire::Event {
        environment: Some(state),
        ..named(name)
    };
    let follower = Follower {
        first: Some(first),
        node: Arc::clone(node),
        environment,
        kid,
        told,
        looks,
        _place: room,
    };
    Ok(stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((event, follower))
    }))
}

impl Follower {
    /// The next event; `None` when it is over.
    async fn next(&mut self) -> Option<wire::Event> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            tokio::select! {
                biased; // Stopping beats news.
                () = self.node.stop.cancelled() => return None,
                _ = self.looks.tick() => {
                    let credential = self.node.store.credential(&self.kid).await.ok()?;
                    credential.filter(|credential| credential.is_valid(now()))?;
                }
                heard = self.told.next() => match heard {
                    Heard::Missed(count) => {
                        return Some(wire::Event { missed: Some(count), ..named("missed") });
                    }
                    Heard::Notice(notice) => {
                        if notice.environment() == Some(&self.environment)
                            && let Some(event) = shown(&notice)
                        {
                            return Some(event);
                        }
                    }
                },
            }
        }
    }
}

fn shown(notice: &Notice) -> Option<wire::Event> {
    match notice {
        Notice::Online(arrival) => Some(wire::Event {
            generation: Some(arrival.generation),
            node: Some(arrival.node.clone()),
            ..named("online")
        }),
        Notice::Offline(arrival, closed) => Some(wire::Event {
            generation: Some(arrival.generation),
            closed: Some(closed.into()),
            ..named("offline")
        }),
        Notice::Superseded { generation, .. } => Some(wire::Event {
            generation: Some(*generation),
            ..named("superseded")
        }),
        Notice::Changed => None,
    }
}

fn named(name: &str) -> wire::Event {
    wire::Event {
        name: name.to_owned(),
        ..wire::Event::default()
    }
}
