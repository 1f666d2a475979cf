//! What a valid file says. Plain values: trimmed, joined with the configuration folder, defaults filled in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::{Diagnostic, EntryExtension, EnvironmentId, TopExtension};

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
    /// What is legal but probably not meant, by position.
    pub warnings: Vec<Diagnostic>,
}

impl Config {
    /// What holds without any configuration: the orchestrator's own machine, by default.
    pub fn local_only() -> Config {
        Config {
            default: DefaultEnvironment::Environment(EnvironmentId::local()),
            include_local: true,
            entries: Vec::new(),
            farstep: TopExtension::default(),
            warnings: Vec::new(),
        }
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
