//! The listener on a socket in the file system: for callers of our own user on this machine, and for
//! the bridges to an executor in the background.
//!
//! Who may connect is for the file system and the kernel to say; see `os`. Messages are lines, as on
//! standard input and output, but every session outlives its connection.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use farstep_transport::lines::Lines;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::audit::{Event, Who};
use crate::background::{Greeting, KNOWN, UNKNOWN};
use crate::connection;
use crate::listen::INITIALIZE_DEADLINE;
use crate::os::{self, LocalListener, LocalStream, SocketFolder};
use crate::server::Server;

/// Connections at once. All are of one user; beyond it the next one waits.
const CONNECTIONS_MAX: usize = 1024;

/// How long a caller that has given signs of life may be silent. What lies between us may hold a
/// dead connection for hours, and meanwhile nobody could take its session up again.
const SILENCE_MAX: Duration = Duration::from_secs(25);

/// How long we leave the backlog alone when accepting fails, for instance without descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Looks at whether anybody needs us, in the time after which we end.
const LOOKS: u32 = 10;

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {}: {source}", path.display())]
pub struct LocalError {
    path: PathBuf,
    source: io::Error,
}

impl LocalError {
    /// Whether somebody else listens there already.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// A bound socket.
#[derive(Debug)]
pub struct Local {
    folder: SocketFolder,
    listener: LocalListener,
    /// Whether callers say first what their login is like, and after which time without any we end.
    idle: Option<Duration>,
}

impl Local {
    /// Binds; connections wait in the backlog until [`Local::serve`].
    pub async fn bind(path: &Path) -> Result<Local, LocalError> {
        let fail = |source| LocalError {
            path: path.to_owned(),
            source,
        };
        let (folder, name): (SocketFolder, &OsStr) = SocketFolder::of(path).map_err(fail)?;
        let lock = folder.lock().await.map_err(fail)?;
        let listener = folder.bind(name).map_err(fail)?;
        drop(lock);
        Ok(Local {
            folder,
            listener,
            idle: None,
        })
    }

    /// Makes it the socket of an executor in the background, which ends after such a time without
    /// a connection and a session.
    #[must_use]
    pub fn in_background(self, idle: Duration) -> Local {
        Local {
            idle: Some(idle),
            ..self
        }
    }

    /// As `--listen` takes it.
    pub fn url(&self) -> String {
        format!("unix:{}", self.listener.path().display())
    }

    /// Serves connections until `stop`, or until nobody has needed us for long enough; then waits
    /// for those that are left to close.
    pub async fn serve(self, server: &Arc<Server>, stop: &CancellationToken) {
        let who = Who::default();
        let address = self.url();
        server.audit().record(&who, Event::Listen { address });
        let connections = TaskTracker::new();
        tokio::select! {
            biased; // Stopping beats accepting.
            () = stop.cancelled() => {}
            () = self.unneeded(server, &connections) => {
                tracing::info!("nobody needs the executor in the background any more");
            }
            () = self.accept_all(server, &connections, stop) => {}
            never = server.reap() => match never {},
        }
        // Nobody finds us any more, and who was quick finds nobody and begins anew.
        if let Ok(_lock) = self.folder.lock().await {
            self.listener.remove();
        }
        connections.close();
        connections.wait().await;
    }

    async fn accept_all(
        &self,
        server: &Arc<Server>,
        connections: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let principal: Arc<str> = os::user_name_of_sockets().into();
        let mut number = 0;
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            number += 1;
            let who = Who {
                conn: Some(number),
                principal: Some(Arc::clone(&principal)),
                ..Who::default()
            };
            server.audit().record(&who, Event::Connect);
            let (server, stop) = (Arc::clone(server), stop.clone());
            let greeted = self.idle.is_some();
            let span = tracing::info_span!("connection", conn = number);
            let serving = async move {
                serve(stream, who, greeted, &server, &stop).await;
                drop(place);
            };
            connections.spawn(serving.instrument(span));
        }
    }

    /// Waits until there was neither a connection nor a session for long enough, if that matters.
    async fn unneeded(&self, server: &Server, connections: &TaskTracker) {
        let Some(idle) = self.idle else {
            return std::future::pending().await;
        };
        let mut since = Instant::now();
        let mut looks = tokio::time::interval(idle / LOOKS);
        loop {
            looks.tick().await;
            if !connections.is_empty() || server.sessions() > 0 {
                since = Instant::now();
            } else if since.elapsed() >= idle {
                return;
            }
        }
    }
}

async fn serve(
    mut stream: LocalStream,
    who: Who,
    greeted: bool,
    server: &Arc<Server>,
    stop: &CancellationToken,
) {
    let mut surroundings = Arc::clone(server.surroundings());
    if greeted {
        let heard = tokio::time::timeout(INITIALIZE_DEADLINE, Greeting::hear(&mut stream)).await;
        let greeting = match heard {
            Ok(Ok(greeting)) => greeting,
            Ok(Err(error)) => return tracing::debug!(%error, "no greeting"),
            Err(_) => return tracing::debug!("no greeting in time"),
        };
        let session = greeting.session.as_deref();
        let is_here = session.is_none_or(|session| server.has_session(session, &who));
        let answer = if is_here { KNOWN } else { UNKNOWN };
        if stream.write_u8(answer).await.is_err() || !is_here {
            return;
        }
        surroundings = Arc::new(surroundings.of_login(&greeting.cwd, greeting.variables));
    }
    let (from, to) = stream.into_split();
    let wire = Lines::new(from, to).with_signs(SILENCE_MAX);
    let patience = Some(INITIALIZE_DEADLINE);
    let serving = connection::serve_in(surroundings, server, wire, who, patience, stop);
    let (end, _wire) = serving.await;
    tracing::info!(%end, "connection ended");
}
