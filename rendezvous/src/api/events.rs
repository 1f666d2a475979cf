//! What happens to an environment, as it happens: server-sent events.
//!
//! A follower hears first how things are, then each change. It has a place among a bounded number, is
//! never waited for, is told when it missed something, and ends with its credential or the node.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::answer::Refused;
use super::caller::Caller;
use super::environments::{Place, control};
use crate::bus::{Heard, Notice, Subscription};
use crate::control::generated as wire;
use crate::node::{Node, now};
use crate::store::EnvironmentKey;

/// How often a follower's credential is looked at: it ends within two seconds of it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What goes over an idle connection, so that both sides notice its end.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

struct Follower {
    node: Arc<Node>,
    environment: EnvironmentKey,
    kid: String,
    told: Subscription,
    looks: Interval,
    first: Option<Event>,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn follow(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Path(place): Path<Place>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    let kid = caller.kid().to_owned();
    let (who, tenant) = caller.admin()?;
    let environment = who.environment(&tenant, &place.id)?;
    let room = Arc::clone(&node.followers).try_acquire_owned();
    let room = room.map_err(|_| Refused::FOLLOWERS)?;
    // From here on nothing is missed between how it is and what happens.
    let told = node.bus.subscribe();
    let request = wire::EnvironmentRef {
        tenant,
        environment_id: place.id,
    };
    let state = control(&node).get_environment(&who, request).await?;
    let name = if state.online { "online" } else { "offline" };
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let follower = Follower {
        first: Some(event(name, &json!(state))),
        node,
        environment,
        kid,
        told,
        looks,
        _place: room,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE)))
}

impl Follower {
    /// The next event; `None` when it is over.
    async fn next(&mut self) -> Option<Event> {
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
                    Heard::Missed(count) => return Some(event("missed", &json!({"count": count}))),
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

fn shown(notice: &Notice) -> Option<Event> {
    match notice {
        Notice::Online(arrival) => Some(event(
            "online",
            &json!({"generation": arrival.generation, "node": arrival.node}),
        )),
        Notice::Offline(arrival, closed) => Some(event(
            "offline",
            &json!({
                "generation": arrival.generation, "at": closed.at, "code": closed.code,
                "by": closed.by, "reason": closed.reason,
            }),
        )),
        Notice::Superseded { generation, .. } => {
            Some(event("superseded", &json!({"generation": generation})))
        }
        Notice::Changed => None,
    }
}

fn event(name: &str, data: &Value) -> Event {
    // JSON of one line is always fit for it.
    Event::default().event(name).data(data.to_string())
}
