//! What the listener's port says to plain HTTP, and the one request that turns into a websocket.
//!
//! Each TCP connection carries one request: a readiness probe, the upgrade, or something that is
//! refused. Nothing here reads a body, a query or a cookie.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request};
use axum::http::header::{CONNECTION, HeaderValue, ORIGIN};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

/// The routes, shared by all connections.
#[derive(Clone, Debug)]
pub(super) struct Surface {
    routes: TowerToHyperService<Router>,
}

/// Whether the request of this connection was the upgrade.
#[derive(Clone, Debug, Default)]
pub(super) struct Upgraded(Arc<AtomicBool>);

impl Upgraded {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Surface {
    pub(super) fn new() -> Surface {
        let routes = Router::new()
            .route("/", any(upgrade))
            .route("/readyz", get(|| async { StatusCode::OK }));
        Surface {
            routes: TowerToHyperService::new(routes),
        }
    }

    pub(super) async fn answer(
        &self,
        mut request: hyper::Request<Incoming>,
        upgraded: Upgraded,
    ) -> Result<Response, Infallible> {
        let mut response = match refusal(&request) {
            Some(status) => status.into_response(),
            None => {
                request.extensions_mut().insert(upgraded);
                self.routes.call(request).await?
            }
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // One request a connection: after a refusal nothing more is read from this peer.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// What is decided before any route is looked at.
fn refusal(request: &hyper::Request<Incoming>) -> Option<StatusCode> {
    // Only browsers send `Origin`, and no page has business here: a websocket to loopback is not
    // held back by the browser, so it has to be by us. It outranks everything, also a 404.
    request
        .headers()
        .contains_key(ORIGIN)
        .then_some(StatusCode::FORBIDDEN)
}

async fn upgrade(Extension(upgraded): Extension<Upgraded>, request: Request) -> Response {
    if request.method() != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    // Subprotocols and extensions are not negotiated, so compression never is.
    match create_response_with_body(&request, Body::empty) {
        Ok(response) => {
            upgraded.0.store(true, Ordering::Relaxed);
            response
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
