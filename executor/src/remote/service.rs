//! Registering, and staying.
//!
//! ```text
//!   register ──▶ websocket ──▶ link ──▶ stream: handshake, validate ──▶ connection, as any other
//!      ▲             │          │
//!      │ 4xx         │ lost     └─ one task each; the websocket is shared
//!      └─────────────┴── pause
//! ```
//!
//! Who runs the rendezvous can withhold service and no more: it cannot read what passes, and with
//! `--allow-harness-key` it cannot let anybody in (`rendezvous` section C5).

mod credential;
mod enrolled;
mod identity;
mod link;
mod registry;
mod renewal;
mod share;
mod stream;
mod welcome;

use std::sync::Arc;
use std::time::Duration;

use farstep_protocol::noise::Identity;
use farstep_protocol::relay::registry::{ALTERNATE_URLS_MAX, Registered};
use farstep_transport::PaddingWish;
use farstep_transport::websocket::Notice;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use credential::CredentialError;
pub(crate) use credential::fits_a_header;
pub use identity::IdentityFileError;
pub use registry::RegisterError;
pub use welcome::WelcomeError;

use super::{CREDENTIAL_VARIABLES, CredentialSource, Settings};
use crate::os;
use crate::pause::Pauses;
use crate::server::Server;
use credential::Credentials;
use identity::Kept;
use registry::{Dialled, Registry};
use welcome::Welcome;

/// A link that lived this long was healthy: the next pause is short again.
const HEALTHY: Duration = Duration::from_secs(10);

/// The longest pause while somebody may be waiting to resume a session: with the time it takes to
/// dial and shake hands, it is driven again within 5 s.
const AWAITED_MAX: Duration = Duration::from_secs(4);

/// For how long a relay that said that it restarts is dialled again and again without longer pauses.
const RESTART_MAX: Duration = Duration::from_secs(180);

/// Why an executor cannot be reached any more.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// There is no credential.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// There is no key.
    #[error(transparent)]
    Identity(#[from] IdentityFileError),
    /// There is no list of orchestrators.
    #[error(transparent)]
    Welcome(#[from] WelcomeError),
    /// The registry does not want us, and asking again would not help.
    #[error(transparent)]
    Register(#[from] RegisterError),
}

/// A registered executor, or one that is about to be.
#[derive(Debug)]
pub struct Remote {
    registry: Registry,
    identity: Kept,
    welcome: Arc<Welcome>,
    settings: Settings,
}

/// What every stream of a link needs.
#[derive(Debug)]
struct Context {
    server: Arc<Server>,
    registry: Registry,
    identity: Identity,
    environment: String,
    registration: String,
    welcome: Arc<Welcome>,
    padding: PaddingWish,
}

impl Remote {
    /// Takes up the credential and the identity. `variable` reads one of this process.
    pub async fn prepare(
        settings: &Settings,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Remote, RemoteError> {
        let state = os::state_folder();
        let identity = identity::take_up(settings, state.as_deref())?;
        let welcome = Welcome::take_up(settings)?;
        let credentials = Credentials::take_up(settings, state.as_deref(), variable).await?;
        Ok(Remote {
            welcome: Arc::new(welcome),
            registry: Registry::new(settings, credentials),
            identity,
            settings: settings.clone(),
        })
    }

    /// What orchestrators may pin.
    pub fn fingerprint(&self) -> String {
        self.identity.identity.public().fingerprint()
    }

    /// Serves until `stop`, or until nothing more can come of it. `registered` is called once.
    pub async fn serve(
        self,
        server: &Arc<Server>,
        stop: &CancellationToken,
        registered: impl FnOnce(),
    ) -> Result<(), RemoteError> {
        let credentials = self.registry.credentials().clone();
        tokio::select! {
            biased; // Stopping beats everything.
            () = stop.cancelled() => Ok(()),
            ended = credentials.ended() => Ok(ended?),
            never = server.reap() => match never {},
            failed = self.stay(server, stop, registered) => Err(failed?),
        }
    }

    async fn stay(
        &self,
        server: &Arc<Server>,
        stop: &CancellationToken,
        registered: impl FnOnce(),
    ) -> Result<RemoteError, RemoteError> {
        let mut registered = Some(registered);
        let mut pauses = Pauses::default();
        let key = self.identity.identity.public();
        let mut previous = None;
        loop {
            let registration = self.registry.register(key, previous.take()).await?;
            previous = Some(registration.executor_registration_id.clone());
            if let Some(registered) = registered.take() {
                registered();
            }
            tracing::info!(env = self.settings.environment, "registered");
            let context = self.context(server, &registration);
            tokio::select! {
                () = self.keep_linked(&context, &registration, &mut pauses, stop) => {}
                never = renewal::keep(&self.registry, key, registration.rotate_after) => match never {},
            }
            // A new registration is wanted at once; its websocket is dialled after a pause.
            pauses.wait(self.longest(server)).await;
        }
    }

    fn context(&self, server: &Arc<Server>, registration: &Registered) -> Arc<Context> {
        Arc::new(Context {
            server: Arc::clone(server),
            registry: self.registry.clone(),
            identity: self.identity.identity.clone(),
            environment: self.settings.environment.clone(),
            registration: registration.executor_registration_id.clone(),
            welcome: Arc::clone(&self.welcome),
            padding: self.settings.padding,
        })
    }

    /// Keeps a websocket at the relay until it wants a new registration.
    async fn keep_linked(
        &self,
        context: &Arc<Context>,
        registration: &Registered,
        pauses: &mut Pauses,
        stop: &CancellationToken,
    ) {
        // A relay that said that it would go is nobody's trouble, for a while.
        let mut expected_until = None;
        loop {
            match dial(registration).await {
                Ok((socket, notice)) => {
                    tracing::info!("connected to the relay");
                    let began = Instant::now();
                    let end = link::serve(context, socket, stop).await;
                    tracing::warn!(%end, "the connection to the relay ended");
                    if began.elapsed() >= HEALTHY {
                        pauses.reset();
                    }
                    if notice.came() {
                        expected_until = Some(Instant::now() + RESTART_MAX);
                        continue;
                    }
                    expected_until = None;
                }
                Err(Dialled::Unwanted { status }) => {
                    tracing::info!(status, "the relay wants a new registration");
                    return;
                }
                Err(error) => tracing::warn!(%error, "the relay is not reached"),
            }
            if expected_until.is_some_and(|until| Instant::now() < until) {
                pauses.reset();
            }
            pauses.wait(self.longest(&context.server)).await;
        }
    }

    /// Nobody waits long for a session that can be resumed.
    fn longest(&self, server: &Server) -> Option<Duration> {
        (server.sessions() > 0).then_some(AWAITED_MAX)
    }
}

#[cfg(test)]
mod tests;

/// Opens the websocket at the relay, at the first of its URLs that is reached. A relay that answers is
/// the relay, whatever it says.
async fn dial(registration: &Registered) -> Result<(link::Websocket, Notice), Dialled> {
    let Registered { url, features, .. } = registration;
    let mut dialled = registry::dial(url, features).await;
    for other in registration.alternate_urls.iter().take(ALTERNATE_URLS_MAX) {
        let Err(error @ Dialled::Away(_)) = &dialled else {
            break;
        };
        tracing::info!(%error, "the relay is tried under another of its URLs");
        dialled = registry::dial(other, features).await;
    }
    dialled
}
