//! One environment as a plain websocket on this machine, for clients that cannot reach it
//! themselves: `farstep connect`.
//!
//! ```text
//!   client ──▶ door: one request, refused or let in ──▶ bridge ◀──▶ connection of its own
//! ```
//!
//! Every client has its own connection to the executor, and so its own session. Messages pass as they
//! are, also the one that takes a session up again, unless the entry demands something of its machine or
//! of what is started there: then the gateway reads along and sees to that. When one
//! side ends the other is ended too, and a client that comes back resumes what the executor kept.

mod bridge;
mod door;
mod keeper;
mod watch;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use farstep_transport::listen::WaitingRoom;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::Environment;
use crate::config::EnvironmentId;
use door::Door;

/// Clients at once. Each costs a stream of the executor, which has 128 of them; beyond it an upgrade
/// is answered 503.
const CLIENTS_MAX: usize = 64;

/// Connections at once whose request is still to come. Beyond it the oldest is dropped.
const UNKNOWN_MAX: usize = 64;

/// How long we leave the backlog alone when accepting fails, for instance without descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who may come in.
#[derive(Clone, Debug, Default)]
pub struct GatewayAccess {
    /// The file with the token that clients have to bring, read anew for each of them.
    pub token_file: Option<PathBuf>,
    /// Listen beyond loopback although everything crosses the network readable.
    pub allow_plaintext: bool,
    /// Names with a dot by which clients reach it.
    pub hosts: Vec<String>,
}

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Anybody in the network could use it.
    #[error(
        "{0} is not on this machine alone, so whoever reaches it must prove something; give \
         --ws-token-file, or listen on 127.0.0.1"
    )]
    NoToken(SocketAddr),
    /// Its token could be read on the way.
    #[error(
        "{0} is not on this machine alone, and there is no TLS: the token and everything else would \
         cross the network readable. If that network is yours alone, add --allow-plaintext"
    )]
    Plaintext(SocketAddr),
    /// Its clients speak for themselves, so nothing of theirs would be confined.
    #[error(
        "`{0}` has a `permission_profile`, which cannot be kept to by clients that speak to its \
         executor themselves"
    )]
    Confined(EnvironmentId),
    /// Its clients speak for themselves, and would not ask for padding.
    #[error(
        "`{0}` has `padding = true`, which clients that speak to its executor themselves do not ask for"
    )]
    Padded(EnvironmentId),
    /// The token cannot be used.
    #[error("--ws-token-file: {0}")]
    Token(String),
    /// The address cannot be had.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// A bound listener for one environment.
#[derive(Debug)]
pub struct Gateway {
    tcp: TcpListener,
    address: SocketAddr,
    door: Arc<Door>,
}

impl Gateway {
    /// Binds; clients wait in the backlog until [`Gateway::serve`].
    pub async fn bind(
        address: SocketAddr,
        environment: Arc<Environment>,
        access: GatewayAccess,
    ) -> Result<Gateway, GatewayError> {
        if environment.is_confined() {
            return Err(GatewayError::Confined(environment.id().clone()));
        }
        if environment.is_padded() {
            return Err(GatewayError::Padded(environment.id().clone()));
        }
        if !is_here(address.ip()) {
            match (&access.token_file, access.allow_plaintext) {
                (None, _) => return Err(GatewayError::NoToken(address)),
                (Some(_), false) => return Err(GatewayError::Plaintext(address)),
                (Some(_), true) => {}
            }
        }
        let places = Arc::new(Semaphore::new(CLIENTS_MAX));
        let door = Door::new(environment, access, places).await?;
        let fail = |source| GatewayError::Listen { address, source };
        let tcp = TcpListener::bind(address).await.map_err(fail)?;
        let address = tcp.local_addr().map_err(fail)?;
        Ok(Gateway {
            tcp,
            address,
            door: Arc::new(door),
        })
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Serves clients until `stop`, then waits for those that are left to be told.
    pub async fn serve(self, stop: &CancellationToken) {
        let clients = TaskTracker::new();
        let waiting = WaitingRoom::new(UNKNOWN_MAX);
        let mut number: u64 = 0;
        loop {
            let accepted = tokio::select! {
                biased; // Stopping beats accepting.
                () = stop.cancelled() => break,
                accepted = self.tcp.accept() => accepted,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accepting a client failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            number += 1;
            let span = tracing::info_span!("client", env = %self.door.environment().id(), number);
            let waits = waiting.enter(number);
            let visit = Arc::clone(&self.door).visit(tcp, peer, waits, stop.clone());
            clients.spawn(visit.instrument(span));
        }
        clients.close();
        clients.wait().await;
    }
}

fn is_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
