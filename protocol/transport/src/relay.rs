//! A connection inside a stream of a rendezvous: sealed here, opened at the other end, and opaque
//! to everything between.
//!
//! ```text
//!   Wire of texts ◀── Sealed ──▶ Carrier of frames: a websocket of its own (orchestrator),
//!                                                   or a share of one (executor)
//! ```
//!
//! [`post`] is the one HTTP request that all of this needs, to the registry.

mod memory;
mod post;
mod sealed;

use bytes::Bytes;
use futures_util::{Sink, Stream};

pub use memory::{Pipe, memory};
pub use post::{PostError, Posted, post};
pub use sealed::Sealed;

use crate::WireError;

/// What one end of a stream wants of padded records, which both ends have to agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PaddingWish {
    /// They are not asked for, and agreed to if the other end asks.
    #[default]
    IfAsked,
    /// Nothing is said without them.
    Always,
    /// Not even if the other end asks.
    Never,
}

/// What frames of a relay travel on, whole and in order.
pub trait Carrier:
    Stream<Item = Result<Bytes, WireError>> + Sink<Bytes, Error = WireError> + Send + Unpin
{
}

impl<C> Carrier for C where
    C: Stream<Item = Result<Bytes, WireError>> + Sink<Bytes, Error = WireError> + Send + Unpin
{
}
