//! From an accepted socket to a client that is connected: one request, looked at before anything is
//! done for it.
//!
//! The environment is reached before the upgrade is answered, so that a client hears in the answer
//! why it cannot be.

use std::convert::Infallible;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use farstep_transport::Budget;
use farstep_transport::listen::{self, Failures, Hosts, Waiting};
use farstep_transport::websocket::{Options, Served};
use http::header::{AUTHORIZATION, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bridge;
use super::keeper::Keeper;
use super::{GatewayAccess, GatewayError};
use crate::Environment;
use crate::dial::{ConnectError, Passage, secret_file};

/// From accept to the end of the request.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// How long the environment is tried for one client: a node that restarts is back within it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// What all clients together may hold of large messages on their way in, in bytes.
const MESSAGES_MAX: usize = 256 * 1024 * 1024;

type Answer = Response<Full<Bytes>>;

/// Who gets in, and to where.
#[derive(Debug)]
pub(super) struct Door {
    environment: Arc<Environment>,
    access: GatewayAccess,
    hosts: Hosts,
    failures: Failures,
    places: Arc<Semaphore>,
    messages: Budget,
}

/// One client on its way in.
struct Visit {
    peer: SocketAddr,
    /// It has proved what it has to.
    known: CancellationToken,
    admitted: Mutex<Option<(Passage, OwnedSemaphorePermit)>>,
}

impl Door {
    /// Looks at the token once, so that what is wrong with it shows at the start.
    pub(super) async fn new(
        environment: Arc<Environment>,
        access: GatewayAccess,
        places: Arc<Semaphore>,
    ) -> Result<Door, GatewayError> {
        let hosts = access.hosts.iter().map(|host| host.to_ascii_lowercase());
        let door = Door {
            environment,
            hosts: Hosts::new(hosts.collect()),
            access,
            failures: Failures::new(),
            places,
            messages: Budget::new(MESSAGES_MAX),
        };
        door.token().await.map_err(GatewayError::Token)?;
        Ok(door)
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The digest of the token as of now, if there is to be one.
    async fn token(&self) -> Result<Option<[u8; 32]>, String> {
        let Some(path) = &self.access.token_file else {
            return Ok(None);
        };
        let token = secret_file(path).await.map_err(|error| error.to_string())?;
        match token.trim_ascii() {
            [] => Err(format!("the file `{}` is empty", path.display())),
            token => Ok(Some(Sha256::digest(token).into())),
        }
    }

    /// Serves one client to its end.
    pub(super) async fn visit(
        self: Arc<Self>,
        tcp: TcpStream,
        peer: SocketAddr,
        waits: Waiting,
        stop: CancellationToken,
    ) {
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "the socket is gone already");
            return;
        }
        let visit = Arc::new(Visit {
            peer,
            known: CancellationToken::new(),
            admitted: Mutex::default(),
        });
        let service = {
            let (door, visit) = (Arc::clone(&self), Arc::clone(&visit));
            service_fn(move |request| {
                let (door, visit) = (Arc::clone(&door), Arc::clone(&visit));
                Box::pin(async move { Ok::<_, Infallible>(door.answer(request, &visit).await) })
            })
        };
        let conversed = tokio::select! {
            biased; // Stopping and making room beat waiting for a request.
            () = stop.cancelled() => return,
            () = turned_away(visit.known.clone(), waits) => return,
            conversed = listen::converse(tcp, service) => conversed,
        };
        let (mut tcp, read) = match conversed {
            Ok(conversed) => conversed,
            Err(error) => {
                tracing::debug!(%error, "not a request");
                return;
            }
        };
        let admitted = lock(&visit.admitted).take();
        let Some((passage, _place)) = admitted else {
            // The answer is out; who hung up already does not need the rest.
            let _: std::io::Result<()> = tcp.shutdown().await;
            return;
        };
        tracing::info!("client connected");
        let near = Served::new(tcp, read, &Options::server()).within(&self.messages);
        let keeper = Keeper::of(self.environment.id(), self.environment.terms());
        let end = bridge::carry(near, passage, keeper, &stop).await;
        tracing::info!(%end, "client ended");
    }

    async fn answer(&self, request: Request<Incoming>, visit: &Visit) -> Answer {
        let mut answer = match self.consider(&request, visit).await {
            Ok(answer) => answer,
            Err((status, words)) => refusal(status, words),
        };
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            // One request a connection: after a refusal nothing more is read from this client.
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(CONNECTION, close);
        }
        answer
    }

    async fn consider(
        &self,
        request: &Request<Incoming>,
        visit: &Visit,
    ) -> Result<Answer, (StatusCode, String)> {
        let headers = request.headers();
        if let Some((status, words)) = listen::refuse(&self.hosts, request.uri(), headers) {
            return Err((status, words.to_owned()));
        }
        match request.uri().path() {
            "/" => {}
            "/readyz" | "/healthz" => return Ok(Response::new(Full::default())),
            _ => return Err((StatusCode::NOT_FOUND, "only `/` is served\n".to_owned())),
        }
        self.recognise(headers, visit.peer.ip()).await?;
        let switching = listen::switch(request, Full::default);
        let switching = switching.map_err(|why| (StatusCode::BAD_REQUEST, format!("{why}\n")))?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let unavailable = |why: String| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
        let place = place.map_err(|_| unavailable("too many clients".to_owned()))?;
        visit.known.cancel();
        let passage = self.reach().await.map_err(|error| {
            tracing::warn!(%error, "the environment is not reached");
            unavailable(error.to_string())
        })?;
        *lock(&visit.admitted) = Some((passage, place));
        Ok(switching)
    }

    /// Whether the client brings the token, if there is one.
    async fn recognise(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<(), (StatusCode, String)> {
        let too_often = || {
            let words = "too many failed attempts\n".to_owned();
            (StatusCode::TOO_MANY_REQUESTS, words)
        };
        if self.failures.is_deaf_to(address) {
            return Err(too_often());
        }
        let token = self.token().await.map_err(|error| {
            tracing::warn!(error, "nobody gets in");
            let words = "the gateway cannot read its token\n".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, words)
        })?;
        let Some(token) = token else { return Ok(()) };
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let header = match (values.next(), values.next()) {
            (value, None) => value.map(HeaderValue::as_bytes),
            // Which of them would count is anybody's guess.
            (_, Some(_)) => Some(&b""[..]),
        };
        let presented = listen::bearer(header).unwrap_or_default();
        let presented: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        if bool::from(presented.ct_eq(&token)) {
            return Ok(());
        }
        match self.failures.count(address) {
            true => Err(too_often()),
            false => Err((StatusCode::UNAUTHORIZED, "unauthorized\n".to_owned())),
        }
    }

    /// A connection for one client; what may pass is waited out.
    async fn reach(&self) -> Result<Passage, ConnectError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = match self.environment.passage(deadline).await {
                Ok(passage) => return Ok(passage),
                Err(error) => error,
            };
            if !error.may_pass() || Instant::now() + PAUSE >= deadline {
                return Err(error);
            }
            tracing::debug!(%error, "not reached yet");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Ends what says nothing or dribbles, until it is known.
async fn turned_away(known: CancellationToken, waits: Waiting) {
    tokio::select! {
        biased; // Who is known stays.
        () = known.cancelled() => {}
        () = waits.dropped() => return,
        () = tokio::time::sleep(HEAD_DEADLINE) => return,
    }
    drop(waits);
    pending().await
}

fn refusal(status: StatusCode, words: String) -> Answer {
    let mut answer = Response::new(Full::from(words));
    *answer.status_mut() = status;
    let header = match status {
        StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, "1")),
        _ => None,
    };
    if let Some((name, value)) = header {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    answer
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Every change is a plain assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
