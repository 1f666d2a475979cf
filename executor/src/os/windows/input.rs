//! The writing end of a program's input.

use std::io;
use std::os::windows::io::OwnedHandle;
use std::task::{Context, Poll};

use super::overlapped::Overlapped;

/// What one write takes at most: as much as the pipe holds.
const WRITE_MAX: usize = 64 * 1024;

/// The input of a running program: a pipe, or the keyboard of its terminal.
#[derive(Debug)]
pub struct Input {
    pipe: Overlapped,
}

impl Input {
    pub(super) fn new(end: OwnedHandle) -> io::Result<Input> {
        Ok(Input {
            pipe: Overlapped::new(end)?,
        })
    }

    /// Pipes have the size they have.
    pub fn enlarge(&mut self) -> bool {
        false
    }

    /// Writes what fits right now; `None` when nothing does.
    pub fn write_now(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        if self.pipe.is_busy() && self.pipe.outcome()?.is_none() {
            return Ok(None);
        }
        let bytes = bytes.get(..WRITE_MAX).unwrap_or(bytes);
        self.pipe.begin_write(bytes)?;
        // It goes on by itself. That it failed is found by whoever writes next.
        Ok(Some(bytes.len()))
    }

    /// Writes what fits as soon as something does.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Before looking, so that no end falls in between.
        self.pipe.wake_me(cx);
        match self.write_now(bytes) {
            Ok(Some(count)) => Poll::Ready(Ok(count)),
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}
