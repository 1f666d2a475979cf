//! What outlives a node: credentials, environments and their generations, what was given out once.
//!
//! [`Store`] is drawn so that several nodes can share one; [`Sqlite`] is the one for a single node.
//! Time arrives as an argument, in Unix seconds. No secret is kept, only its SHA-256, except the
//! keys that sign URLs.

mod sqlite;

use std::fmt;
use std::sync::Arc;

use farstep_protocol::relay::PublicKey;
use farstep_protocol::relay::registry::ExecutorInfo;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use sqlite::Sqlite;

/// SHA-256 of a secret.
pub type Digest = [u8; 32];

/// What a store's operation comes to.
pub type Stored<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// An environment of a tenant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvironmentKey {
    /// Who owns it.
    pub tenant: Arc<str>,
    /// Its id.
    pub id: Arc<str>,
}

impl EnvironmentKey {
    /// Of `tenant`.
    pub fn new(tenant: &str, id: &str) -> EnvironmentKey {
        EnvironmentKey {
            tenant: tenant.into(),
            id: id.into(),
        }
    }
}

impl fmt::Display for EnvironmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.id)
    }
}

impl fmt::Debug for EnvironmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a credential is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// Registers and validates.
    Executor,
    /// Connects.
    Harness,
    /// Administers what belongs to its tenant.
    Admin,
}

impl CredentialKind {
    /// All of them.
    pub const ALL: [CredentialKind; 3] = [
        CredentialKind::Executor,
        CredentialKind::Harness,
        CredentialKind::Admin,
    ];

    /// As it is kept and shown.
    pub fn name(self) -> &'static str {
        match self {
            CredentialKind::Executor => "executor",
            CredentialKind::Harness => "harness",
            CredentialKind::Admin => "admin",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<CredentialKind> {
        CredentialKind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// The tenant of admin tokens that are the operator's.
pub const OPERATOR: &str = "*";

/// A credential as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Names it everywhere, and is no secret.
    pub kid: String,
    /// Whose it is.
    pub tenant: String,
    /// What it is for.
    pub kind: CredentialKind,
    /// An environment's id, or the beginning of one and `*`.
    pub scope: String,
    /// Of its secret part.
    pub digest: Digest,
    /// When it was made.
    pub created_at: i64,
    /// From when on it counts no more.
    pub expires_at: Option<i64>,
    /// When it was taken back.
    pub revoked_at: Option<i64>,
    /// The first of those that were made of each other by rotation; its own name if it was not.
    pub subject: String,
    /// When it was shown for the first time.
    pub used_at: Option<i64>,
    /// Names a token of an identity provider, beside its subject.
    pub token_id: Option<String>,
    /// Whether it came of a code, and so belongs to one executor, which may renew it.
    pub renews: bool,
    /// Whom it was made of by its executor, and which ends when this one registers.
    pub former: Option<String>,
}

impl Credential {
    /// Whether it counts at `now`.
    pub fn is_valid(&self, now: i64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|until| now < until)
    }

    /// What is known of it when it is gone.
    pub(crate) fn shown(&self) -> Shown {
        Shown {
            tenant: self.tenant.clone(),
            kid: self.kid.clone(),
            token_id: self.token_id.clone(),
            ends_at: self.expires_at,
        }
    }

    /// Whether it is for the environment.
    pub fn covers(&self, environment: &EnvironmentKey) -> bool {
        *self.tenant == *environment.tenant && in_scope(&self.scope, &environment.id)
    }
}

/// What somebody showed who has a stream, and by which it could be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Whose it is.
    pub tenant: String,
    /// Names the credential, or the subject of an identity provider's token.
    pub kid: String,
    /// Names that token.
    pub token_id: Option<String>,
    /// When it ends by itself, as far as was known.
    pub ends_at: Option<i64>,
}

impl Shown {
    /// Whether an identity provider vouches for it, and the store knows nothing of it.
    pub fn is_outside(&self) -> bool {
        is_outside(&self.kid)
    }
}

/// Whether a name is one of an identity provider's token: `jwt:ISSUER:SUBJECT` or `jti:ISSUER:ID`.
pub fn is_outside(name: &str) -> bool {
    name.starts_with("jwt:") || name.starts_with("jti:")
}

/// A token of an identity provider, or all of a subject, that a tenant took back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Who did.
    pub tenant: String,
    /// What.
    pub name: String,
    /// When.
    pub revoked_at: i64,
    /// When it is over, if ever.
    pub until: Option<i64>,
}

/// Whether an environment's id, or another scope, lies within a scope.
pub fn in_scope(scope: &str, id: &str) -> bool {
    match scope.strip_suffix('*') {
        Some(beginning) => id.starts_with(beginning),
        None => scope == id,
    }
}

/// Who may connect to an environment and be its executor. Empty lists are everybody with a
/// credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Fingerprints of orchestrators' keys.
    pub harness_keys: Vec<String>,
    /// Fingerprints of executors' keys.
    pub executor_keys: Vec<String>,
    /// Names of the credentials that may connect.
    pub credentials: Vec<String>,
    /// Streams at once.
    pub streams_max: Option<u32>,
}

impl Policy {
    /// Whether an orchestrator may connect.
    pub fn admits(&self, credential: &str, fingerprint: &str) -> bool {
        let listed =
            |list: &[String], name: &str| list.is_empty() || list.iter().any(|item| item == name);
        listed(&self.harness_keys, fingerprint) && listed(&self.credentials, credential)
    }

    /// Whether an executor may register.
    pub fn is_executor(&self, fingerprint: &str) -> bool {
        let keys = &self.executor_keys;
        keys.is_empty() || keys.iter().any(|key| key == fingerprint)
    }
}

/// What an enrolment code is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// Whose the executor will be.
    pub tenant: String,
    /// For which environments.
    pub scope: String,
    /// For how long its credential will count, in seconds; for ever, if absent.
    pub lifetime: Option<i64>,
}

/// An executor that wants to be reached.
#[derive(Clone, Debug)]
pub struct Registration {
    /// As what.
    pub environment: EnvironmentKey,
    /// Who it is.
    pub key: PublicKey,
    /// With which credential.
    pub kid: String,
    /// Environments a tenant may have.
    pub environments_max: u32,
    /// What it says of itself.
    pub info: ExecutorInfo,
    /// What its tenant signed about its key.
    pub attestation: Option<String>,
}

/// Where an environment is, as far as all nodes know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Of the executor that has it.
    pub generation: u64,
    /// Opaque to executors and orchestrators.
    pub registration: String,
    /// Who it is.
    pub key: PublicKey,
    /// With which credential it registered.
    pub kid: String,
    /// What its tenant signed about its key.
    pub attestation: Option<String>,
}

/// A node's word that it lives (`rendezvous` section C7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLease {
    /// Which one.
    pub id: String,
    /// Where other nodes reach it.
    pub address: String,
    /// Of its program.
    pub version: String,
    /// How many executors it has.
    pub executors: u32,
    /// Its word counts until then.
    pub until: i64,
}

/// One executor's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which executor.
    pub environment: EnvironmentKey,
    /// Of its registration.
    pub generation: u64,
    /// Where it came.
    pub node: String,
    /// Tells it from every other connection of the node's life; later ones are higher.
    pub connection: u64,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// When.
    pub at: i64,
    /// The code of the websocket.
    pub code: u16,
    /// Who ended it: `executor`, `rendezvous` or `network`.
    pub by: String,
    /// In words.
    pub reason: String,
}

/// What became of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterOutcome {
    /// It holds.
    Registered(Route),
    /// Another executor took the environment over, and this one stays out.
    Superseded,
    /// The tenant has as many environments as it may.
    Full,
}

/// What became of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotateOutcome {
    /// The successor counts. A former successor that nobody ever showed is taken back for it.
    Rotated,
    /// Another credential of the subject counts beside this one, and is in use.
    Two,
    /// It does not count any more.
    Gone,
}

/// What an orchestrator was given to show to an executor, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// For whom.
    pub environment: EnvironmentKey,
    /// For which registration.
    pub registration: String,
    /// Of the orchestrator's key.
    pub fingerprint: String,
    /// The credential it was given for.
    pub kid: String,
    /// From when on it is worth nothing.
    pub expires_at: i64,
}

/// What is known of an environment, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentState {
    /// Which one.
    pub environment: EnvironmentKey,
    /// Who serves it.
    pub fingerprint: String,
    /// How often it was taken over, and once more.
    pub generation: u64,
    /// When its executor registered last.
    pub registered_at: i64,
    /// What the executor says of itself.
    pub info: ExecutorInfo,
    /// Whether its tenant signed something about its key.
    pub is_attested: bool,
    /// The node that has it, if one that lives does.
    pub node: Option<String>,
    /// When it came last.
    pub online_at: Option<i64>,
    /// How its last connection ended, if it is away and that is known: a node that dies says
    /// nothing.
    pub closed: Option<Closed>,
    /// When and why it was last refused.
    pub rejected: Option<(i64, String)>,
}

impl EnvironmentState {
    /// Since when it is online, or away; `None` before it came for the first time.
    pub fn since(&self) -> Option<i64> {
        match (&self.node, &self.closed) {
            (None, Some(closed)) => Some(closed.at),
            _ => self.online_at,
        }
    }
}

/// A key that signs URLs.
#[derive(Clone)]
pub struct UrlKey {
    /// Stands in the URL.
    pub number: i64,
    /// Does not.
    pub secret: Vec<u8>,
}

impl fmt::Debug for UrlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UrlKey({})", self.number)
    }
}

/// The store failed. What the cause says is for logs alone.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// Its schema.
    #[error("the database could not be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// It holds what nobody wrote.
    #[error("the database holds a {0} that is none")]
    Content(&'static str),
}

/// What all nodes share.
pub trait Store: Send + Sync + fmt::Debug {
    /// The credential of that name.
    fn credential<'a>(&'a self, kid: &'a str) -> Stored<'a, Option<Credential>>;
    /// Those of a tenant, or all of them.
    fn credentials<'a>(&'a self, tenant: Option<&'a str>) -> Stored<'a, Vec<Credential>>;
    /// Keeps a new one.
    fn add_credential<'a>(&'a self, credential: &'a Credential) -> Stored<'a, ()>;
    /// Takes one back; of one that its executor renews, the whole subject. Says whether there was one in
    /// force.
    fn revoke<'a>(&'a self, kid: &'a str, now: i64) -> Stored<'a, bool>;
    /// Keeps that a token counts no more, in the place of what was said of it before; one that is over
    /// already is only forgotten. `false` when the tenant has as many as it may.
    fn deny<'a>(&'a self, denial: &'a Denial) -> Stored<'a, bool>;
    /// Whether something of that name counts no more.
    fn denied<'a>(&'a self, tenant: &'a str, name: &'a str, now: i64) -> Stored<'a, bool>;
    /// Those of a tenant, or all of them.
    fn denials<'a>(&'a self, tenant: Option<&'a str>, now: i64) -> Stored<'a, Vec<Denial>>;
    /// Ends a credential at `until`. Says whether there was one.
    fn expire<'a>(&'a self, kid: &'a str, until: i64) -> Stored<'a, bool>;
    /// Keeps the successor of a credential, which ends at `until`.
    fn rotate<'a>(
        &'a self,
        former: &'a str,
        until: i64,
        successor: &'a Credential,
        now: i64,
    ) -> Stored<'a, RotateOutcome>;
    /// A credential was shown.
    fn used<'a>(&'a self, kid: &'a str, now: i64) -> Stored<'a, ()>;

    /// Keeps the digest of a code.
    fn add_enrolment<'a>(
        &'a self,
        code: Digest,
        enrolment: &'a Enrolment,
        expires_at: i64,
    ) -> Stored<'a, ()>;
    /// What a code is worth; it is worth nothing from then on.
    fn take_enrolment(&self, code: Digest, now: i64) -> Stored<'_, Option<Enrolment>>;

    /// Makes an executor the one of its environment.
    fn register<'a>(
        &'a self,
        registration: &'a Registration,
        now: i64,
    ) -> Stored<'a, RegisterOutcome>;
    /// Who has the environment.
    fn route<'a>(&'a self, environment: &'a EnvironmentKey) -> Stored<'a, Option<Route>>;
    /// Whether an executor may be on its way to an environment that has none yet: a credential in
    /// force, or a code for one, names exactly it.
    fn is_expected<'a>(&'a self, environment: &'a EnvironmentKey, now: i64) -> Stored<'a, bool>;
    /// Forgets an environment and whom it superseded. Says whether there was one.
    fn forget<'a>(&'a self, environment: &'a EnvironmentKey) -> Stored<'a, bool>;
    /// Those of a tenant, or all of them.
    fn environments<'a>(
        &'a self,
        tenant: Option<&'a str>,
        now: i64,
    ) -> Stored<'a, Vec<EnvironmentState>>;
    /// What is known of one.
    fn environment<'a>(
        &'a self,
        environment: &'a EnvironmentKey,
        now: i64,
    ) -> Stored<'a, Option<EnvironmentState>>;
    /// How many environments of each tenant are away.
    fn away(&self, now: i64) -> Stored<'_, Vec<(String, u64)>>;
    /// Its executor came. Refused, which is `false`, when the generation is not the environment's
    /// any more, or when a later connection of the same node came before.
    fn came<'a>(&'a self, arrival: &'a Arrival, now: i64) -> Stored<'a, bool>;
    /// Its executor went. `false` when another connection has it since: then nothing changes.
    fn went<'a>(&'a self, arrival: &'a Arrival, closed: &'a Closed) -> Stored<'a, bool>;
    /// Its executor was refused.
    fn rejected<'a>(
        &'a self,
        environment: &'a EnvironmentKey,
        because: &'a str,
        now: i64,
    ) -> Stored<'a, ()>;

    /// A node lives until the time in its lease.
    fn hold_lease<'a>(&'a self, lease: &'a NodeLease) -> Stored<'a, ()>;
    /// A node ends, and with it what it had.
    fn drop_lease<'a>(&'a self, node: &'a str) -> Stored<'a, ()>;
    /// Nodes that live.
    fn leases(&self, now: i64) -> Stored<'_, Vec<NodeLease>>;

    /// Who may connect and register; everybody if nothing was said.
    fn policy<'a>(&'a self, environment: &'a EnvironmentKey) -> Stored<'a, Policy>;
    /// Replaces it.
    fn set_policy<'a>(
        &'a self,
        environment: &'a EnvironmentKey,
        policy: &'a Policy,
    ) -> Stored<'a, ()>;

    /// Keeps what a `connect` gave out: an authorization and, as a digest, the nonce of its URL, with
    /// what was shown for it.
    fn give_out<'a>(
        &'a self,
        digest: Digest,
        authorization: &'a Authorization,
        nonce: Digest,
        shown: &'a Shown,
    ) -> Stored<'a, ()>;
    /// An authorization; it is worth nothing from then on.
    fn take_authorization(&self, digest: Digest, now: i64) -> Stored<'_, Option<Authorization>>;
    /// What was shown for the nonce of a URL; it is worth nothing from then on.
    fn take_ticket(&self, nonce: Digest, now: i64) -> Stored<'_, Option<Shown>>;

    /// The keys that sign URLs, newest first, at most two.
    fn url_keys(&self) -> Stored<'_, Vec<UrlKey>>;
    /// Makes one the newest.
    fn add_url_key<'a>(&'a self, secret: &'a [u8], now: i64) -> Stored<'a, ()>;

    /// Grows with every revocation and takeover.
    fn changes(&self) -> Stored<'_, i64>;
    /// Lets go of what nobody can use any more.
    fn sweep(&self, now: i64) -> Stored<'_, ()>;
}
