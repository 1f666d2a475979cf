//! The writing end of a program's input.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use rustix::io::Errno;
use tokio::io::Interest;

use super::watch::{Readiness, Watch};

/// The input of a running program: a pipe, or the keyboard of its terminal.
#[derive(Debug)]
pub struct Input(Watch);

impl Input {
    pub(super) fn new(fd: OwnedFd) -> Input {
        Input(Watch::new(fd, Interest::WRITABLE))
    }

    /// Writes what fits right now; `None` when nothing does.
    pub fn write_now(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match self.0.fd().map_or(Err(Errno::BADF), |fd| write(fd, bytes)) {
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what fits as soon as something does. Needs a tokio runtime around it.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll(cx, |fd| (write(fd, bytes), Readiness::Remains))
    }
}

fn write(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        let outcome = rustix::io::write(fd, bytes);
        if outcome != Err(Errno::INTR) {
            return outcome;
        }
    }
}
