//! What happens to an environment, as it happens: server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::StreamExt as _;
use futures_util::stream::Stream;
use serde_json::json;

use super::answer::Refused;
use super::caller::Caller;
use super::environments::Place;
use crate::control::{follow as followed, generated as wire};
use crate::node::Node;

/// What goes over an idle connection, so that both sides notice its end.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

pub(super) async fn follow(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Path(place): Path<Place>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    let kid = caller.kid().to_owned();
    let (who, tenant) = caller.admin()?;
    let request = wire::EnvironmentRef {
        tenant,
        environment_id: place.id,
    };
    let events = followed(&node, &who, kid, request).await?;
    let events = events.map(|event| Ok(shown(event)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE)))
}

fn shown(event: wire::Event) -> Event {
    let wire::Event {
        name,
        environment,
        generation,
        node,
        closed,
        missed,
    } = event;
    let data = match (environment, closed, missed) {
        (Some(state), ..) => json!(state),
        (None, Some(closed), _) => json!({
            "generation": generation, "at": closed.at, "code": closed.code,
            "by": closed.by, "reason": closed.reason,
        }),
        (None, None, Some(count)) => json!({"count": count}),
        (None, None, None) if node.is_some() => json!({"generation": generation, "node": node}),
        (None, None, None) => json!({"generation": generation}),
    };
    // JSON of one line is always fit for it.
    Event::default().event(name).data(data.to_string())
}
