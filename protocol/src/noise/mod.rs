//! The encrypted channel of a stream (`rendezvous` section A9): hybrid IK of X25519 and
//! ML-KEM-768, so that a relay sees sizes and times and nothing else.
//!
//! ```text
//!   orchestrator                                             executor
//!   Initiator::start ── message 1 (its key, authorization) ─▶ Responder::read ─▶ Knock
//!                                                      the registry is asked, then
//!   Initiator::finish ◀────────── message 2 ───────────────── Knock::admit / refuse
//!          └────▶ Channel  ◀════ records both ways ════▶  Channel ◀┘
//! ```
//!
//! [`Identity`] is a static key, [`Channel`] turns messages into records of ciphertext and back, and
//! changes its keys from time to time if both ends are ours ([`Rekeys`]), and hides how much it says
//! if they agreed to ([`padding`]).
//! Randomness comes from the cryptographic library and nowhere else. A relay must not be able to
//! read, so the rendezvous crate builds without this module.

mod channel;
mod handshake;
mod identity;
pub mod padding;
mod rekey;
mod suite;

pub use channel::{Channel, ChannelError, MESSAGE_BYTES_MAX, RECORD_BYTES_MAX};
pub use handshake::{Binding, HANDSHAKE_BYTES_MAX, HandshakeError, Initiator, Knock, Responder};
pub use identity::{Identity, IdentityError};
pub use padding::{Padding, PaddingError};
pub use rekey::{KeyLife, RekeyError, Rekeys};
