//! Executors without an open port: through a registry and a relay that cannot read.
//!
//! ```text
//!   connect (our key) ─▶ bundle: websocket, executor's key, authorization
//!   pin ─▶ websocket ─▶ resume, handshake ─▶ encrypted stream
//! ```
//!
//! A bundle is good for one connection, so each attempt fetches its own. Whom we talk to is decided
//! by a key: the pinned one, or the one that was met first, by whatever run.

mod first;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use farstep_protocol::noise::{Binding, Channel, HandshakeError, Identity, Initiator};
use farstep_protocol::relay::attest::{AttestationError, Attested, TenantPublic};
use farstep_protocol::relay::registry::{Bundle, Connect, Refusal, route};
use farstep_protocol::relay::{Frame, Kind};
use farstep_transport::PaddingWish;
use farstep_transport::relay::{Sealed, post};
use farstep_transport::websocket::{Binary, Options};
use futures_util::future::BoxFuture;
use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderMap;
use secrecy::ExposeSecret as _;
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

use super::error::Step;
use super::socket::Socket;
use super::websocket::memory_error;
use super::{
    ConnectError, Dial, Fact, Hop, Leg, Passage, Reached, Redial, Target, Tasks, Trail, attach,
    secret,
};
use crate::client::Executor;
use crate::known::{KeyKind, Met as Acquainted};

type Wire = Sealed<Binary<Socket>>;

/// How long the registry and the executor may take to answer when a session is taken up again, beside
/// the time for connecting: the registry waits a while for an executor that is just coming back.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// A text of a registry, shown to people, in characters.
const SHOWN_MAX: usize = 512;

/// An executor behind a rendezvous.
#[derive(Debug)]
pub(crate) struct Rendezvous {
    pub(crate) target: Arc<Meeting>,
    /// For the handshake behind it.
    pub(crate) initialize_timeout: Duration,
}

/// Where to meet whom.
#[derive(Debug)]
pub(crate) struct Meeting {
    /// The registry, and how it is reached.
    pub(crate) registry: Target,
    /// What the rendezvous calls the environment.
    pub(crate) environment: String,
    /// The fingerprint of the one executor that is believed.
    pub(crate) executor_key: Option<String>,
    /// The tenant's key, which has to have signed for the executor's.
    pub(crate) attestation_key: Option<TenantPublic>,
    /// Where our own key is kept.
    pub(crate) identity_file: Option<PathBuf>,
    /// Whether the relay is not to see how much is said.
    pub(crate) padding: bool,
    pub(crate) met: Met,
}

/// What was learned with the first connection.
#[derive(Debug, Default)]
pub(crate) struct Met {
    identity: OnceCell<Identity>,
}

impl Dial for Rendezvous {
    fn dial<'a>(
        &'a self,
        tasks: &'a Tasks,
        trail: &'a mut Trail,
    ) -> BoxFuture<'a, Result<Executor, ConnectError>> {
        Box::pin(async move {
            let (wire, key) = self.target.reach_patiently(tasks.once, trail).await?;
            let way_back: Arc<dyn Redial<Wire>> = Arc::new(WayBack {
                meeting: Arc::clone(&self.target),
                key,
            });
            let limit = self.initialize_timeout;
            attach(wire, None, limit, tasks, trail, Some(way_back)).await
        })
    }

    fn open<'a>(&'a self, trail: &'a mut Trail) -> BoxFuture<'a, Result<Passage, ConnectError>> {
        Box::pin(async move {
            let (wire, _) = self.target.reach(None, trail).await?;
            Ok(Passage {
                wire: Box::new(wire),
                child: None,
            })
        })
    }

    fn label(&self) -> String {
        let Meeting {
            registry,
            environment,
            ..
        } = &*self.target;
        format!("{} at {}", environment, registry.url)
    }
}

/// The way to another connection of a session, which only the executor has that opened it.
struct WayBack {
    meeting: Arc<Meeting>,
    /// Its fingerprint.
    key: String,
}

impl Redial<Wire> for WayBack {
    fn redial<'a>(
        &'a self,
        trail: &'a mut Trail,
    ) -> BoxFuture<'a, Result<Reached<Wire>, ConnectError>> {
        Box::pin(async move {
            let (wire, _) = self.meeting.reach(Some(&self.key), trail).await?;
            Ok((wire, None))
        })
    }
}

impl Meeting {
    /// A stream, and the fingerprint of who is at its other end: of `before`, if somebody is named.
    async fn reach(
        &self,
        before: Option<&str>,
        trail: &mut Trail,
    ) -> Result<(Wire, String), ConnectError> {
        let after = self.registry.connect_timeout + ANSWER_MAX;
        let met = tokio::time::timeout(after, self.meet(before, None, trail)).await;
        met.unwrap_or_else(|_| {
            Err(ConnectError::TimedOut {
                url: self.registry.url.clone(),
                after,
                hop: trail.under_way(),
            })
        })
    }

    /// The same without a limit. `hold` is for how many seconds the registry is to wait for an executor
    /// that is away, if not for as long as it likes.
    async fn meet(
        &self,
        before: Option<&str>,
        hold: Option<u64>,
        trail: &mut Trail,
    ) -> Result<(Wire, String), ConnectError> {
        trail.begin(Hop::Secrets);
        let bearer = self.registry.bearer.resolve().await;
        let bearer = bearer.map_err(|error| ConnectError::Secret {
            reason: error.to_string(),
        })?;
        let bearer = bearer.ok_or_else(|| ConnectError::Secret {
            reason: "a rendezvous needs one; write farstep.auth.bearer = { env = \"NAME\" }"
                .to_owned(),
        })?;
        let identity = self.met.identity.get_or_try_init(|| self.identity());
        let identity = identity.await?;
        trail.pass(None);
        trail.on(Leg::Registry);
        let bundle = self.bundle(identity, bearer.expose_secret(), hold, trail);
        let bundle = bundle.await?;
        trail.on(Leg::Whole);
        trail.begin(Hop::Key);
        let key = bundle.executor_public_key.fingerprint();
        if before.is_some_and(|before| before != key) {
            return Err(self.distrusted(
                "the executor's key changed while its session was to be taken up again".to_owned(),
                "the next use begins anew, with whoever is there and may be".to_owned(),
            ));
        }
        self.believe(&bundle, &key).await?;
        trail.pass(Some(Fact::Key(key.clone())));
        trail.on(Leg::Relay);
        let relay = Target {
            url: bundle.url.clone(),
            ..self.registry.bare()
        };
        let websocket = relay.open(HeaderMap::new(), Options::relay(), trail).await;
        let websocket = websocket.map_err(|error| self.at_the_relay(error))?;
        let mut frames = Binary::from(websocket);
        trail.on(Leg::Whole);
        trail.begin(Hop::Noise);
        let stream = Uuid::new_v4().to_string();
        let channel = self.shake(identity, &bundle, &stream, &mut frames).await?;
        trail.pass(None);
        let wish = match self.padding {
            true => PaddingWish::Always,
            false => PaddingWish::IfAsked,
        };
        Ok((Sealed::new(frames, stream, channel).wishing(wish), key))
    }

    /// A URL is good for one connection, so what the relay says against it is no verdict.
    fn at_the_relay(&self, error: ConnectError) -> ConnectError {
        let (reason, status) = match error {
            ConnectError::Refused { reason, status, .. } => (reason, status),
            ConnectError::Unreachable { reason, .. } => (reason, None),
            other => return other,
        };
        let reason = format!("the relay: {reason}");
        self.failed(Step::Relay, reason, status, true)
    }

    /// Who we are: what the file says, or somebody new.
    async fn identity(&self) -> Result<Identity, ConnectError> {
        let Some(path) = &self.identity_file else {
            return Identity::generate().map_err(|error| secret_error(error.to_string()));
        };
        kept(path)
            .await
            .map_err(|reason| secret_error(format!("identity_file: {reason}")))
    }

    /// What one connection takes.
    async fn bundle(
        &self,
        identity: &Identity,
        bearer: &str,
        hold: Option<u64>,
        trail: &mut Trail,
    ) -> Result<Bundle, ConnectError> {
        let url = Url::parse(&self.registry.url);
        let url =
            url.map_err(|error| self.failed(Step::Registry, error.to_string(), None, false))?;
        let host = url.host_str().unwrap_or_default();
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let path = url.path().trim_end_matches('/');
        let path = format!("{path}{}", route(&self.environment, "connect"));
        let asked = Connect {
            harness_public_key: identity.public().clone(),
        };
        let body = serde_json::to_vec(&asked);
        let body =
            body.map_err(|error| self.failed(Step::Registry, error.to_string(), None, false))?;
        let socket = self.registry.socket(trail).await?;
        trail.begin(Hop::Registry);
        let wish = hold.map(|seconds| format!("wait={seconds}"));
        let header = wish.as_deref().map(|wish| ("prefer", wish));
        let posted = post(socket, &host, &path, bearer, header, body).await;
        let posted =
            posted.map_err(|error| self.failed(Step::Registry, error.to_string(), None, true))?;
        if posted.status != 200 {
            let may_pass = matches!(posted.status, 408 | 429 | 500..);
            let said = said(&posted.body);
            let mut error = self.failed(Step::Registry, said, Some(posted.status), may_pass);
            if let ConnectError::Rendezvous {
                retry_after, held, ..
            } = &mut error
            {
                *held = wish.is_some() && posted.followed == wish;
                *retry_after = posted
                    .retry_after
                    .map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
            }
            return Err(error);
        }
        let wrong = |reason: String| {
            self.failed(
                Step::Registry,
                format!("it is no registry: {reason}"),
                None,
                false,
            )
        };
        let bundle: Bundle =
            serde_json::from_slice(&posted.body).map_err(|error| wrong(error.to_string()))?;
        bundle
            .check(&self.environment)
            .map_err(|error| wrong(error.to_string()))?;
        trail.pass(Some(Fact::Status(posted.status)));
        Ok(bundle)
    }

    /// Whether it is the executor we want, before a byte goes there.
    async fn believe(&self, bundle: &Bundle, found: &str) -> Result<(), ConnectError> {
        if let Some(tenant) = &self.attestation_key {
            self.attested(tenant, bundle, found)?;
        }
        match &self.executor_key {
            Some(expected) if expected == found => return Ok(()),
            Some(expected) => {
                return Err(self.distrusted(
                    format!("the executor's key is {found}, and {expected} was expected"),
                    format!(
                        "ask whoever runs it; if its key was changed, write `executor_key = \
                         \"{found}\"` in its `farstep` table"
                    ),
                ));
            }
            // Somebody who is trusted vouches for it, today and for the next key.
            None if self.attestation_key.is_some() => return Ok(()),
            None => {}
        }
        let acquaintance = &self.registry.acquaintance;
        let place = format!("{} at {}", self.environment, self.registry.url);
        let met = acquaintance.meet(KeyKind::Noise, place, found.to_owned());
        match met.await.map_err(memory_error)? {
            Acquainted::Same => Ok(()),
            Acquainted::New => {
                tracing::warn!(
                    env = self.environment,
                    key = found,
                    "the executor's key is believed because it is the first; pin it with executor_key"
                );
                Ok(())
            }
            Acquainted::Other(before) => Err(self.distrusted(
                format!(
                    "the executor's key is {found}, and the first time it was {}",
                    before.key
                ),
                acquaintance.remedy(),
            )),
        }
    }

    /// Whether the tenant signed for this executor.
    fn attested(
        &self,
        tenant: &TenantPublic,
        bundle: &Bundle,
        found: &str,
    ) -> Result<(), ConnectError> {
        const RENEW: &str =
            "have the tenant's key sign for this executor anew, and start it with that";
        let Some(statement) = &bundle.key_attestation else {
            return Err(self.distrusted(
                format!("nobody signed for the executor's key {found}, and `attestation_key` asks for it"),
                RENEW.to_owned(),
            ));
        };
        let attested = Attested {
            environment: &self.environment,
            fingerprint: found,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
        let verified = tenant.verify(attested, statement, now);
        verified.map_err(|error| {
            let reason = format!("the attestation of the executor's key {found}: {error}");
            let remedy = match error {
                AttestationError::Expired { .. } => {
                    format!("{RENEW}; or set the clock that is wrong")
                }
                _ => format!("see that `attestation_key` is the tenant's; {RENEW}"),
            };
            self.distrusted(reason, remedy)
        })
    }

    async fn shake(
        &self,
        identity: &Identity,
        bundle: &Bundle,
        stream: &str,
        frames: &mut Binary<Socket>,
    ) -> Result<Channel, ConnectError> {
        let binding = Binding {
            environment: &self.environment,
            registration: &bundle.executor_registration_id,
            stream,
        };
        let (initiator, first) = Initiator::start(
            identity,
            &bundle.executor_public_key,
            &binding,
            &bundle.harness_key_authorization,
        )
        .map_err(|error| self.failed(Step::Registry, error.to_string(), None, false))?;
        let lost = |reason: String| self.failed(Step::Executor, reason, None, true);
        for kind in [Kind::Resume { next_seq: 0 }, Kind::Handshake(first)] {
            let frame = Frame {
                stream: stream.to_owned(),
                kind,
            };
            let sent = frames.send(frame.encode()).await;
            sent.map_err(|error| lost(error.to_string()))?;
        }
        loop {
            let bytes = match frames.next().await {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => return Err(lost(error.to_string())),
                None => return Err(lost("the relay closed the connection".to_owned())),
            };
            let Ok(frame) = Frame::decode(bytes) else {
                continue;
            };
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                Kind::Handshake(second) => {
                    return initiator.finish(&second).map_err(|error| {
                        let may_pass = error != HandshakeError::Rejected;
                        self.failed(Step::Executor, error.to_string(), None, may_pass)
                    });
                }
                Kind::Reset { reason } => {
                    return Err(lost(format!("the executor did not let us in: {reason}")));
                }
                _ => {}
            }
        }
    }

    fn distrusted(&self, reason: String, remedy: String) -> ConnectError {
        ConnectError::Distrusted {
            url: self.registry.url.clone(),
            reason,
            remedy,
        }
    }

    fn failed(
        &self,
        step: Step,
        reason: String,
        status: Option<u16>,
        may_pass: bool,
    ) -> ConnectError {
        ConnectError::Rendezvous {
            url: self.registry.url.clone(),
            environment: self.environment.as_str().into(),
            step,
            reason,
            status,
            may_pass,
            retry_after: None,
            held: false,
            within: None,
        }
    }
}

fn secret_error(reason: String) -> ConnectError {
    ConnectError::Secret { reason }
}

/// Reads the key, or makes it.
async fn kept(path: &Path) -> Result<Identity, String> {
    match secret::from_file(path).await {
        Ok(bytes) => Identity::from_bytes(&bytes)
            .map_err(|_| format!("{} holds no key of ours", path.display())),
        Err(secret::SecretError::File { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            let identity = Identity::generate().map_err(|error| error.to_string())?;
            let written = keep(path, &identity);
            written.map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
            Ok(identity)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// A file nobody else reads, there whole or not at all.
fn keep(path: &Path, identity: &Identity) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Made readable by us alone.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let bytes = secrecy::zeroize::Zeroizing::new(identity.to_bytes());
    file.write_all(&bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)
        .map(drop)
        .map_err(|error| error.error)
}

/// What a refusal says in words.
fn said(body: &[u8]) -> String {
    let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
    let text = match refusal {
        Some(refusal) => refusal.error.message,
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let legal = |character: &char| !character.is_control();
    text.chars().filter(legal).take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_made_once_and_kept_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("our.key");
        let made = kept(&path).await.unwrap();
        let again = kept(&path).await.unwrap();
        assert_eq!(made.public(), again.public());
        std::fs::write(&path, "something else").unwrap();
        let refused = kept(&path).await.unwrap_err();
        assert!(refused.contains("no key of ours"), "{refused}");
    }
}
