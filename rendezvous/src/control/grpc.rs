//! The gRPC door: its listener, and the way to one.
//!
//! It has a listener of its own, on loopback unless it speaks TLS. Every call shows an admin token;
//! the health service (`grpc.health.v1`) asks for none and tells nothing else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::server::{TcpConnectInfo, TcpIncoming, TlsConnectInfo};
use tonic::transport::{
    Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
};
use tonic::{Request, Response, Status};

use super::generated::admin_client::AdminClient;
use super::generated::admin_server::{Admin, AdminServer};
use super::{Control, ControlError, Who, follow, generated as wire};
use crate::auth::authenticate;
use crate::node::Node;

/// A request, in bytes: several times the longest policy that makes sense.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(10);

/// Calls of one connection at once; the others wait.
const CALLS_MAX: u32 = 32;

/// How often it is looked whether the node is well.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// How often a connection is asked for a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Where calls show who makes them.
const AUTHORIZATION: &str = "authorization";

/// Why the door is not open.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// The address.
    #[error("failed to listen on {address} for gRPC: {source}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Plain beyond loopback.
    #[error(
        "--grpc {0}: refused, because admin tokens would cross the network readable. Use \
         127.0.0.1:PORT, or name a certificate and a key with --grpc-tls-cert and --grpc-tls-key"
    )]
    Plaintext(SocketAddr),
    /// TLS, the connection or the library.
    #[error("gRPC: {0}")]
    Transport(String),
    /// The token.
    #[error("the admin token holds characters that no header may carry")]
    Token,
}

impl From<tonic::transport::Error> for GrpcError {
    fn from(error: tonic::transport::Error) -> GrpcError {
        // Its own text leaves out what was wrong.
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        GrpcError::Transport(text)
    }
}

/// A certificate chain and its key, in PEM.
pub type Pem = (Vec<u8>, Vec<u8>);

/// A bound listener.
pub struct GrpcServer {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Pem>,
}

impl std::fmt::Debug for GrpcServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the key.
        write!(f, "GrpcServer({})", self.address)
    }
}

impl GrpcServer {
    /// Binds.
    pub async fn bind(address: SocketAddr, tls: Option<Pem>) -> Result<GrpcServer, GrpcError> {
        if tls.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(GrpcError::Plaintext(address));
        }
        let fail = |source| GrpcError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(GrpcServer {
            listener,
            address,
            tls,
        })
    }

    /// Where it listens, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`.
    pub async fn serve(self, node: Arc<Node>, stop: CancellationToken) -> Result<(), GrpcError> {
        let control = Control::of_node(Arc::clone(&node.store), Arc::clone(&node.bus));
        let door = Door {
            control,
            node: Arc::clone(&node),
        };
        let admin = AdminServer::new(door).max_decoding_message_size(REQUEST_BYTES_MAX);
        let (reporter, health) = tonic_health::server::health_reporter();
        let mut server = Server::builder()
            .timeout(CALL_MAX)
            // So that a follower who is gone gives its place back.
            .http2_keepalive_interval(Some(SIGN_OF_LIFE))
            .max_concurrent_streams(CALLS_MAX)
            .tcp_nodelay(true);
        if let Some((certificate, key)) = self.tls {
            let identity = Identity::from_pem(certificate, key);
            server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
        }
        let serving = server
            .add_service(health)
            .add_service(admin)
            .serve_with_incoming_shutdown(
                TcpIncoming::from(self.listener),
                stop.clone().cancelled_owned(),
            );
        let reporting = async {
            let mut ticks = tokio::time::interval(HEALTH_INTERVAL);
            loop {
                ticks.tick().await;
                match node.store.changes().await {
                    Ok(_) => reporter.set_serving::<AdminServer<Door>>().await,
                    Err(_) => reporter.set_not_serving::<AdminServer<Door>>().await,
                }
            }
        };
        tokio::select! {
            served = serving => Ok(served?),
            never = reporting => never,
        }
    }
}

/// What is behind the listener.
#[derive(Debug)]
struct Door {
    control: Control,
    node: Arc<Node>,
}

impl Door {
    async fn who<T>(&self, request: &Request<T>) -> Result<Who, Status> {
        self.caller(request).await.map(|(who, _)| who)
    }

    /// Who calls, and the name of the credential that says so.
    async fn caller<T>(&self, request: &Request<T>) -> Result<(Who, String), Status> {
        let shown = request.metadata().get(AUTHORIZATION);
        let bearer = shown
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let credential = authenticate(&self.node, bearer, address(request)).await;
        let caller = credential.map(|credential| Some((Who::of(&credential)?, credential.kid)));
        match caller {
            Ok(Some(caller)) => Ok(caller),
            Ok(None) => Err(Status::unauthenticated("the credential is no admin token")),
            Err(refused) => Err(Status::unauthenticated(refused.message())),
        }
    }
}

fn address<T>(request: &Request<T>) -> IpAddr {
    let extensions = request.extensions();
    let plain = extensions.get::<TcpConnectInfo>();
    let info = plain.or_else(|| {
        let tls = extensions.get::<TlsConnectInfo<TcpConnectInfo>>();
        tls.map(TlsConnectInfo::get_ref)
    });
    let peer = info.and_then(TcpConnectInfo::remote_addr);
    peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip())
}

impl From<ControlError> for Status {
    fn from(error: ControlError) -> Status {
        match error {
            ControlError::Unknown(_) => Status::not_found(error.to_string()),
            ControlError::Followers => Status::resource_exhausted(error.to_string()),
            ControlError::Two => Status::failed_precondition(error.to_string()),
            ControlError::Invalid(_) => Status::invalid_argument(error.to_string()),
            ControlError::Store(_) | ControlError::Randomness => {
                tracing::error!(%error, "an admin call failed");
                Status::unavailable("the service cannot answer right now")
            }
        }
    }
}

/// What a follower hears.
type Events = BoxStream<'static, Result<wire::Event, Status>>;

macro_rules! calls {
    ($($name:ident: $request:ident => $response:ident,)*) => {
        #[tonic::async_trait]
        impl Admin for Door {
            $(async fn $name(
                &self,
                request: Request<wire::$request>,
            ) -> Result<Response<wire::$response>, Status> {
                let who = self.who(&request).await?;
                Ok(Response::new(self.control.$name(&who, request.into_inner()).await?))
            })*

            type WatchEventsStream = Events;

            async fn watch_events(
                &self,
                request: Request<wire::EnvironmentRef>,
            ) -> Result<Response<Events>, Status> {
                let (who, kid) = self.caller(&request).await?;
                let events = follow(&self.node, &who, kid, request.into_inner()).await?;
                Ok(Response::new(events.map(Ok).boxed()))
            }
        }
    };
}

calls! {
    list_environments: ListEnvironmentsRequest => ListEnvironmentsResponse,
    get_environment: EnvironmentRef => Environment,
    forget_environment: EnvironmentRef => ForgetEnvironmentResponse,
    get_policy: EnvironmentRef => Policy,
    set_policy: SetPolicyRequest => Policy,
    list_tokens: ListTokensRequest => ListTokensResponse,
    create_token: CreateTokenRequest => CreatedToken,
    revoke_token: TokenRef => Token,
    rotate_token: RotateTokenRequest => CreatedToken,
    create_enrolment: CreateEnrolmentRequest => CreatedEnrolment,
    rotate_url_key: RotateUrlKeyRequest => RotateUrlKeyResponse,
}

/// A node somewhere, and what it is shown.
#[derive(Clone, Debug)]
pub struct Remote {
    pub(crate) client: AdminClient<Channel>,
    bearer: MetadataValue<Ascii>,
}

impl Remote {
    /// What happens to an environment, first how it is, as it happens.
    pub async fn watch_events(
        &self,
        environment: wire::EnvironmentRef,
    ) -> Result<tonic::Streaming<wire::Event>, Status> {
        let request = self.request(environment);
        let watched = self.client.clone().watch_events(request).await;
        watched.map(Response::into_inner)
    }

    /// A call with what it is shown.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = self.bearer.clone();
        request.metadata_mut().insert(AUTHORIZATION, bearer);
        request
    }
}

/// Reaches the node at `url`: `http://127.0.0.1:PORT`, or https with the certificate of who signed
/// its own.
pub async fn connect(url: &str, token: &str, ca: Option<Vec<u8>>) -> Result<Remote, GrpcError> {
    let mut endpoint = Endpoint::from_shared(url.to_owned())?
        .timeout(CALL_MAX)
        .connect_timeout(CALL_MAX);
    if let Some(ca) = ca {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        endpoint = endpoint.tls_config(tls)?;
    }
    let mut bearer: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .map_err(|_| GrpcError::Token)?;
    bearer.set_sensitive(true);
    Ok(Remote {
        client: AdminClient::new(endpoint.connect().await?),
        bearer,
    })
}
