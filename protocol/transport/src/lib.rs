//! Whole JSON messages over a byte stream, whatever carries it.
//!
//! ```text
//!   websocket (either end)        ─┐
//!   stdio (one message per line)  ─┼─▶ Wire: a stream and a sink of texts
//!   sealed stream of a rendezvous ─┤
//!   memory (tests)                ─┘
//! ```
//!
//! A [`Wire`] knows nothing of what the texts say. It frames, bounds, keeps alive and closes.

mod attention;
mod budget;
mod error;
pub mod lines;
#[cfg(feature = "listen")]
pub mod listen;
#[cfg(feature = "relay")]
pub mod relay;
#[cfg(any(feature = "tls", feature = "tls-server"))]
pub mod tls;
pub mod websocket;

use futures_util::{Sink, Stream};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};

pub use attention::Attention;
pub use budget::{Budget, FREE_BYTES};
pub use error::WireError;
#[cfg(feature = "relay")]
pub use farstep_protocol::noise::{Padding, Rekeys};
#[cfg(feature = "relay")]
pub use relay::PaddingWish;
pub use tokio_tungstenite::tungstenite::Utf8Bytes as Text;

/// Inbound messages of at most this size are put together (`exec-protocol` section 13).
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Larger messages travel in several websocket frames, because peers refuse larger frames.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A connection that carries whole messages both ways.
///
/// Ending: the stream yields `None` when the other side closed in order, and an error when the
/// connection broke; after an error that is not [`WireError::is_survivable`] it is over.
pub trait Wire:
    Stream<Item = Result<Text, WireError>> + Sink<Text, Error = WireError> + Send + Unpin
{
    /// Sends the next part of a message that is made while it is sent, when the sink is ready. No
    /// other message may be sent before the last part.
    fn start_part(&mut self, part: Text, is_last: bool) -> Result<(), WireError>;

    /// The other side has begun to give signs of life and goes on doing so. Where the transport has
    /// none of its own, a silence is the end of the connection from now on.
    fn expect_signs(&mut self) {}

    /// What to tell the other side when this one closes, where the transport can say it.
    fn set_farewell(&mut self, reason: &'static str);

    /// How to have the socket looked at for a moment, where it can be.
    fn attention(&self) -> Option<&Attention> {
        None
    }

    /// Counts what arrived, on a transport that can lose something without a word: whoever waits
    /// for an answer there has to ask whether any will come. `None` on all others.
    fn arrived(&self) -> Option<u64> {
        None
    }

    /// Whether this wire has keys that can be changed while it is open, if both ends are ours.
    #[cfg(feature = "relay")]
    fn has_keys(&self) -> bool {
        false
    }

    /// What was said about changing them. A wire that has none keeps none.
    #[cfg(feature = "relay")]
    fn set_rekeys(&mut self, _rekeys: Rekeys) {}

    /// What this end wants of padding. Only what has keys has records that can be padded.
    #[cfg(feature = "relay")]
    fn padding_wish(&self) -> PaddingWish {
        PaddingWish::default()
    }

    /// What was said about it.
    #[cfg(feature = "relay")]
    fn set_padding(&mut self, _padding: Padding) {}
}

impl<W: Wire + ?Sized> Wire for Box<W> {
    fn start_part(&mut self, part: Text, is_last: bool) -> Result<(), WireError> {
        (**self).start_part(part, is_last)
    }

    fn set_farewell(&mut self, reason: &'static str) {
        (**self).set_farewell(reason);
    }

    fn attention(&self) -> Option<&Attention> {
        (**self).attention()
    }

    fn arrived(&self) -> Option<u64> {
        (**self).arrived()
    }

    #[cfg(feature = "relay")]
    fn has_keys(&self) -> bool {
        (**self).has_keys()
    }

    #[cfg(feature = "relay")]
    fn set_rekeys(&mut self, rekeys: Rekeys) {
        (**self).set_rekeys(rekeys);
    }

    #[cfg(feature = "relay")]
    fn padding_wish(&self) -> PaddingWish {
        (**self).padding_wish()
    }

    #[cfg(feature = "relay")]
    fn set_padding(&mut self, padding: Padding) {
        (**self).set_padding(padding);
    }
}

/// One end of a connection in memory.
pub type Memory = lines::Lines<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

/// Two ends of a connection in memory, for tests. Writers wait when `capacity` bytes are under way.
pub fn memory(capacity: usize) -> (Memory, Memory) {
    let (left, right) = tokio::io::duplex(capacity);
    let (left_read, left_write) = tokio::io::split(left);
    let (right_read, right_write) = tokio::io::split(right);
    (
        Memory::new(left_read, left_write),
        Memory::new(right_read, right_write),
    )
}
