//! Why there is no connection, in words that name what was dialled and what to look at.

use std::time::Duration;

/// Why an environment could not be connected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be dialled at all.
    #[error("exec-server url `{url}` cannot be dialled: {reason}")]
    Url { url: String, reason: String },
    /// Nothing listens there, or the way there is broken.
    #[error("failed to connect to exec-server websocket `{url}`: {reason}")]
    Unreachable { url: String, reason: String },
    /// It took too long.
    #[error("timed out connecting to exec-server websocket `{url}` after {after:?}")]
    TimedOut { url: String, after: Duration },
    /// Something listens there and does not want us.
    #[error("exec-server websocket `{url}` refused the connection: {reason}{}", advice(*.status))]
    Refused {
        url: String,
        reason: String,
        /// The HTTP status, if there was one.
        status: Option<u16>,
    },
    /// The bearer token could not be had.
    #[error("no bearer token: {reason}")]
    Secret { reason: String },
    /// The program could not be started.
    #[error("failed to spawn exec-server: {reason} ({object})")]
    Spawn { reason: String, object: String },
    /// There was a connection, but no handshake.
    #[error("{reason}{}", listed(.details))]
    Handshake {
        reason: String,
        /// What the other side said or did instead.
        details: Vec<String>,
    },
    /// The connection was there and ended at once.
    #[error("connection was lost at once: {reason}")]
    Lost { reason: String },
    /// The entry asks for something this version cannot do; connecting without it would not be
    /// what was asked for.
    #[error("`{key}` is not supported by this version, so no connection is made without it")]
    Unsupported { key: &'static str },
    /// The registry is closed.
    #[error("environments are closed")]
    Closed,
}

impl ConnectError {
    /// Whether another attempt may succeed without anybody changing anything.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            ConnectError::Unreachable { .. }
            | ConnectError::TimedOut { .. }
            | ConnectError::Handshake { .. }
            | ConnectError::Lost { .. } => true,
            // A proxy or an executor that is just starting or stopping, or has too much to do.
            ConnectError::Refused { status, .. } => {
                status.is_none_or(|status| status >= 500 || status == 429)
            }
            ConnectError::Url { .. }
            | ConnectError::Secret { .. }
            | ConnectError::Spawn { .. }
            | ConnectError::Unsupported { .. }
            | ConnectError::Closed => false,
        }
    }
}

fn advice(status: Option<u16>) -> &'static str {
    match status {
        Some(401) => "; check the entry's bearer token",
        Some(403) => "; something in between adds an `Origin` header",
        Some(404) => "; executors serve the path `/` only",
        _ => "",
    }
}

fn listed(details: &[String]) -> String {
    details.iter().map(|detail| format!("; {detail}")).collect()
}
