//! Standard input and output that can be taken away: an executor in the background serves them.
//!
//! ```text
//!   login ── bridge (one per connection) ──┐
//!                                          ├── socket ──▶ the executor in the background
//!   login ── bridge ───────────────────────┘              one per user, machine and command line
//! ```
//!
//! A bridge passes bytes on and reads nothing of them but which session the first message wants to
//! resume, because that session may be in an executor of an earlier version. It starts the executor
//! if there is none. That one belongs to no login, and ends by itself when it has been of no use for
//! a while; until then nothing of it lies around but its socket and its log.
//!
//! Two that begin at once start two executors, of which the second finds the first and ends. One
//! that is about to end says nothing to whoever comes that moment, who therefore begins anew: what
//! counts is the answer to the [`Greeting`], and nothing is passed on before it.

mod bridge;
mod greeting;
mod log;
mod names;

pub use bridge::{Bridge, BridgeError};
pub(crate) use greeting::{Greeting, KNOWN, UNKNOWN};
pub use log::Log;
pub(crate) use log::log_of;

/// What an executor in the background says when it can be reached.
pub const READY: &str = "ready";
