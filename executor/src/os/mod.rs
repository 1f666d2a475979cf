//! What differs between operating systems, under one set of names.
//!
//! The only place in the executor with `unsafe` and with `cfg` on the operating system. It knows
//! how to start a program so that nothing of us leaks into it, how to read and write without
//! blocking, how to stop a whole group of processes, and what the machine says about its user. It
//! refuses to know the protocol, sessions, and what the bytes mean.
//!
//! A second platform is a second module with the same names (`windows`, with job objects for
//! groups and ConPTY for terminals); there is none yet, and none is pretended.

#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub use unix::*;
