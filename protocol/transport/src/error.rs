//! What can go wrong on a connection.

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
    /// The other side promised signs of life and gives none.
    #[error("nothing was heard of the peer for {after:?}")]
    Silent {
        /// For how long.
        after: Duration,
    },
    /// The other side, or the relay, ended the stream.
    #[error("stream was reset: {reason}")]
    Reset {
        /// What it said. Nobody vouches for it.
        reason: String,
    },
    /// The relay ended the stream with the credential that it was opened with. Another may be opened
    /// at once, with a fresh one.
    #[error("the credential that the stream was opened with expired")]
    Expired,
    /// The other side broke the rules of the stream, or something changed it on the way.
    #[error("stream broke: {reason}")]
    Stream {
        /// What is wrong.
        reason: String,
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
