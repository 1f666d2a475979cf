//! What a log is asked, and what it answers.

use bytes::Bytes;

use super::{BACKLOG_BYTES, IN_FLIGHT_BYTES, RETAINED_BYTES, RETAINED_CHUNKS};
use crate::method::process::OutputStream;

/// Position of an event: counts from 1 without gaps over all events of one process.
pub type Seq = u64;

/// What a log keeps of one chunk: its bytes, or the knowledge where they are.
pub trait Body: Clone {
    /// How many bytes of output it stands for.
    fn size(&self) -> usize;
}

impl Body for Bytes {
    fn size(&self) -> usize {
        self.len()
    }
}

/// How much a log keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes kept in all, delivered or not; at most one chunk more is really there.
    pub retained_bytes: usize,
    /// Chunks kept in all, delivered or not.
    pub retained_chunks: usize,
    /// Bytes that may wait for an attached connection.
    pub backlog_bytes: usize,
    /// Bytes behind the connection's position that stay when it breaks.
    pub in_flight_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            retained_bytes: RETAINED_BYTES,
            retained_chunks: RETAINED_CHUNKS,
            backlog_bytes: BACKLOG_BYTES,
            in_flight_bytes: IN_FLIGHT_BYTES,
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// 0 to 255 as given, or 128 + the number of the signal.
    pub code: i32,
    /// Whether we believe that a sandbox caused the failure.
    pub sandbox_denied: bool,
}

/// One retained piece of output, cut as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Chunk<B: Body = Bytes> {
    /// Its position among all events.
    pub seq: Seq,
    /// Where it came from.
    pub stream: OutputStream,
    /// The bytes, shared with the log.
    pub bytes: B,
}

/// What a connection announces, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<B: Body = Bytes> {
    /// The process wrote something.
    Output(Chunk<B>),
    /// The process ended.
    Exited {
        /// Position of this event.
        seq: Seq,
        /// How it ended.
        exit: Exit,
    },
    /// Nothing more will come.
    Closed {
        /// Position of this event, the last one.
        seq: Seq,
    },
}

impl<B: Body> Event<B> {
    /// Position of this event.
    pub fn seq(&self) -> Seq {
        match self {
            Event::Output(chunk) => chunk.seq,
            Event::Exited { seq, .. } | Event::Closed { seq } => *seq,
        }
    }
}

/// The answer to one read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPage<B: Body = Bytes> {
    /// Retained output behind the asked position, ascending.
    pub chunks: Vec<Chunk<B>>,
    /// Where to go on: read again after `next_seq - 1`.
    pub next_seq: Seq,
    /// How the process ended, if it has.
    pub exit: Option<Exit>,
    /// Whether nothing more will come.
    pub closed: bool,
    /// Oldest position still retained, if any output is: older output is gone for good.
    pub first_retained: Option<Seq>,
    /// Bytes of output from before `first_retained`, in a log that drops what nobody has read.
    pub dropped_bytes: Option<u64>,
}
