//! The reading end of a program's output.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};

use bytes::BytesMut;
use rustix::io::Errno;
use tokio::io::Interest;

use super::pipe;
use super::watch::{Readiness, Watch};

/// What one read asks for. Larger pieces gain nothing measurable, smaller ones lose throughput.
pub const READ_MAX: usize = 128 * 1024;

/// What one attempt to read found.
#[derive(Debug)]
pub enum Read {
    /// Some bytes were added to the buffer, fewer than fit: there is nothing more right now.
    Some,
    /// As many bytes were added to the buffer as fit: there may be more.
    Filled,
    /// Nothing right now.
    Nothing,
    /// Nothing any more: every writer has closed its end.
    End,
}

/// One output of a running program. Needs a tokio runtime around it only while it is polled.
#[derive(Debug)]
pub struct Output {
    watch: Watch,
    terminal: bool,
    size: Size,
}

/// How much the pipe holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Ordinary,
    Large,
    Refused,
}

impl Output {
    pub(super) fn pipe(fd: OwnedFd) -> Output {
        Output {
            watch: Watch::new(fd, Interest::READABLE),
            terminal: false,
            size: Size::Ordinary,
        }
    }

    pub(super) fn terminal(fd: OwnedFd) -> Output {
        Output {
            terminal: true,
            size: Size::Refused,
            ..Output::pipe(fd)
        }
    }

    /// Whether this is a terminal, where somebody waits for every key.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Reads once into the free space of `buffer`, when there is something to read. Watches the
    /// descriptor if nobody does yet. Never ready with [`Read::Nothing`].
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<Read>> {
        if self.is_ended() {
            return Poll::Ready(Ok(Read::End));
        }
        let terminal = self.terminal;
        let outcome = self.watch.poll(cx, |fd| {
            let outcome = read_into(fd, buffer, terminal);
            let readiness = match outcome {
                Ok(Read::Some) => Readiness::UsedUp,
                _ => Readiness::Remains,
            };
            (outcome, readiness)
        });
        outcome.map(|outcome| self.judge(outcome))
    }

    /// Reads once into the free space of `buffer`, if there is something to read.
    pub fn read_now(&mut self, buffer: &mut BytesMut) -> io::Result<Read> {
        let Some(fd) = self.watch.fd() else {
            return Ok(Read::End);
        };
        let outcome = read_into(fd, buffer, self.terminal).map_err(io::Error::from);
        self.judge(outcome)
    }

    /// Stops watching until the next [`poll_read`](Self::poll_read): a program may write as often
    /// as it likes without waking us.
    pub fn disarm(&mut self) {
        self.watch.disarm();
    }

    /// Makes the pipe larger, once, for a program that fills it.
    pub fn enlarge(&mut self) {
        if let (Some(fd), Size::Ordinary) = (self.watch.fd(), self.size) {
            self.size = if pipe::enlarge(fd) {
                Size::Large
            } else {
                Size::Refused
            };
        }
    }

    /// Whether that was done and worked.
    pub fn is_enlarged(&self) -> bool {
        self.size == Size::Large
    }

    /// Closes it, whoever still writes.
    pub fn close(&mut self) {
        self.watch.close();
    }

    /// Whether there is nothing to expect any more.
    pub fn is_ended(&self) -> bool {
        self.watch.fd().is_none()
    }

    fn judge(&mut self, outcome: io::Result<Read>) -> io::Result<Read> {
        match outcome {
            Ok(Read::End) => self.close(),
            Ok(_) => {}
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::AGAIN) => return Ok(Read::Nothing),
                // What a terminal says when its last user has closed it.
                Some(Errno::IO) if self.terminal => {
                    self.close();
                    return Ok(Read::End);
                }
                _ => {
                    self.close();
                    return Err(error);
                }
            },
        }
        outcome
    }
}

/// At most [`READ_MAX`] bytes, and no more than fit into the capacity there is.
fn read_into(fd: impl AsFd, buffer: &mut BytesMut, terminal: bool) -> Result<Read, Errno> {
    let (count, asked) = loop {
        let spare = buffer.spare_capacity_mut();
        let asked = spare.len().min(READ_MAX);
        match rustix::io::read(&fd, &mut spare[..asked]) {
            Ok((filled, _)) => break (filled.len(), asked),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    };
    let len = buffer.len() + count;
    // Why at all: zeroing up to 128 KiB before each read would cost as much as the read.
    // Why sound: the kernel has just initialised `count` bytes of the spare capacity.
    #[expect(unsafe_code, reason = "the kernel initialised these bytes")]
    unsafe {
        buffer.set_len(len);
    }
    Ok(match count {
        0 => Read::End,
        // A terminal hands out a line at a time, whatever else it has.
        _ if terminal || count == asked => Read::Filled,
        _ => Read::Some,
    })
}
