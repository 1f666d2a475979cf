//! The websocket listener: accepts, sets the socket up, speaks HTTP until the upgrade, then hands
//! the bare socket to a connection. Knows no message of the protocol.
//!
//! ```text
//!   accept ──> (TLS) ──> HTTP surface (one request, one deadline) ──upgrade──> connection, same task
//!                              └── /readyz and refusals: answered and closed
//! ```
//!
//! The same task goes on behind the upgrade and owns the plain socket, so that no boxed stream and
//! no second task lies between the kernel and an answer.

mod args;
mod eager;
mod gate;
mod http;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use farstep_transport::listen::{
    FAILURES_BY_ADDRESS, FAILURES_IN_ALL, HEAD_BYTES_MAX, HEADERS_MAX,
};
use farstep_transport::listen::{Waiting, WaitingRoom, converse};
use farstep_transport::websocket::{Options, Served};
use farstep_transport::{Attention, WireError};
use futures_util::StreamExt as _;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::audit::{Event, Who};
use crate::auth::Principal;
use crate::connection::{self, End};
use crate::os;
use crate::server::Server;
pub use args::{Access, AccessArgs, Refused as RefusedAccess, TlsSettings};
use eager::Eager;
pub use gate::{Gate, GateError};
use tls::Tls;

/// Connections at once whose peer is known (`security` section 5). Beyond it an upgrade is
/// answered 503, and nobody who is connected notices.
pub(crate) const CONNECTIONS_MAX: usize = 4096;

/// Connections at once whose peer is not known yet. Beyond it the one that has taken longest is
/// dropped, so that whoever dribbles cannot keep others out (`security` SR-14).
pub(crate) const UNKNOWN_MAX: usize = 256;

/// From accept to upgrade. A peer that dribbles its headers costs us one small task this long.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// From upgrade to `initialize`. A place of [`CONNECTIONS_MAX`] is for those who use it
/// (`security` SR-13).
pub(crate) const INITIALIZE_DEADLINE: Duration = Duration::from_secs(10);

/// What the kernel may hold unsent of one connection. More would queue answers behind output
/// where we cannot overtake it, and go through colder memory; less gains nothing.
const UNSENT_BYTES_MAX: u32 = 32 * 1024;

/// How long a peer that broke the rules may take to close its side.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// How long we leave the backlog alone when accepting fails, for instance without descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address}: {source}")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    connections_max: usize,
    gate: Arc<Gate>,
}

impl Listener {
    /// Binds; connections wait in the backlog until [`Listener::serve`].
    pub async fn bind(address: SocketAddr, gate: Gate) -> Result<Listener, ListenError> {
        let fail = |source| ListenError { address, source };
        let tcp = TcpListener::bind(address).await.map_err(fail)?;
        let address = tcp.local_addr().map_err(fail)?;
        Ok(Listener {
            tcp,
            address,
            connections_max: CONNECTIONS_MAX,
            gate: Arc::new(gate),
        })
    }

    /// Where it listens, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as peers write it.
    pub fn url(&self) -> String {
        let scheme = if self.gate.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves connections until `stop`, then waits for those that are left to close.
    pub async fn serve(self, server: &Arc<Server>, stop: &CancellationToken) {
        tokio::select! {
            () = self.accept_all(server, stop) => {}
            never = server.reap() => match never {},
        }
    }

    async fn accept_all(self, server: &Arc<Server>, stop: &CancellationToken) {
        let address = self.address.to_string();
        server
            .audit()
            .record(&Who::default(), Event::Listen { address });
        self.gate.report_to(server.audit());
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(self.connections_max));
        let waiting = WaitingRoom::new(UNKNOWN_MAX);
        let surface = http::Surface::new(Arc::clone(&self.gate));
        let mut number: u64 = 0;
        loop {
            let (tcp, peer) = tokio::select! {
                biased; // Stopping beats accepting.
                () = stop.cancelled() => break,
                accepted = self.tcp.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            number += 1;
            server.metrics().accepted.increment(1);
            let who = Who {
                conn: Some(number),
                peer: Some(peer),
                ..Who::default()
            };
            server.audit().record(&who, Event::Connect);
            let task = Accepted {
                tcp,
                who,
                surface: surface.clone(),
                gate: Arc::clone(&self.gate),
                places: Arc::clone(&places),
                waits: waiting.enter(number),
                server: Arc::clone(server),
                stop: stop.clone(),
            };
            let span = tracing::info_span!("connection", conn = number, %peer);
            connections.spawn(task.serve().instrument(span));
        }
        connections.close();
        connections.wait().await;
    }
}

/// A connection before anything was read from it.
struct Accepted {
    tcp: TcpStream,
    who: Who,
    surface: http::Surface,
    gate: Arc<Gate>,
    places: Arc<Semaphore>,
    waits: Waiting,
    server: Arc<Server>,
    stop: CancellationToken,
}

impl Accepted {
    async fn serve(self) {
        if let Err(error) = set_up(&self.tcp) {
            tracing::debug!(%error, "the socket is gone already");
            return;
        }
        let deadline = Instant::now() + HANDSHAKE_DEADLINE;
        let gate = Arc::clone(&self.gate);
        let Accepted {
            tcp,
            who,
            surface,
            places,
            waits,
            server,
            stop,
            ..
        } = self;
        let known = Known {
            who,
            surface,
            places,
            server,
            stop,
        };
        match &gate.tls {
            None => {
                let attention = Attention::default();
                let eager = Eager::new(tcp, attention.clone());
                known
                    .serve(eager, Some(attention), None, waits, deadline)
                    .await;
            }
            // In memory of its own: a plain connection must not pay for what TLS keeps.
            Some(tls) => Box::pin(known.secure(tls, tcp, waits, deadline)).await,
        }
    }
}

/// What the service of a connection needs beside its stream.
struct Known {
    who: Who,
    surface: http::Surface,
    places: Arc<Semaphore>,
    server: Arc<Server>,
    stop: CancellationToken,
}

impl Known {
    async fn secure(self, tls: &Tls, tcp: TcpStream, waits: Waiting, deadline: Instant) {
        let secured = tokio::select! {
            biased; // Stopping and making room beat waiting.
            () = self.stop.cancelled() => return,
            () = waits.dropped() => return,
            secured = tokio::time::timeout_at(deadline, tls.accept(tcp)) => secured,
        };
        match secured {
            Ok(Ok((stream, certified))) => {
                self.serve(stream, None, certified, waits, deadline).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
            Err(_) => tracing::debug!("no TLS in time"),
        }
    }

    async fn serve<S>(
        self,
        stream: S,
        attention: Option<Attention>,
        certified: Option<Principal>,
        waits: Waiting,
        deadline: Instant,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Known {
            mut who,
            surface,
            places,
            server,
            stop,
        } = self;
        let caller = http::Caller::new(who.clone(), certified, Arc::clone(&server), places);
        // In memory of its own, which a connection gives back once it is upgraded.
        let upgrade = Box::pin(upgrade(stream, surface, caller));
        let upgrade = tokio::select! {
            biased; // Stopping and making room beat waiting for a request.
            () = stop.cancelled() => return,
            () = waits.dropped() => return,
            upgrade = tokio::time::timeout_at(deadline, upgrade) => upgrade,
        };
        drop(waits);
        match upgrade {
            Ok(Some((stream, read, admitted))) => {
                who.principal = Some(Arc::clone(admitted.principal.name()));
                let options = Options {
                    ping_interval: Some(server.ping_interval()),
                    ..Options::server()
                };
                let wire = Served::new(stream, read, &options)
                    .within(server.messages())
                    .attended(attention);
                let patience = Some(INITIALIZE_DEADLINE);
                let (end, wire) = connection::serve(&server, wire, who, patience, &stop).await;
                tracing::info!(%end, "connection ended");
                Box::pin(linger(end, wire)).await;
            }
            Ok(None) => {}
            Err(_) => tracing::debug!("no upgrade in time"),
        }
    }
}

/// Reads what a peer that was told goodbye still sends: closing a socket with unread data resets
/// it, and the reason would be lost on the way.
async fn linger<S>(end: End, mut wire: Served<S>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let rest = async {
        match end {
            End::Violation(_) | End::Unheard | End::Torn(_) | End::Stopping => {
                while let Some(Ok(_)) = wire.next().await {}
            }
            // There is no telling any more where a message ends.
            End::Broken(WireError::TooLong { .. } | WireError::Overloaded) => wire.discard().await,
            End::Broken(_) | End::Closed => {}
        }
    };
    // A peer that goes on is not waited for.
    let _: Result<(), Elapsed> = tokio::time::timeout(LINGER_MAX, rest).await;
}

fn set_up(tcp: &TcpStream) -> io::Result<()> {
    // We batch ourselves; what the kernel holds back waits 40 ms for an acknowledgement.
    tcp.set_nodelay(true)?;
    os::limit_unsent(tcp, UNSENT_BYTES_MAX)
}

/// Speaks HTTP for one request. When that was an upgrade, returns the stream, what was read behind
/// the request, and who was let in.
async fn upgrade<S>(
    stream: S,
    surface: http::Surface,
    caller: http::Caller,
) -> Option<(S, Vec<u8>, http::Admitted)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = {
        let caller = caller.clone();
        service_fn(move |request| {
            let (surface, caller) = (surface.clone(), caller.clone());
            Box::pin(async move { surface.answer(request, caller).await })
        })
    };
    let (mut stream, read) = match converse(stream, service).await {
        Ok(conversed) => conversed,
        Err(error) => {
            tracing::debug!(%error, "not a request");
            return None;
        }
    };
    if let Some(admitted) = caller.admitted() {
        return Some((stream, read, admitted));
    }
    // The answer is out; who hung up already does not need the rest.
    let _: io::Result<()> = stream.shutdown().await;
    None
}

#[cfg(test)]
mod tests;
