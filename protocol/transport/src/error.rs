//! What can go wrong on a connection, and before there is one.

use std::io;
use std::time::Duration;

use tokio_tungstenite::tungstenite;

/// Why a message could not be carried.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A message was no text. The connection goes on.
    #[error("message is not UTF-8 text")]
    NotText,
    /// A line was no text; where one ends and the next begins is in doubt.
    #[error("line is not UTF-8 text")]
    LineNotText,
    /// A message is larger than allowed.
    #[error("message exceeds {limit} bytes")]
    TooLong {
        /// The limit in force.
        limit: usize,
    },
    /// All connections together hold as much of large messages as they may.
    #[error("all connections together hold as much as they may")]
    Overloaded,
    /// The other side does not answer any more.
    #[error("peer left {pings} pings unanswered")]
    Unresponsive {
        /// How many.
        pings: u32,
    },
    /// The other side closed, or this one did.
    #[error("connection is closed")]
    Closed,
    /// The operating system failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The other side broke the rules of the websocket.
    #[error("websocket failed: {0}")]
    WebSocket(Box<tungstenite::Error>),
}

impl WireError {
    /// Whether only one message is lost and the connection goes on.
    pub fn is_survivable(&self) -> bool {
        matches!(self, WireError::NotText)
    }
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The URL cannot be dialled.
    #[error("url `{url}` cannot be dialled: {reason}")]
    Url {
        /// Which URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bearer token cannot stand in a header. It is not shown.
    #[error("bearer token holds characters that no header may carry")]
    Bearer,
    /// Nothing listens there, or the way there is broken.
    #[error("failed to connect to `{url}`: {source}")]
    Connect {
        /// Which URL.
        url: String,
        /// What the system says.
        source: io::Error,
    },
    /// The secure channel did not come about.
    #[error("failed to secure the connection to `{url}`: {reason}")]
    Tls {
        /// Which URL.
        url: String,
        /// What the TLS library says.
        reason: String,
    },
    /// It listens, but does not speak websocket to us.
    #[error("`{url}` refused the websocket: {reason}")]
    Refused {
        /// Which URL.
        url: String,
        /// The HTTP status or what was wrong with the answer.
        reason: String,
        /// The HTTP status, if there was one.
        status: Option<u16>,
    },
    /// It took too long.
    #[error("timed out connecting to exec-server websocket `{url}` after {after:?}")]
    TimedOut {
        /// Which URL.
        url: String,
        /// The limit in force.
        after: Duration,
    },
}
