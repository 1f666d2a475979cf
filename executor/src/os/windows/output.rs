//! The reading end of a program's output.

use std::io;
use std::os::windows::io::OwnedHandle;
use std::task::{Context, Poll};

use bytes::{BufMut, BytesMut};

use super::overlapped::Overlapped;
use crate::os::shared::Read;

/// What one read asks for at most.
pub const READ_MAX: usize = 128 * 1024;

/// What the first read asks for: most programs say little. A read that is filled doubles it.
const READ_FIRST: usize = 8 * 1024;

/// One output of a running program.
#[derive(Debug)]
pub struct Output {
    pipe: Option<Overlapped>,
    terminal: bool,
    /// What the next read asks for.
    ask: usize,
    /// Read already, and not handed out yet: from here to there in the pipe's buffer.
    rest: std::ops::Range<usize>,
}

impl Output {
    pub(super) fn pipe(end: OwnedHandle) -> io::Result<Output> {
        Ok(Output {
            pipe: Some(Overlapped::new(end)?),
            terminal: false,
            ask: READ_FIRST,
            rest: 0..0,
        })
    }

    pub(super) fn terminal(end: OwnedHandle) -> io::Result<Output> {
        Ok(Output {
            terminal: true,
            ..Output::pipe(end)?
        })
    }

    /// Whether this is a terminal, where somebody waits for every key.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Reads once into the free space of `buffer`, at most `max` bytes, when there is something to
    /// read. Never ready with [`Read::Nothing`].
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<Read>> {
        loop {
            if let Some(pipe) = &self.pipe {
                // Before looking, so that no end falls in between.
                pipe.wake_me(cx);
            }
            match self.read_now(buffer, max) {
                Ok(Read::Nothing) if self.is_waiting() => return Poll::Pending,
                Ok(Read::Nothing) => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// Reads once into the free space of `buffer`, at most `max` bytes, if there is something to
    /// read.
    pub fn read_now(&mut self, buffer: &mut BytesMut, max: usize) -> io::Result<Read> {
        let outcome = self.take(buffer, max);
        match outcome {
            // What a pipe says when its last writer is gone.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.close();
                Ok(Read::End)
            }
            Err(error) => {
                self.close();
                Err(error)
            }
            outcome => outcome,
        }
    }

    fn take(&mut self, buffer: &mut BytesMut, max: usize) -> io::Result<Read> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(Read::End);
        };
        if self.rest.is_empty() {
            if !pipe.is_busy() {
                pipe.begin_read(self.ask)?;
            }
            // A writer that writes nothing ends a read too.
            let Some(count) = pipe.outcome()? else {
                return Ok(Read::Nothing);
            };
            if count == self.ask {
                self.ask = (self.ask * 2).min(READ_MAX);
            }
            self.rest = 0..count;
        }
        let room = (buffer.capacity() - buffer.len()).min(max);
        let bytes = pipe.bytes().get(self.rest.clone()).unwrap_or_default();
        let bytes = bytes.get(..room).unwrap_or(bytes);
        buffer.put_slice(bytes);
        self.rest.start += bytes.len();
        let count = bytes.len();
        if !self.rest.is_empty() {
            return Ok(Read::Filled);
        }
        // The next read begins at once: what has come meanwhile it finds without being waited for.
        // Its failure is found when it is asked about.
        match pipe.begin_read(self.ask) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            Err(_) | Ok(()) => {}
        }
        Ok(match count {
            0 => Read::Nothing,
            _ if self.terminal || !pipe.is_busy() => Read::Filled,
            _ => match pipe.outcome() {
                Ok(Some(more)) => {
                    self.rest = 0..more;
                    Read::Filled
                }
                Ok(None) => Read::Some,
                // The end, which the next attempt finds again.
                Err(_) => Read::Filled,
            },
        })
    }

    /// A program may write as often as it likes; it wakes us once at the most.
    pub fn disarm(&mut self) {}

    /// Pipes have the size they have.
    pub fn enlarge(&mut self) {}

    /// Never.
    pub fn is_enlarged(&self) -> bool {
        false
    }

    /// Closes it, whoever still writes.
    pub fn close(&mut self) {
        self.pipe = None;
        self.rest = 0..0;
    }

    /// Whether there is nothing to expect any more.
    pub fn is_ended(&self) -> bool {
        self.pipe.is_none()
    }

    fn is_waiting(&self) -> bool {
        self.pipe.as_ref().is_some_and(Overlapped::is_busy)
    }
}
