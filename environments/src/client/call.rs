//! One call on its way: how it is queued, how long it may take and how it can end.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use farstep_protocol::rpc::{RequestId, RpcError};
use farstep_transport::Text;
use serde::Deserialize;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, oneshot};

use super::inbox::Inbox;

/// How long an executor may take over calls that only touch its tables or one directory entry.
/// A hung executor must not hold a turn (`security` SR-48); a slow link has room.
pub(super) const QUICK: Duration = Duration::from_secs(30);

/// The same for calls that carry or list as much as one message holds.
pub(super) const TRANSFER: Duration = Duration::from_secs(120);

/// The same for calls that may work through a whole tree.
pub(super) const TREE: Duration = Duration::from_secs(600);

/// Messages above this size go second: nothing small waits behind more than one of them.
pub(super) const BULK_BYTES: usize = 64 << 10;

/// The largest message a peer takes, less what surrounds the bytes in it.
pub(super) const MESSAGE_BYTES_MAX: usize = farstep_transport::MESSAGE_BYTES_MAX - 4096;

/// How a call ended without its result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The executor understood and said no.
    #[error("{0}")]
    Refused(RpcError),
    /// The call never left this side, so it may be repeated without a second thought.
    #[error("nothing was sent: {reason}")]
    NotSent { reason: String },
    /// The connection ended before the reply. The call may or may not have been carried out.
    #[error("connection to the executor was lost, and what was asked may have been done: {reason}")]
    Lost { reason: String },
    /// The executor did not answer in time. The call may still be carried out.
    #[error("executor did not answer in time, and what was asked may still be done")]
    TimedOut,
    /// It was to be confined, and was ended.
    #[error(
        "the executor does not say that it confines the process as `permission_profile` wants, \
         so it was ended"
    )]
    Unconfined,
    /// The executor's answer makes no sense.
    #[error("executor answered `{method}` with something else than its result: {detail}")]
    Protocol {
        method: &'static str,
        detail: String,
    },
}

/// A result as it arrived, still unread.
#[derive(Debug)]
pub(super) struct Reply {
    text: Text,
    result: Range<usize>,
}

impl Reply {
    /// `result` is a part of `text`.
    pub(super) fn new(text: &Text, result: &str) -> Reply {
        let start = result.as_ptr().addr() - text.as_str().as_ptr().addr();
        Reply {
            text: text.clone(),
            result: start..start + result.len(),
        }
    }

    /// Parses the result of `method`, borrowing from the message.
    pub(super) fn parse<'a, T: Deserialize<'a>>(
        &'a self,
        method: &'static str,
    ) -> Result<T, CallError> {
        let json = self.text.get(self.result.clone()).unwrap_or_default();
        serde_json::from_str(json).map_err(|error| CallError::Protocol {
            method,
            detail: error.to_string(),
        })
    }
}

pub(super) type Outcome = Result<Reply, CallError>;

/// Which queue a call waits in. Each is served before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Ends things or asks for a sign of life; not held up by the number of calls under way.
    Control,
    /// Everything that is not [`Lane::Bulk`].
    Small,
    /// Above [`BULK_BYTES`].
    Bulk,
}

/// Appends the request once its id is known; again with another id when it has to be repeated.
pub(super) type Encode = Box<dyn Fn(&mut String, &RequestId) + Send>;

/// A call in its lane.
pub(super) struct Command {
    pub(super) encode: Encode,
    pub(super) waiting: Waiting,
    /// What it holds of the bytes that may be queued; given back once it is on the wire and will
    /// not be repeated.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// A call that wants its reply.
pub(super) struct Waiting {
    pub(super) reply: oneshot::Sender<Outcome>,
    pub(super) purpose: Purpose,
}

/// What a reply means to the connection itself.
pub(super) enum Purpose {
    /// Nothing.
    Plain,
    /// Nothing, but it may be sent again when the connection ended before the reply.
    Repeatable,
    /// A process begins, and its events go there.
    Start { id: Arc<str>, inbox: Arc<Inbox> },
    /// The next write to the same process may go. Held here and not by the caller, who may stop
    /// waiting while the write is still under way. May be sent again, because it carries the same
    /// write id (`exec-protocol` section 7.4).
    Write {
        #[expect(dead_code, reason = "held for its drop, which lets the next write go")]
        turn: OwnedMutexGuard<u64>,
    },
}

impl Purpose {
    /// Whether the call may be sent again on another connection of the same session
    /// (`environments` section 6).
    pub(super) fn is_repeatable(&self) -> bool {
        match self {
            Purpose::Repeatable | Purpose::Write { .. } => true,
            Purpose::Plain | Purpose::Start { .. } => false,
        }
    }
}

impl Waiting {
    /// Whether nobody waits for the reply and it means nothing to the connection either.
    pub(super) fn is_given_up(&self) -> bool {
        self.reply.is_closed() && !matches!(self.purpose, Purpose::Start { .. })
    }

    pub(super) fn end(self, outcome: Outcome) {
        // Whoever asked may have stopped waiting.
        let _ = self.reply.send(outcome);
    }
}
