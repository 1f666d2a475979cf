//! The writing end of a program's input.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use rustix::io::Errno;
use tokio::io::Interest;

use super::pipe;
use super::watch::{Readiness, Watch};

/// The input of a running program: a pipe, or the keyboard of its terminal.
#[derive(Debug)]
pub struct Input {
    watch: Watch,
    /// Whether it is a pipe that could still be made larger.
    ordinary: bool,
}

impl Input {
    pub(super) fn pipe(fd: OwnedFd) -> Input {
        Input {
            watch: Watch::new(fd, Interest::WRITABLE),
            ordinary: true,
        }
    }

    pub(super) fn terminal(fd: OwnedFd) -> Input {
        Input {
            ordinary: false,
            ..Input::pipe(fd)
        }
    }

    /// Makes a pipe larger, once, for a caller that fills it. Says whether that was done now.
    pub fn enlarge(&mut self) -> bool {
        let fd = self.watch.fd();
        let ordinary = std::mem::replace(&mut self.ordinary, false);
        ordinary && fd.is_some_and(pipe::enlarge)
    }

    /// Writes what fits right now; `None` when nothing does.
    pub fn write_now(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match self
            .watch
            .fd()
            .map_or(Err(Errno::BADF), |fd| write(fd, bytes))
        {
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what fits as soon as something does. Needs a tokio runtime around it.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.watch
            .poll(cx, |fd| (write(fd, bytes), Readiness::Remains))
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
