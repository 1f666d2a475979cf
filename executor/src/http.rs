//! Requests made from this machine's network on behalf of a peer.
//!
//! ```text
//!   prepared ─▶ judge the URL ─▶ resolve ─▶ judge the address ─▶ connect ─▶ (TLS) ─▶ send
//!                    ▲                                                              │
//!                    └────────────────── redirect, without credentials ◀────────────┤
//!                                                                   head, body ◀────┘
//! ```
//!
//! The address that is connected to is the one that was judged, on every hop, so neither a name
//! that changes its mind nor a redirect leads where it should not (`security` SR-56). One request
//! a connection and HTTP/1.1 only: what a pool would save is small beside what it would hold.

mod args;
mod prepare;
mod rules;
mod send;

pub use args::{HttpArgs, Refused, Settings};
pub(crate) use prepare::{DEADLINE, Prepared, prepare};
pub use rules::Net;
pub(crate) use send::{Body, BodyError, Head, SendError, send};

/// Body of a response that is not streamed. More is an error that asks for streaming
/// (`security` section 5).
pub(crate) const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Redirects that are followed.
pub(crate) const REDIRECTS_MAX: usize = 5;

/// Headers of a response, and as many bytes of a request's.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Lines of a head.
pub(crate) const HEADERS_MAX: usize = 256;
