//! The relay's websockets: a signed URL becomes a link.
//!
//! An executor takes 4xx for "register again", and ends when that fails; so 4xx is only said when a
//! new registration is wanted, and everything that will pass is 503.

use std::sync::Arc;

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use farstep_protocol::relay::registry::REQUEST_HEADER;
use farstep_protocol::relay::{
    FEATURES_HEADER, FRAME_BYTES_MAX, RESTART_NOTICE_FEATURE, names_feature,
};

use super::register::turned_away;
use crate::auth::{Access, UrlRefused, digest};
use crate::bus::Notice;
use crate::limits::HeldStream;
use crate::node::{Node, now};
use crate::relay::{Ending, ExecutorLink, Linked, serve_executor, serve_harness};
use crate::store::{Arrival, Closed, EnvironmentKey, Route, StoreError};
use crate::watch::Standing;

/// Why an upgrade is refused, which peers log.
const REASON: HeaderName = HeaderName::from_static("x-codex-rendezvous-rejection-reason");

/// Read at once from a socket, in bytes; held by every connection, and most are idle.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// A message that is being written, with its header, in bytes; given back behind it.
const WRITE_BUFFER_BYTES_MAX: usize = 2 * (FRAME_BYTES_MAX + 64);

/// A refused upgrade.
struct NoUpgrade(StatusCode, &'static str);

impl From<UrlRefused> for NoUpgrade {
    fn from(UrlRefused(reason): UrlRefused) -> NoUpgrade {
        NoUpgrade(StatusCode::UNAUTHORIZED, reason)
    }
}

impl From<StoreError> for NoUpgrade {
    fn from(error: StoreError) -> NoUpgrade {
        tracing::error!(%error, "the store failed");
        NoUpgrade(StatusCode::SERVICE_UNAVAILABLE, "route_unavailable")
    }
}

impl IntoResponse for NoUpgrade {
    fn into_response(self) -> Response {
        let reason = [(REASON, HeaderValue::from_static(self.1))];
        (self.0, reason, self.1).into_response()
    }
}

pub(super) async fn upgrade(
    State(node): State<Arc<Node>>,
    Path((_cluster, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let query = query.unwrap_or_default();
    let said = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let wants_notice =
        said(FEATURES_HEADER).is_some_and(|list| names_feature(list, RESTART_NOTICE_FEATURE));
    let request = said(REQUEST_HEADER).map(shown).unwrap_or_default();
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX);
    match permitted(&node, &id, &query).await {
        Ok(Permitted::Executor(environment, route, ends_at)) => {
            let linked = Linked {
                environment,
                generation: route.generation,
                ends_at,
                wants_notice,
            };
            let served = node.served.clone();
            let serving =
                move |socket| served.track_future(executor(node, linked, request, socket));
            upgrade.on_upgrade(serving)
        }
        Ok(Permitted::Harness(link, held)) => {
            let serving = move |socket| {
                let served = node.served.clone();
                served.track_future(harness(link, held, wants_notice, socket))
            };
            upgrade.on_upgrade(serving)
        }
        Err(refused) => {
            node.metrics.upgrade_refused(role(&query), refused.1);
            tracing::info!(env = id, reason = refused.1, request, "upgrade refused");
            refused.into_response()
        }
    }
}

/// Which end it wanted to be, for counting.
fn role(query: &str) -> &'static str {
    match query.split('&').next() {
        Some("role=environment") => "environment",
        Some("role=harness") => "harness",
        _ => "unknown",
    }
}

/// What an executor calls its upgrade, for the log, if that is one of the names it makes.
fn shown(request: &str) -> String {
    let is_name =
        |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match request.strip_prefix("req_") {
        Some(rest) if is_name(rest) => request.to_owned(),
        _ => String::new(),
    }
}

enum Permitted {
    /// And when its credential ends.
    Executor(EnvironmentKey, Route, Option<i64>),
    Harness(Arc<ExecutorLink>, HeldStream),
}

async fn permitted(node: &Node, id: &str, query: &str) -> Result<Permitted, NoUpgrade> {
    if node.is_draining() {
        return Err(NoUpgrade(StatusCode::SERVICE_UNAVAILABLE, "pod_draining"));
    }
    if node.limits.memory().is_full() {
        return Err(NoUpgrade(
            StatusCode::SERVICE_UNAVAILABLE,
            "route_unavailable",
        ));
    }
    let url = node.signer().check(id, query, now())?;
    match url.access {
        Access::Executor { generation } => {
            let route = node.store.route(&url.environment).await?;
            // Gone for good; a new registration says why.
            let gone = NoUpgrade(StatusCode::GONE, "unexpected_executor_registration_id");
            let route = route.filter(|route| route.generation == generation);
            let route = route.ok_or(gone)?;
            let credential = node.store.credential(&route.kid).await?;
            let credential = credential.filter(|credential| credential.is_valid(now()));
            let Some(credential) = credential else {
                let because = "its credential is revoked or expired";
                turned_away(node, &url.environment, because).await;
                return Err(NoUpgrade(StatusCode::UNAUTHORIZED, "invalid_secret"));
            };
            if node.bus.links().len() >= node.limits.quotas().executors {
                return Err(NoUpgrade(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "route_unavailable",
                ));
            }
            Ok(Permitted::Executor(
                url.environment,
                route,
                credential.expires_at,
            ))
        }
        Access::Harness { nonce } => {
            let shown = node.store.take_ticket(digest(&nonce), now()).await?;
            let shown = shown.ok_or(NoUpgrade(StatusCode::UNAUTHORIZED, "invalid_signature"))?;
            let away = NoUpgrade(StatusCode::SERVICE_UNAVAILABLE, "route_unavailable");
            let link = node.bus.find(&url.environment).ok_or(away)?;
            let full = NoUpgrade(StatusCode::SERVICE_UNAVAILABLE, "route_unavailable");
            let held = node.limits.stream(&shown).ok_or(full)?;
            // It may be over since the URL was given out. Whatever happens from here on finds the
            // stream among those that are held.
            if let Standing::Over(_) = node.standing(&shown).await? {
                return Err(NoUpgrade(StatusCode::UNAUTHORIZED, "invalid_secret"));
            }
            Ok(Permitted::Harness(link, held))
        }
    }
}

async fn executor(node: Arc<Node>, linked: Linked, request: String, socket: WebSocket) {
    let metrics = Arc::clone(&node.metrics);
    let link = ExecutorLink::new(linked, metrics, Arc::clone(&node.limits));
    node.bus.announce(Arc::clone(&link));
    node.came_back(&link.environment);
    tracing::info!(
        env = %link.environment, generation = link.generation, conn = link.number(), request,
        "executor online"
    );
    let arrival = Arrival {
        environment: link.environment.clone(),
        generation: link.generation,
        node: node.id.clone(),
        connection: link.number(),
    };
    match node.store.came(&arrival, now()).await {
        Ok(true) => node.bus.publish(Notice::Online(arrival.clone())),
        // Taken over while it dialled; the next look ends it.
        Ok(false) => node.bus.publish(Notice::Changed),
        Err(error) => tracing::warn!(%error, "an arrival was not noted"),
    }
    if node.stop.is_cancelled() {
        link.end(Ending::RESTART);
    }
    let ending = serve_executor(Arc::clone(&link), socket).await;
    let is_away = node.bus.withdraw(&link);
    tracing::info!(
        env = %link.environment, conn = link.number(), code = ending.code, ending.reason,
        "executor offline"
    );
    if is_away {
        node.went_away(&link.environment);
    }
    let closed = Closed {
        at: now(),
        code: ending.code,
        by: closed_by(ending).to_owned(),
        reason: ending.reason.to_owned(),
    };
    match node.store.went(&arrival, &closed).await {
        Ok(true) => node.bus.publish(Notice::Offline(arrival, closed)),
        // Another connection has it since.
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "a departure was not noted"),
    }
}

/// Who ended a websocket, by its code: peers close with 1000, what breaks is 1006, and everything
/// else is said by us.
fn closed_by(ending: Ending) -> &'static str {
    match ending.code {
        1000 => "executor",
        1006 => "network",
        _ => "rendezvous",
    }
}

async fn harness(link: Arc<ExecutorLink>, held: HeldStream, wants_notice: bool, socket: WebSocket) {
    let environment = link.environment.clone();
    tracing::info!(env = %environment, conn = link.number(), "orchestrator connected");
    let ending = serve_harness(link, socket, held.over(), wants_notice).await;
    drop(held);
    tracing::info!(
        env = %environment, code = ending.code, ending.reason, "orchestrator disconnected"
    );
}
