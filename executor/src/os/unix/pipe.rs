//! Pipes between us and a program.
//!
//! Our ends never block; theirs do, because programs expect it. All are close-on-exec, so that no
//! other program started at the same moment can inherit them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
#[cfg(target_os = "linux")]
use rustix::pipe::SpliceFlags;

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

/// A pipe of our own that takes over what is in another one.
///
/// Whoever reads a pipe shuts its writer out for as long as the bytes are copied. What is moved here
/// first, page by page without copying, is read while the program goes on writing: twice the rate.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(super) struct Relay {
    read: OwnedFd,
    write: OwnedFd,
}

#[cfg(target_os = "linux")]
impl Relay {
    /// For up to `bytes` at a time. `None` if a user has no pipe of that size left.
    pub(super) fn new(bytes: usize) -> Option<Relay> {
        let (read, write) = pair().ok()?;
        rustix::pipe::fcntl_setpipe_size(&write, bytes).ok()?;
        Some(Relay { read, write })
    }

    /// Takes over up to `bytes` and says how many; it has to be empty before.
    pub(super) fn take(&self, from: impl AsFd, bytes: usize) -> Result<usize, Errno> {
        let flags = SpliceFlags::NONBLOCK;
        rustix::pipe::splice(from, None, &self.write, None, bytes, flags)
    }

    /// Where it is read.
    pub(super) fn end(&self) -> &OwnedFd {
        &self.read
    }
}

/// Elsewhere nothing is moved from pipe to pipe.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(super) enum Relay {}

#[cfg(not(target_os = "linux"))]
impl Relay {
    pub(super) fn new(_bytes: usize) -> Option<Relay> {
        None
    }

    pub(super) fn take(&self, _from: impl AsFd, _bytes: usize) -> Result<usize, Errno> {
        match *self {}
    }

    pub(super) fn end(&self) -> &OwnedFd {
        match *self {}
    }
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_relay_takes_over_what_is_there_and_knows_nothing_from_the_end() {
        let (read, write) = for_output().unwrap();
        let relay = Relay::new(128 * 1024).unwrap();
        assert_eq!(relay.take(&read, 10), Err(Errno::AGAIN));
        rustix::io::write(&write, b"one and two").unwrap();
        let mut out = [0; 20];
        for wanted in [b"one".as_slice(), b" and two"] {
            let most = if wanted.len() == 3 { 3 } else { 100 };
            assert_eq!(relay.take(&read, most), Ok(wanted.len()));
            let count = rustix::io::read(relay.end(), &mut out).unwrap();
            assert_eq!(&out[..count], wanted);
        }
        drop(write);
        assert_eq!(relay.take(&read, 10), Ok(0));
    }
}
