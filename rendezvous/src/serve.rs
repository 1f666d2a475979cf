//! A node that listens.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;
use tracing::Instrument as _;

use crate::api;
use crate::node::Node;
use crate::tls::Tls;
use crate::trace;

/// How long what is under way may take when the node stops. Links are told at once; requests take
/// milliseconds, except those that wait for an executor.
const STOP_MAX: Duration = Duration::from_secs(3);

/// How long a peer may take for TLS, and for the head of each request. A connection without a
/// request is closed after so long too.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// What a request's line and headers may take, in bytes: a credential and a signed URL are below
/// one kilobyte.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Connections at once that speak HTTP. Websockets are not among them; the next wait in the backlog.
const REQUESTS_MAX: usize = 16 * 1024;

/// What the kernel may hold unsent of a websocket, in bytes: two records, so that a fast stream
/// keeps it busy. Below it no frame can overtake another any more.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// How long we leave the backlog alone when accepting fails, for instance without descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a node does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// Binds; connections wait in the backlog until [`Server::serve`].
    pub async fn bind(address: SocketAddr) -> Result<Server, ServeError> {
        let fail = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(Server {
            listener,
            address,
            tls: None,
        })
    }

    /// Has it speak TLS.
    #[must_use]
    pub fn secured(mut self, tls: Tls) -> Server {
        self.tls = Some(Arc::new(tls));
        self
    }

    /// Where it listens, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `node` until `stop`.
    pub async fn serve(self, node: Arc<Node>, stop: CancellationToken) -> Result<(), ServeError> {
        let requests = TaskTracker::new();
        tokio::select! {
            biased; // Stopping beats accepting.
            () = stop.cancelled() => {}
            () = node.watch() => {}
            () = node.keep_time() => {}
            () = self.accept_all(&node, &requests, &stop) => {}
        }
        drop(self);
        stop.cancel();
        node.stop();
        if let Err(error) = node.store.drop_lease(&node.id).await {
            tracing::warn!(%error, "the node's lease was not given back");
        }
        requests.close();
        node.served.close();
        // Whoever is left misses a farewell.
        let all = async { tokio::join!(requests.wait(), node.served.wait()) };
        let _ = timeout(STOP_MAX, all).await;
        Ok(())
    }

    async fn accept_all(&self, node: &Arc<Node>, requests: &TaskTracker, stop: &CancellationToken) {
        let router: Router = api::router(Arc::clone(node));
        let places = Arc::new(Semaphore::new(REQUESTS_MAX));
        loop {
            // It is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let (tcp, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let accepted = Accepted {
                router: router.clone(),
                peer,
                stop: stop.clone(),
            };
            let tls = self.tls.clone();
            requests.spawn(async move {
                accepted.secure(tls, tcp).await;
                drop(place);
            });
        }
    }
}

fn set_up(tcp: &TcpStream) -> io::Result<()> {
    // Frames are small and answered at once; what the kernel holds back waits 40 ms.
    tcp.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    Ok(())
}

/// A connection that speaks HTTP, until it is a websocket.
struct Accepted {
    router: Router,
    peer: SocketAddr,
    stop: CancellationToken,
}

impl Accepted {
    async fn secure(self, tls: Option<Arc<Tls>>, tcp: TcpStream) {
        if let Err(error) = set_up(&tcp) {
            return tracing::debug!(%error, "the socket is gone already");
        }
        let Some(tls) = tls else {
            return self.serve(tcp).await;
        };
        match timeout(HEAD_MAX, tls.accept(tcp)).await {
            Ok(Ok(stream)) => Box::pin(self.serve(stream)).await,
            Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
            Err(_) => tracing::debug!("no TLS in time"),
        }
    }

    async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Accepted { router, peer, stop } = self;
        let service = service_fn(move |request: Request<Incoming>| {
            let mut router = router.clone();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let span = trace::span(&request);
            let answering = async move {
                let answer: Result<_, Infallible> = router.call(request).await;
                answer
            };
            answering.instrument(span)
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // In memory of its own, which a connection gives back once it is a websocket.
        let mut serving = Box::pin(serving);
        let served = tokio::select! {
            served = &mut serving => served,
            () = stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%error, "not a request");
        }
    }
}
