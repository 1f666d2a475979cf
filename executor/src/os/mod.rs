//! What differs between operating systems, under one set of names.
//!
//! The only place in the executor with `unsafe` and with `cfg` on the operating system. It knows
//! how to start a program so that nothing of us leaks into it, how to read and write without
//! blocking, how to stop a whole group of processes, and what the machine says about its user. It
//! refuses to know the protocol, sessions, and what the bytes mean.

// On Linux only so that its tests run.
#[cfg(any(not(target_os = "linux"), test))]
#[cfg_attr(
    target_os = "linux",
    expect(unreachable_pub, reason = "Linux has its own")
)]
mod scratch;
mod shared;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(not(target_os = "linux"))]
pub use scratch::Scratch;
pub use shared::{Command, Read, Stdio, StopSignal, WindowSize, processors};
#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;

/// Bytes that a pipe which says it has room takes without a wait: one of its pages is free then.
pub const STDERR_PIECE: usize = 4096;
