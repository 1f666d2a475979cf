//! Why there is no connection, in words that name what was dialled and what to look at.

use std::time::Duration;

use super::{Place, SshError, SshHop};

/// Who on the way through a rendezvous said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The registry, asked for a bundle.
    Registry,
    /// The relay, dialled with one.
    Relay,
    /// The executor, in the handshake.
    Executor,
}

/// Why an environment could not be connected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be dialled at all.
    #[error("exec-server url `{url}` cannot be dialled: {reason}")]
    Url { url: String, reason: String },
    /// Nothing listens there, or the way there is broken.
    #[error("failed to connect to {}: {reason}", end(.url))]
    Unreachable { url: String, reason: String },
    /// The way there leads through a proxy, and ends at it.
    #[error("failed to connect to {} through {proxy}: {reason}", end(.url))]
    Proxy {
        url: String,
        /// Which one, without its password.
        proxy: String,
        reason: String,
        may_pass: bool,
    },
    /// It took too long.
    #[error(
        "timed out connecting to {} after {after:?}{}",
        end(.url), .hop.map(|hop| format!(", while {hop}")).unwrap_or_default()
    )]
    TimedOut {
        url: String,
        after: Duration,
        /// What it was waiting for.
        hop: Option<Place>,
    },
    /// Whoever answers there is not believed, or does not believe us.
    #[error("{} is not trusted: {reason}; {remedy}", end(.url))]
    Distrusted {
        url: String,
        reason: String,
        /// What makes it trusted, if it should be.
        remedy: String,
    },
    /// Whom the environment led to before cannot be told.
    #[error("what is known of earlier connections cannot be used: {reason}")]
    Memory { reason: String },
    /// What the entry says about TLS cannot be used.
    #[error("`farstep.tls` cannot be used: {reason}")]
    Tls { reason: String },
    /// Something listens there and does not want us.
    #[error("exec-server websocket `{url}` refused the connection: {reason}{}", advice(*.status))]
    Refused {
        url: String,
        reason: String,
        /// The HTTP status, if there was one.
        status: Option<u16>,
    },
    /// The rendezvous does not lead to the executor.
    #[error(
        "the rendezvous `{url}` does not lead to `{environment}`{}: {}{reason}{}",
        .within.as_ref().map(|within| format!(" within {within:?}")).unwrap_or_default(),
        .status.map(|status| format!("HTTP status {status}, ")).unwrap_or_default(),
        rendezvous_advice(*.step, *.status, .reason)
    )]
    Rendezvous {
        url: String,
        environment: Box<str>,
        step: Step,
        reason: String,
        /// The HTTP status, if there was one.
        status: Option<u16>,
        may_pass: bool,
        /// After how many seconds the registry wants to be asked again.
        retry_after: Option<u32>,
        /// The registry has waited for the executor for as long as we wished.
        held: bool,
        /// For how long it was tried, when the time was over. Boxed, because every error is as large
        /// as this one.
        within: Option<Box<Duration>>,
    },
    /// The bearer token could not be had.
    #[error("no bearer token: {reason}")]
    Secret { reason: String },
    /// The program could not be started.
    #[error("failed to spawn exec-server: {reason} ({object})")]
    Spawn { reason: String, object: String },
    /// No executor could be put on a machine, or not be started there.
    #[error("{0}")]
    Ssh(#[from] SshError),
    /// There was a connection, but no handshake.
    #[error("{reason}{}", listed(.details))]
    Handshake {
        reason: String,
        /// What the other side said or did instead.
        details: Vec<String>,
    },
    /// The executor keeps nothing beyond a connection.
    #[error("nothing there outlives a connection: {reason}")]
    NotDurable { reason: String },
    /// The session that was to be taken up is not there any more.
    #[error("the executor knows nothing of it any more: {reason}")]
    SessionGone { reason: String },
    /// It is another machine than the entry says.
    #[error(
        "it is another machine than its entry says: `farstep.{key}` is \"{said}\", and the executor \
         there runs on {found}"
    )]
    OtherMachine {
        key: &'static str,
        said: String,
        found: String,
    },
    /// What is asked of it could do more there than the entry allows.
    #[error(
        "what runs there cannot be confined as `permission_profile = \"{profile}\"` wants: {reason}"
    )]
    Unconfined {
        profile: &'static str,
        reason: String,
    },
    /// How much is said could be seen on the way.
    #[error(
        "records cannot be padded as `farstep.padding` wants: the executor does not agree to it"
    )]
    Unpadded,
    /// The connection was there and ended at once.
    #[error("connection was lost at once: {reason}")]
    Lost { reason: String },
    /// It was there, and its entry lets it run only once.
    #[error("the program ended and `farstep.restart` says never: {reason}")]
    Ended { reason: String },
    /// The registry is closed.
    #[error("environments are closed")]
    Closed,
}

impl ConnectError {
    /// How long to leave it alone while a session is being taken up again, where that matters.
    pub(crate) fn pause(&self) -> Option<Duration> {
        const OVERLOADED: Duration = Duration::from_millis(500);
        const TOLD_MAX: Duration = Duration::from_secs(5);
        let ConnectError::Rendezvous { retry_after, .. } = self else {
            return None;
        };
        let told = Duration::from_secs(retry_after.unwrap_or_default().into()).min(TOLD_MAX);
        Some(told.max(OVERLOADED))
    }

    /// The same without what to do about it, for whoever says that elsewhere.
    pub fn without_remedy(&self) -> String {
        match self {
            ConnectError::Distrusted { url, reason, .. } => {
                format!("{} is not trusted: {reason}", end(url))
            }
            ConnectError::Refused { url, reason, .. } => {
                format!("exec-server websocket `{url}` refused the connection: {reason}")
            }
            ConnectError::Rendezvous {
                step,
                status,
                reason,
                ..
            } => {
                let told = self.to_string();
                let advice = rendezvous_advice(*step, *status, reason);
                told.strip_suffix(advice).unwrap_or(&told).to_owned()
            }
            other => other.to_string(),
        }
    }

    /// What is in the way, for whoever knows where he wants to go.
    pub(crate) fn obstacle(&self) -> String {
        match self {
            ConnectError::Rendezvous { reason, .. } => reason.clone(),
            other => other.without_remedy(),
        }
    }

    /// Whether another attempt may succeed without anybody changing anything.
    pub fn may_pass(&self) -> bool {
        match self {
            ConnectError::Unreachable { .. }
            | ConnectError::TimedOut { .. }
            | ConnectError::Handshake { .. }
            | ConnectError::Lost { .. } => true,
            ConnectError::Proxy { may_pass, .. } | ConnectError::Rendezvous { may_pass, .. } => {
                *may_pass
            }
            // A proxy or an executor that is just starting or stopping, or has too much to do.
            ConnectError::Refused { status, .. } => {
                status.is_none_or(|status| status >= 500 || status == 429)
            }
            // The network may come back, and with it a server that is just being started.
            ConnectError::Ssh(error) => matches!(error.hop, SshHop::Name | SshHop::Tcp),
            ConnectError::Url { .. }
            | ConnectError::Distrusted { .. }
            | ConnectError::Memory { .. }
            | ConnectError::Tls { .. }
            | ConnectError::Secret { .. }
            | ConnectError::Spawn { .. }
            | ConnectError::Ended { .. }
            | ConnectError::NotDurable { .. }
            | ConnectError::OtherMachine { .. }
            | ConnectError::Unconfined { .. }
            | ConnectError::Unpadded
            | ConnectError::SessionGone { .. }
            | ConnectError::Closed => false,
        }
    }
}

/// What was dialled.
fn end(url: &str) -> String {
    match url.starts_with("http") {
        true => format!("the rendezvous `{url}`"),
        false => format!("exec-server websocket `{url}`"),
    }
}

fn rendezvous_advice(step: Step, status: Option<u16>, reason: &str) -> &'static str {
    if step != Step::Registry {
        return "";
    }
    match status {
        Some(401) => "; check the entry's farstep.auth.bearer",
        Some(403) => "; check the entry's `environment`, and whom its token is for",
        Some(404) => "; check the entry's `rendezvous`",
        Some(503) if reason.contains("executor") => "; is its executor running?",
        _ => "",
    }
}

fn advice(status: Option<u16>) -> &'static str {
    match status {
        Some(401) => "; check the entry's bearer token",
        Some(403) => {
            "; the executor does not know itself by that name (see its --allowed-host), or something \
             in between adds an `Origin` header"
        }
        Some(404) => "; executors serve the path `/` only",
        _ => "",
    }
}

fn listed(details: &[String]) -> String {
    details.iter().map(|detail| format!("; {detail}")).collect()
}
