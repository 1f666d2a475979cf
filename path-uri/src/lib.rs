//! A `file:` URI as a value, with the path rules of the machine it belongs to.
//!
//! Every path that crosses the wire is a [`PathUri`]: immutable, absolute, and either POSIX
//! (`file:///srv/app`), a Windows drive (`file:///C:/app`), a Windows share
//! (`file://server/share/app`) or an opaque wrapper around bytes that no URI spells faithfully.
//! The value never says which machine it is on, and nothing here asks one: all operations are
//! lexical and give the same answer on every host.
//!
//! ```text
//!   URI text ── parse ──▶            ──▶ as_str, serde          the wire
//!  native text ─ join ──▶  PathUri   ──▶ to_native, display     people and models
//!   host path ─ from_host▶           ──▶ to_host                system calls
//!                           │
//!                           └─ contains · overlaps · DenyRule   necessary, never sufficient
//! ```
//!
//! The last line is meant: a lexical answer cannot see links, mounts or mapped drives. Whoever
//! opens a path checks again on what was opened.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod authority;
mod contain;
mod convention;
mod deny;
mod error;
mod host;
mod legacy;
mod lexical;
mod native;
mod opaque;
mod order;
mod parse;
mod percent;
mod segment;
mod typed;
mod uri;
mod wire;

pub use convention::Convention;
pub use deny::DenyRule;
pub use error::{PathUriError, PathUriErrorKind};
pub use host::Devices;
pub use legacy::LegacyPath;
pub use segment::Segment;
pub use typed::{Posix, Rules, Typed, Windows};
pub use uri::{MAX_SEGMENTS, MAX_URI_BYTES, PathUri};
