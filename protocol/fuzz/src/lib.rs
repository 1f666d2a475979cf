//! What the targets share: bytes that arrive in pieces, and a second opinion on JSON.

pub mod json;
pub mod trickle;
