//! What the listener's port says to plain HTTP, and the one request that turns into a websocket.
//!
//! Each TCP connection carries one request: a readiness probe, the upgrade, or something that is
//! refused. Nothing here reads a body or a cookie, and of a query only whether it carries what it
//! should not.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use farstep_transport::listen::{self, Refusal};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::CONNECTIONS_MAX;
use super::gate::Gate;
use crate::audit::{Event, Who};
use crate::auth::Principal;
use crate::server::Server;

/// The routes, shared by all connections.
#[derive(Clone, Debug)]
pub(super) struct Surface {
    routes: TowerToHyperService<Router>,
    gate: Arc<Gate>,
}

/// What is known of a connection before its request, and learned from it.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) who: Who,
    /// Whom its certificate names.
    pub(super) certified: Option<Principal>,
    pub(super) server: Arc<Server>,
    places: Arc<Semaphore>,
    admitted: Arc<Mutex<Option<Admitted>>>,
}

/// Somebody whose upgrade was accepted.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) principal: Principal,
    /// One of the connections there may be.
    _place: OwnedSemaphorePermit,
}

impl Caller {
    pub(super) fn new(
        who: Who,
        certified: Option<Principal>,
        server: Arc<Server>,
        places: Arc<Semaphore>,
    ) -> Caller {
        Caller {
            who,
            certified,
            server,
            places,
            admitted: Arc::default(),
        }
    }

    /// Whose upgrade was accepted, if the request was one and it was.
    pub(super) fn admitted(&self) -> Option<Admitted> {
        self.admitted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Surface {
    pub(super) fn new(gate: Arc<Gate>) -> Surface {
        let alive = || async { StatusCode::OK };
        let routes = Router::new()
            .route("/", any(upgrade))
            .route("/readyz", get(alive))
            .route("/healthz", get(alive))
            .route("/metrics", get(metrics));
        Surface {
            routes: TowerToHyperService::new(routes.with_state(Arc::clone(&gate))),
            gate,
        }
    }

    pub(super) async fn answer(
        &self,
        mut request: hyper::Request<Incoming>,
        caller: Caller,
    ) -> Result<Response, Infallible> {
        let mut response = match self.gate.refuse(request.uri(), request.headers()) {
            Some(refusal) => {
                caller.server.metrics().refused.increment(1);
                refusal.into_response()
            }
            None => {
                request.extensions_mut().insert(caller);
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

async fn upgrade(
    State(gate): State<Arc<Gate>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let Caller {
        who,
        certified,
        server,
        places,
        admitted,
    } = caller;
    let headers = request.headers();
    let known = gate.recognise(headers, certified.as_ref(), &who, &server);
    let principal = match known.await {
        Ok(principal) => principal,
        Err(refusal) => return unauthenticated(refusal),
    };
    if request.method() != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    match listen::switch(&request, Body::empty) {
        Ok(response) => {
            let Ok(place) = places.try_acquire_owned() else {
                tracing::warn!("as many connections as there may be");
                let limit = "connections";
                server.audit().record(&who, Event::LimitHit { limit });
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return (status, "too many connections\n").into_response();
            };
            server.metrics().upgraded.increment(1);
            *admitted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Admitted {
                principal,
                _place: place,
            });
            response
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// For whoever may connect, nobody else: counts tell what is done here (`security` SR-15).
async fn metrics(
    State(gate): State<Arc<Gate>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let Caller {
        who,
        certified,
        server,
        places,
        ..
    } = caller;
    let headers = request.headers();
    let known = gate.recognise(headers, certified.as_ref(), &who, &server);
    if let Err(refusal) = known.await {
        return unauthenticated(refusal);
    }
    let connections = CONNECTIONS_MAX.saturating_sub(places.available_permits());
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    // It may take a moment to make.
    let page = tokio::task::spawn_blocking(move || server.metrics_page(connections));
    match page.await {
        Ok(page) => ([(CONTENT_TYPE, kind)], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The same for a credential that is missing, malformed or wrong (`security` SR-6).
fn unauthenticated(refusal: Refusal) -> Response {
    let (status, _) = refusal;
    let mut response = refusal.into_response();
    let (name, value) = match status {
        StatusCode::UNAUTHORIZED => (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        _ => (RETRY_AFTER, HeaderValue::from_static("1")),
    };
    response.headers_mut().insert(name, value);
    response
}
