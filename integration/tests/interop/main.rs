//! The real peer on either end of the wire.
//!
//! The peer is the program that `FARSTEP_CODEX` names; `.ci/run` installs the pinned version.

mod copies;
mod differences;
mod driven_by_us;
mod drives_us;
mod export;
mod gateway;
mod rendezvous;
mod supervise;
