//! Pipes between us and a program.
//!
//! Our ends never block; theirs do, because programs expect it. All are close-on-exec, so that no
//! other program started at the same moment can inherit them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// What a pipe of a busy stream is enlarged to. Most users may have 64 of these at a time; beyond
/// that a pipe keeps its size.
#[cfg(target_os = "linux")]
const ENLARGED: usize = 1024 * 1024;

/// Our reading end and their writing end.
pub(super) fn for_output() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pair()?;
    set_nonblocking(&read)?;
    Ok((read, write))
}

/// Their reading end and our writing end.
pub(super) fn for_input() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pair()?;
    set_nonblocking(&write)?;
    Ok((read, write))
}

/// Input that is at its end.
pub(super) fn null() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(c"/dev/null", flags, Mode::empty())?)
}

pub(super) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    // Pipes and terminals as we make them have no other flag that could be changed.
    Ok(rustix::fs::fcntl_setfl(fd, OFlags::NONBLOCK)?)
}

/// Makes room in the pipe of a program that writes faster than we get to read. Says whether it
/// did.
#[cfg(target_os = "linux")]
pub(super) fn enlarge(fd: impl AsFd) -> bool {
    let outcome = rustix::pipe::fcntl_setpipe_size(fd, ENLARGED);
    if let Err(error) = &outcome {
        tracing::debug!(%error, "a pipe keeps its size");
    }
    outcome.is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn enlarge(_fd: impl AsFd) -> bool {
    false
}

#[cfg(not(target_vendor = "apple"))]
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

#[cfg(target_vendor = "apple")]
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe()?;
    rustix::io::fcntl_setfd(&read, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::fcntl_setfd(&write, rustix::io::FdFlags::CLOEXEC)?;
    Ok((read, write))
}
