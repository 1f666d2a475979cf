//! The executor protocol as values and state machines.
//!
//! Nothing here opens a socket, reads a clock, an environment variable or a file: text and time
//! come in as arguments, text goes out as strings. So a minute of lost messages is tested in a
//! millisecond, and both ends of the wire are built from the same parts:
//!
//! ```text
//!   text ──▶ rpc::parse ──▶ Request  ──▶ method::*::Params ──▶ (executor)
//!                     │                                            │
//!                     │                                 output::OutputLog
//!                     │                                            │
//!                     └──▶ Reply, Notification         frame::* ◀──┘
//!                                │                         │
//!         caller::Caller ◀───────┤                         ▼
//!         reorder::Reorder ◀─────┘                        text
//! ```
//!
//! `relay` and `noise` are for executors without an open port: the frames of a rendezvous, and the
//! channel inside them that the rendezvous cannot read.

#![deny(missing_docs)]

pub mod caller;
pub mod frame;
pub mod method;
#[cfg(feature = "noise")]
pub mod noise;
pub mod output;
mod redacted;
pub mod relay;
pub mod reorder;
pub mod rpc;
