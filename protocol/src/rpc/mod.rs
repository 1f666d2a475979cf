//! The JSON-RPC dialect: envelopes, ids and errors.
//!
//! It is JSON-RPC 2.0 without the `jsonrpc` member (`exec-protocol` section 2). A message is
//! scanned once, which proves that it is JSON, that no member name repeats and that it stays
//! within [`Limits`]; its params are then parsed once, borrowed, into their own type.

mod error;
mod id;
mod message;
mod scan;
mod trace;

pub use error::{ErrorCode, RpcError};
pub use id::{ID_BYTES_MAX, RequestId};
pub use message::{Message, Params, Request, parse};
pub use scan::{Limits, Malformed};
pub use trace::{Checked, Trace};
