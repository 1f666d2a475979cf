//! The `farstep` tables: our own keys, kept out of the way of everybody else's.
//!
//! Every field is optional, so that "not said" and "said to be the default" stay different: the
//! normalised form repeats what the file says, and a later default may change.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use farstep_path_uri::{Convention, PathUri};

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
    pub env: Option<EnvironmentVariables>,
    pub health: Option<Health>,
    pub restart: Option<Restart>,
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
    /// When the first connection is attempted.
    Connect { Eager = "eager", Lazy = "lazy", Manual = "manual" }
}
words! {
    /// When a stdio child that ended is started again.
    RestartPolicy { Never = "never", OnFailure = "on-failure", Always = "always" }
}
