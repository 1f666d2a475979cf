//! The rendezvous wire: what an executor and an orchestrator say to a registry, and the frames in
//! which their streams cross a relay that cannot read them.
//!
//! ```text
//!   registry   JSON bodies of register, connect and validate
//!   frame      one websocket message of the relay: a stream id and what is said on it
//!   order      records of one stream and direction, put in order
//!   attest     what a tenant signs about keys, so that the registry need not be believed
//!   welcome    the orchestrators an executor lets in, signed with the same key
//! ```
//!
//! Ciphertext is opaque here. What it holds is [`crate::noise`]'s matter, which a relay never sees.

#[cfg(feature = "attest")]
pub mod attest;
mod frame;
mod key;
mod order;
pub mod registry;
#[cfg(feature = "attest")]
pub mod welcome;

pub use frame::{
    FRAME_BYTES_MAX, Frame, FrameError, Kind, RESET_REASON_BYTES_MAX, STREAM_ID_BYTES_MAX,
};
pub use key::{KeyError, MLKEM768_BYTES, PublicKey, SUITE, X25519_BYTES, is_fingerprint};
pub use order::{HELD_BYTES_MAX, Order, OrderError, WINDOW};

/// The one security profile there is.
pub const SECURITY_PROFILE: &str = "noise_hybrid_ik_v1";

/// The reason an executor gives for ending a stream that broke the rules.
pub const PROTOCOL_ERROR: &str = "noise_relay_protocol_error";

/// The reason a relay of ours gives for ending a stream whose orchestrator's credential came to its
/// end. With a fresh one the next stream may be opened at once.
pub const CREDENTIAL_EXPIRED: &str = "credential_expired";

/// The header in which an end of a websocket names what it understands beyond the peer's contract,
/// once the registry said that it does too.
pub const FEATURES_HEADER: &str = "x-farstep-features";

/// Who names this wants to hear when a node is about to go.
pub const RESTART_NOTICE_FEATURE: &str = "restart_notice_v1";

/// What it hears: a text on its websocket, which everybody else would pass over. The websocket
/// ends a while later, and may be dialled again at once: then no pause is needed, because this is
/// no sign of trouble.
pub const RESTART_NOTICE: &str = r#"{"notice":"restart"}"#;

/// Whether a list of features, as in [`FEATURES_HEADER`], names one.
pub fn names_feature(list: &str, feature: &str) -> bool {
    list.split(',').any(|named| named.trim() == feature)
}
