//! The websocket listener: accepts, sets the socket up, speaks HTTP until the upgrade, then hands
//! the bare socket to a connection. Knows no message of the protocol.
//!
//! ```text
//!   accept ──> HTTP surface (one request, one deadline) ──upgrade──> connection, same task
//!                   └── /readyz and refusals: answered and closed
//! ```
//!
//! The same task goes on behind the upgrade and owns the plain socket, so that no boxed stream and
//! no second task lies between the kernel and an answer.

mod http;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use farstep_transport::websocket::{Options, Served};
use futures_util::StreamExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::error::Elapsed;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::audit::{Event, Who};
use crate::connection::{self, End};
use crate::os;
use crate::server::Server;

/// Connections at once (`security` section 5). Beyond it new ones wait in the kernel's backlog,
/// which is bounded too, and nobody who is connected notices.
const CONNECTIONS_MAX: usize = 4096;

/// From accept to upgrade. A peer that dribbles its headers costs us one small task this long.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// The request line and headers of one request (`security` SR-14).
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What the kernel may hold unsent of one connection. More would queue answers behind output
/// where we cannot overtake it; less would starve a fast link between two wake-ups.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

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
}

impl Listener {
    /// Binds; connections wait in the backlog until [`Listener::serve`].
    pub async fn bind(address: SocketAddr) -> Result<Listener, ListenError> {
        let fail = |source| ListenError { address, source };
        let tcp = TcpListener::bind(address).await.map_err(fail)?;
        let address = tcp.local_addr().map_err(fail)?;
        Ok(Listener { tcp, address })
    }

    /// Where it listens, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
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
        let connections = TaskTracker::new();
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let surface = http::Surface::new();
        let mut number: u64 = 0;
        loop {
            let (tcp, peer, place) = tokio::select! {
                biased; // Stopping beats accepting.
                () = stop.cancelled() => break,
                accepted = self.accept(&places) => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            number += 1;
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
                server: Arc::clone(server),
                stop: stop.clone(),
            };
            let span = tracing::info_span!("connection", conn = number, %peer);
            connections.spawn(task.serve(place).instrument(span));
        }
        connections.close();
        connections.wait().await;
    }

    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let place = Arc::clone(places)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let (tcp, peer) = self.tcp.accept().await?;
        Ok((tcp, peer, place))
    }
}

/// A connection before anything was read from it.
struct Accepted {
    tcp: TcpStream,
    who: Who,
    surface: http::Surface,
    server: Arc<Server>,
    stop: CancellationToken,
}

impl Accepted {
    async fn serve(self, _place: OwnedSemaphorePermit) {
        let Accepted {
            tcp,
            who,
            surface,
            server,
            stop,
        } = self;
        if let Err(error) = set_up(&tcp) {
            tracing::debug!(%error, "the socket is gone already");
            return;
        }
        let upgrade = tokio::select! {
            biased; // Stopping beats waiting for a request.
            () = stop.cancelled() => return,
            upgrade = tokio::time::timeout(HANDSHAKE_DEADLINE, upgrade(tcp, surface)) => upgrade,
        };
        match upgrade {
            Ok(Some((tcp, read))) => {
                let wire = Served::new(tcp, read, &Options::server());
                let (end, wire) = connection::serve(&server, wire, who, &stop).await;
                tracing::info!(%end, "connection ended");
                linger(end, wire).await;
            }
            Ok(None) => {}
            Err(_) => tracing::debug!("no upgrade in time"),
        }
    }
}

/// Reads what a peer that was told goodbye still sends: closing a socket with unread data resets
/// it, and the reason would be lost on the way.
async fn linger(end: End, mut wire: Served<TcpStream>) {
    if matches!(end, End::Violation(_) | End::Torn(_) | End::Stopping) {
        let rest = async { while let Some(Ok(_)) = wire.next().await {} };
        // A peer that goes on is not waited for.
        let _: Result<(), Elapsed> = tokio::time::timeout(LINGER_MAX, rest).await;
    }
}

fn set_up(tcp: &TcpStream) -> io::Result<()> {
    // We batch ourselves; what the kernel holds back waits 40 ms for an acknowledgement.
    tcp.set_nodelay(true)?;
    os::limit_unsent(tcp, UNSENT_BYTES_MAX)
}

/// Speaks HTTP for one request. Returns the socket and what was read behind the request when that
/// was an upgrade.
async fn upgrade(tcp: TcpStream, surface: http::Surface) -> Option<(TcpStream, Vec<u8>)> {
    let upgraded = http::Upgraded::default();
    let service = {
        let upgraded = upgraded.clone();
        service_fn(move |request| {
            let (surface, upgraded) = (surface.clone(), upgraded.clone());
            Box::pin(async move { surface.answer(request, upgraded).await })
        })
    };
    let mut http = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(tcp), service);
    if let Err(error) = poll_fn(|cx| http.poll_without_shutdown(cx)).await {
        tracing::debug!(%error, "not a request");
        return None;
    }
    let parts = http.into_parts();
    let mut tcp = parts.io.into_inner();
    if upgraded.is_set() {
        return Some((tcp, parts.read_buf.to_vec()));
    }
    // The answer is out; who hung up already does not need the rest.
    let _: io::Result<()> = tcp.shutdown().await;
    None
}

#[cfg(test)]
mod tests;
