//! The routes of a node. They keep nothing: what they need is the node's.

mod answer;
mod caller;
mod connect;
mod enroll;
mod environments;
mod events;
mod register;
mod upgrade;
mod validate;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};

use crate::node::Node;
pub(crate) use answer::Refused;

/// A request's body, in bytes: several times what keys and an authorization take.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Everything a node serves.
pub(crate) fn router(node: Arc<Node>) -> Router {
    let registry = Router::new()
        .route("/cloud/environment/{id}/register", post(register::register))
        .route("/cloud/environment/{id}/connect", post(connect::connect))
        .route("/cloud/environment/{id}/validate", post(validate::validate))
        .route("/v1/enroll", post(enroll::enroll))
        .route("/v1/environments", get(environments::list))
        .route("/v1/environments/{id}", get(environments::get))
        .route("/v1/environments/{id}/events", get(events::follow))
        .route(
            "/v1/environments/{id}/policy",
            get(environments::policy).put(environments::set_policy),
        )
        .route(
            "/v1/environments/{id}/credentials/rotate",
            post(environments::rotate),
        )
        .route(
            "/v1/environments/{id}/credentials/{kid}",
            delete(environments::revoke),
        );
    Router::new()
        // A tenant may have a base URL of its own; its credentials work under no other one.
        .nest("/t/{tenant}", registry.clone())
        .merge(registry)
        .route(
            "/cloud-agent/{cluster}/ws/environment/{id}",
            get(upgrade::upgrade),
        )
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(node)
}

async fn healthy() -> &'static str {
    "ok\n"
}

async fn unknown() -> Refused {
    Refused::NOT_FOUND
}

/// Ready is a store that answers and a node that does not stop.
async fn ready(State(node): State<Arc<Node>>) -> impl IntoResponse {
    match node.store.changes().await {
        Ok(_) if !node.is_draining() => (StatusCode::OK, "ready\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn metrics(State(node): State<Arc<Node>>) -> String {
    node.page().await
}
