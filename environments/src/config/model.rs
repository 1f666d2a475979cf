//! What a valid file says. Plain values: trimmed, joined with the configuration folder, defaults filled in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::{Diagnostic, EntryExtension, EnvironmentId, FILE_NAME, OVERLAY_NAME, TopExtension};

/// How long a websocket connection and an `initialize` exchange may take unless the file says otherwise.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The environments of one orchestrator, in the order of the file.
#[derive(Clone, Debug)]
pub struct Config {
    pub default: DefaultEnvironment,
    /// Whether the orchestrator's own machine is an environment, under the id `local`.
    pub include_local: bool,
    /// The configured environments; `local` is never among them.
    pub entries: Vec<Entry>,
    /// The `[farstep]` table: checked, and empty when the file has none.
    pub farstep: TopExtension,
    /// The file it was read from, if there was one.
    pub file: Option<PathBuf>,
    /// What is legal but probably not meant, by position.
    pub warnings: Vec<Diagnostic>,
    /// The same of the file that is laid over it.
    pub overlay_warnings: Vec<Diagnostic>,
}

impl Config {
    /// What holds without any configuration: the orchestrator's own machine, by default.
    pub fn local_only() -> Config {
        Config {
            default: DefaultEnvironment::Environment(EnvironmentId::local()),
            include_local: true,
            entries: Vec::new(),
            farstep: TopExtension::default(),
            file: None,
            warnings: Vec::new(),
            overlay_warnings: Vec::new(),
        }
    }

    /// Every warning, for people.
    pub fn told_warnings(&self) -> Vec<String> {
        let of = |file, warnings: &[Diagnostic]| -> Vec<String> {
            warnings.iter().map(|one| one.render(file)).collect()
        };
        let mut told = of(FILE_NAME, &self.warnings);
        told.extend(of(OVERLAY_NAME, &self.overlay_warnings));
        told
    }

    /// No environment at all.
    pub fn nothing() -> Config {
        Config {
            default: DefaultEnvironment::Disabled,
            include_local: false,
            ..Config::local_only()
        }
    }
}

impl Config {
    /// Whether somebody who reads the file learns what they could use: a token, a URL with a user or
    /// a query, values of variables and headers.
    pub fn holds_secret(&self) -> bool {
        self.entries.iter().any(Entry::holds_secret)
    }
}

/// The environment a call without an id goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefaultEnvironment {
    Disabled,
    Environment(EnvironmentId),
}

/// One configured environment.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: EnvironmentId,
    pub transport: Transport,
    /// Zero is legal and makes every attempt time out at once.
    pub initialize_timeout: Duration,
    /// Skills without which no turn may start.
    pub skills_required: Vec<String>,
    /// The `[environments.farstep]` table: checked, and empty when the entry has none.
    pub farstep: EntryExtension,
}

impl Entry {
    fn holds_secret(&self) -> bool {
        let set = self.farstep.env.as_ref().and_then(|env| env.set.as_ref());
        let values = [set, self.farstep.headers.as_ref()];
        let in_tables = values
            .into_iter()
            .flatten()
            .any(|values| !values.0.is_empty());
        in_tables
            || match &self.transport {
                Transport::WebSocket { url, bearer, .. } => {
                    bearer.is_some() || url.contains(['@', '?'])
                }
                Transport::Rendezvous { .. } => false,
                Transport::Stdio { env, .. } => !env.is_empty(),
            }
    }
}

/// How an executor is reached.
#[derive(Clone)]
pub enum Transport {
    WebSocket {
        /// Begins with `ws://` or `wss://` and has a host; its port may still be impossible.
        url: String,
        /// Sent as it is, after `Bearer `; an empty token is a token.
        bearer: Option<SecretString>,
        connect_timeout: Duration,
    },
    /// Through a rendezvous; [`EntryExtension::rendezvous`] says the rest.
    Rendezvous {
        /// The registry's URL, without a slash at the end.
        base: String,
        connect_timeout: Duration,
    },
    Stdio {
        /// A name for the search path, or a path.
        program: String,
        args: Vec<String>,
        /// Added to the inherited environment.
        env: BTreeMap<String, String>,
        /// Joined with the configuration folder; it need not exist yet. `None` inherits.
        cwd: Option<PathBuf>,
    },
}

/// Shows no secret: values of `env` and credentials inside the URL stay out of logs.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transport::WebSocket {
                url,
                bearer,
                connect_timeout,
            } => f
                .debug_struct("WebSocket")
                .field("url", &without_credentials(url))
                .field("bearer", bearer)
                .field("connect_timeout", connect_timeout)
                .finish(),
            Transport::Rendezvous {
                base,
                connect_timeout,
            } => f
                .debug_struct("Rendezvous")
                .field("base", base)
                .field("connect_timeout", connect_timeout)
                .finish(),
            Transport::Stdio {
                program,
                args,
                env,
                cwd,
            } => f
                .debug_struct("Stdio")
                .field("program", program)
                .field("args", &format_args!("[{} arguments]", args.len()))
                .field("env", &env.keys())
                .field("cwd", cwd)
                .finish(),
        }
    }
}

/// The URL without what may be secret in it: a user with a password, and the query.
fn without_credentials(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://…{}", &rest[at..]),
        None => url.to_owned(),
    }
}
