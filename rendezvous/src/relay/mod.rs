//! The blind relay: frames of one executor's websocket to and from those of its orchestrators.
//!
//! ```text
//!                 ┌──────────────── link of one executor ────────────────┐
//!   executor ───▶ │ socket::read ─▶ machine: streams, a queue for each ─▶ │ ───▶ orchestrator
//!            ◀─── │ socket::write ◀── turns ◀── a queue for each ◀─────── │ ◀───
//!                 └──────────────────────────────────────────────────────┘
//! ```
//!
//! `machine` decides, without a socket or a clock; `socket` pumps. It reads version, stream id and
//! kind of a frame and passes the very same bytes on. What is inside it cannot read: this crate
//! builds without `protocol::noise`. Nothing is dropped. A stream that cannot be served any more is
//! reset at both ends, so that nobody waits for what never comes.
//!
//! Backpressure is not reading: whoever sends more than the other side takes finds its own socket
//! full. A queue holds [`QueueLimits`]; when one frame more comes from an executor for a full
//! stream, the executor's websocket is not read until that stream took something, and frames of
//! other streams behind it wait for so long, as one websocket has one order. The other direction
//! goes on.

mod executor;
mod harness;
mod link;
mod machine;
mod queue;
mod socket;
mod streams;
mod turns;

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};

pub(crate) use executor::serve as serve_executor;
pub(crate) use harness::serve as serve_harness;
pub use link::{ExecutorLink, Linked};
pub(crate) use machine::{By, Why};
pub use queue::QueueLimits;
pub use streams::STREAMS_MAX;

/// How often each side is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// For how long a side may be silent: one ping and half of the next interval.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// How long one message may take to be written before the peer is taken for dead.
const WRITE_MAX: Duration = Duration::from_secs(60);

/// How long a farewell may take.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// A websocket of a link, for the task that serves it.
struct Side<'a> {
    link: &'a ExecutorLink,
    conn: machine::Conn,
    bell: &'a link::Bell,
}

/// Why a websocket ends, in the words of its close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The close code.
    pub code: u16,
    /// For logs on both sides.
    pub reason: &'static str,
}

impl Ending {
    const GONE: Ending = Ending::new(1001, "the other side is gone");
    const SILENT: Ending = Ending::new(1001, "no sign of life");
    const CLOSED: Ending = Ending::new(1000, "closed by the peer");
    const BROKEN: Ending = Ending::new(1006, "the connection broke");
    const TOO_LARGE: Ending = Ending::new(1009, "message above 262144 bytes");
    const STALLED: Ending = Ending::new(1013, "nothing of the stream was taken for too long");
    const FULL: Ending = Ending::new(1013, "the executor has as many streams as it takes");
    /// The node stops.
    pub const RESTART: Ending = Ending::new(1012, "the service restarts");
    /// A newer connection of the same environment.
    pub const DISPLACED: Ending = Ending::new(4409, "another connection took over");
    /// The credential or the generation counts no more.
    pub const REVOKED: Ending = Ending::new(4401, "the credential or registration was revoked");
    /// The credential came to its end: whoever has a fresh one comes back at once.
    pub const EXPIRED: Ending = Ending::new(4403, "the credential expired");
    /// Broke the rules of the relay.
    const RULES: Ending = Ending::new(4400, "one stream and one handshake per connection");

    const fn new(code: u16, reason: &'static str) -> Ending {
        Ending { code, reason }
    }

    /// Whether the peer went by itself.
    fn is_farewell(self) -> bool {
        self == Ending::CLOSED || self == Ending::BROKEN
    }

    /// What the peer is told, if there is anybody to tell.
    fn message(self) -> Option<Message> {
        (!self.is_farewell()).then(|| {
            Message::Close(Some(CloseFrame {
                code: self.code,
                reason: Utf8Bytes::from_static(self.reason),
            }))
        })
    }
}
