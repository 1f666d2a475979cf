//! The `farstep` tables: our own keys, kept out of the way of everybody else's.
//!
//! Every field is optional, so that "not said" and "said to be the default" stay different: the
//! normalised form repeats what the file says, and a later default may change.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use farstep_path_uri::{Convention, PathUri};
use farstep_protocol::relay::attest::TenantPublic;

/// `[farstep]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopExtension {
    pub on_primary_failure: Option<OnPrimaryFailure>,
    pub hot_reload: Option<bool>,
    pub new_thread: Option<NewThread>,
    pub config_version: Option<u32>,
}

/// `[environments.farstep]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryExtension {
    pub os: Option<Os>,
    pub arch: Option<String>,
    /// Where commands start; without it, wherever the executor reports.
    pub cwd: Option<PathUri>,
    pub roots: Option<Vec<PathUri>>,
    pub permission_profile: Option<String>,
    pub labels: Option<BTreeMap<String, String>>,
    pub connect: Option<Connect>,
    pub required: Option<bool>,
    pub auth: Option<Auth>,
    pub tls: Option<Tls>,
    pub headers: Option<NamedValues>,
    pub proxy: Option<Proxy>,
    pub env: Option<EnvironmentVariables>,
    pub health: Option<Health>,
    pub restart: Option<Restart>,
    pub rendezvous: Option<RendezvousExtension>,
}

/// `rendezvous` of `[environments.farstep]`, and the keys that only count beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RendezvousExtension {
    /// The registry's URL, without a slash at the end.
    pub url: String,
    /// What the rendezvous calls the environment, when that is not the entry's id.
    pub environment: Option<String>,
    /// The fingerprint of the one executor that is believed.
    pub executor_key: Option<String>,
    /// The tenant's public key, which has to have signed for the executor's.
    pub attestation_key: Option<TenantPublic>,
    /// Where our own key is kept, joined with the configuration folder. Without it every process
    /// has a new one, which no executor can know.
    pub identity_file: Option<PathBuf>,
    /// Whether records are padded, so that the relay does not see how much is said.
    pub padding: Option<bool>,
}

impl EntryExtension {
    /// This, and from `under` what it does not say.
    pub(super) fn over(self, under: EntryExtension) -> EntryExtension {
        EntryExtension {
            os: self.os.or(under.os),
            arch: self.arch.or(under.arch),
            cwd: self.cwd.or(under.cwd),
            roots: self.roots.or(under.roots),
            permission_profile: self.permission_profile.or(under.permission_profile),
            labels: self.labels.or(under.labels),
            connect: self.connect.or(under.connect),
            required: self.required.or(under.required),
            auth: self.auth.or(under.auth),
            tls: self.tls.or(under.tls),
            headers: self.headers.or(under.headers),
            proxy: self.proxy.or(under.proxy),
            env: self.env.or(under.env),
            health: self.health.or(under.health),
            restart: self.restart.or(under.restart),
            rendezvous: self.rendezvous.or(under.rendezvous),
        }
    }
}

/// What may be done on a machine, by the names under which `permission_profile` knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Read everything, write nothing, no network.
    ReadOnly,
    /// Write below the workspace roots and in folders for temporary files as well.
    Workspace,
    /// Everything its user may.
    Full,
}

impl Profile {
    /// Every name that means one; the first of each is the one to write.
    pub(super) const NAMES: [(&'static str, Profile); 7] = [
        ("read-only", Profile::ReadOnly),
        (":read-only", Profile::ReadOnly),
        ("workspace-write", Profile::Workspace),
        (":workspace", Profile::Workspace),
        ("danger-full-access", Profile::Full),
        (":danger-full-access", Profile::Full),
        (":danger-no-sandbox", Profile::Full),
    ];

    pub fn named(name: &str) -> Option<Profile> {
        let known = Profile::NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, profile)| *profile)
    }

    /// The name to write.
    pub fn as_str(self) -> &'static str {
        let known = Profile::NAMES.iter().find(|(_, profile)| *profile == self);
        known.map_or("", |(name, _)| name)
    }
}

/// `[environments.farstep.auth]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    pub bearer: Option<SecretSource>,
}

/// Where a secret is read from on each connect. Never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The name of a variable of the orchestrator's process.
    Env(String),
    /// A file, joined with the configuration folder.
    File(PathBuf),
    /// A program and its arguments; its output is the secret.
    Command(Vec<String>),
}

/// `[environments.farstep.tls]`; files are joined with the configuration folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    pub ca_file: Option<PathBuf>,
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    pub server_name: Option<String>,
    pub pin_sha256: Option<Vec<String>>,
    pub trust: Option<Trust>,
}

/// `proxy` of `[environments.farstep]`: the way to a websocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Straight, whatever the variables say.
    Direct,
    /// Its URL, without user and password.
    Url(String),
    /// Where its URL is read from, which may hold a password.
    From(SecretSource),
}

/// `[environments.farstep.env]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentVariables {
    pub set: Option<NamedValues>,
    /// When present, a stdio child gets only these and `set`.
    pub pass: Option<Vec<String>>,
    pub unset: Option<Vec<String>>,
}

/// `[environments.farstep.health]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
}

/// `[environments.farstep.restart]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restart {
    pub policy: Option<RestartPolicy>,
    pub max_attempts: Option<u32>,
    /// Doubled with each attempt.
    pub backoff: Option<Duration>,
}

/// Texts by name. Its debug form shows the names alone, for any value may be a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NamedValues(pub BTreeMap<String, String>);

impl fmt::Debug for NamedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Os {
    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        self.word()
    }

    pub fn convention(self) -> Convention {
        match self {
            Os::Linux | Os::Macos => Convention::Posix,
            Os::Windows => Convention::Windows,
        }
    }
}

/// A closed set of words. One table feeds the reader, its complaints and the normalised form.
pub(super) trait Word: Copy + PartialEq + 'static {
    const ALL: &'static [(&'static str, Self)];

    fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(word, _)| word)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($variant),+ }

        impl Word for $name {
            const ALL: &'static [(&'static str, $name)] = &[$(($word, $name::$variant)),+];
        }
    };
}

words! {
    /// What becomes of a call without an id while the primary environment cannot be reached.
    OnPrimaryFailure { Error = "error", Wait = "wait", NextReady = "next-ready" }
}
words! {
    /// Which environments a new thread gets when it names none.
    NewThread { DefaultOnly = "default-only", All = "all" }
}
words! {
    /// The executor's operating system: fixes the path convention before the first connect.
    Os { Linux = "linux", Macos = "macos", Windows = "windows" }
}
words! {
    /// Who is believed where neither authorities nor keys are named.
    Trust { System = "system", FirstUse = "first-use" }
}
words! {
    /// When the first connection is attempted.
    Connect { Eager = "eager", Lazy = "lazy", Manual = "manual" }
}
words! {
    /// When a stdio child that ended is started again.
    RestartPolicy { Never = "never", OnFailure = "on-failure", Always = "always" }
}
