//! The reading end of a program's output.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use bytes::BytesMut;
use rustix::io::Errno;
use tokio::io::Interest;

use super::pipe::{self, Relay};
use super::watch::{Readiness, Watch};
use crate::os::shared::Read;

/// What one read asks for. Larger pieces gain nothing measurable, smaller ones lose throughput.
pub const READ_MAX: usize = 128 * 1024;

/// One output of a running program. Needs a tokio runtime around it only while it is polled.
#[derive(Debug)]
pub struct Output {
    watch: Watch,
    terminal: bool,
    size: Size,
    /// What a large pipe is read through.
    relay: Option<Relay>,
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
            relay: None,
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

    /// Reads once into the free space of `buffer`, at most `max` bytes, when there is something to
    /// read. Watches the descriptor if nobody does yet. Never ready with [`Read::Nothing`].
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<Read>> {
        if self.is_ended() {
            return Poll::Ready(Ok(Read::End));
        }
        let (terminal, relay) = (self.terminal, self.relay.as_ref());
        let outcome = self.watch.poll(cx, |fd| {
            let outcome = read_into(fd, relay, buffer, max, terminal);
            let readiness = match outcome {
                // Less than was asked for may also mean that a relay had no more pages free.
                Ok(Read::Some) if relay.is_none() => Readiness::UsedUp,
                _ => Readiness::Remains,
            };
            (outcome, readiness)
        });
        outcome.map(|outcome| self.judge(outcome))
    }

    /// Reads once into the free space of `buffer`, at most `max` bytes, if there is something to
    /// read.
    pub fn read_now(&mut self, buffer: &mut BytesMut, max: usize) -> io::Result<Read> {
        let Some(fd) = self.watch.fd() else {
            return Ok(Read::End);
        };
        let outcome = read_into(fd, self.relay.as_ref(), buffer, max, self.terminal);
        let outcome = outcome.map_err(io::Error::from);
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
            if pipe::enlarge(fd) {
                self.size = Size::Large;
                self.relay = Relay::new(READ_MAX);
            } else {
                self.size = Size::Refused;
            }
        }
    }

    /// Whether that was done and worked.
    pub fn is_enlarged(&self) -> bool {
        self.size == Size::Large
    }

    /// Closes it, whoever still writes.
    pub fn close(&mut self) {
        self.watch.close();
        self.relay = None;
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

/// At most `max` bytes, [`READ_MAX`] in any case, and no more than fit into the capacity there is.
fn read_into(
    fd: &OwnedFd,
    relay: Option<&Relay>,
    buffer: &mut BytesMut,
    max: usize,
    terminal: bool,
) -> Result<Read, Errno> {
    let max = max.min(READ_MAX);
    let Some(relay) = relay else {
        return read_once(fd, buffer, max, terminal);
    };
    let asked = max.min(buffer.spare_capacity_mut().len());
    let taken = uninterrupted(|| relay.take(fd, asked))?;
    let mut left = taken;
    while left > 0 {
        let before = buffer.len();
        read_once(relay.end(), buffer, left, false)?;
        left -= buffer.len() - before;
    }
    Ok(match taken {
        0 => Read::End,
        _ if taken == asked => Read::Filled,
        _ => Read::Some,
    })
}

/// At most `bytes`, and no more than fit into the capacity there is.
fn read_once(
    fd: &OwnedFd,
    buffer: &mut BytesMut,
    bytes: usize,
    terminal: bool,
) -> Result<Read, Errno> {
    let spare = buffer.spare_capacity_mut();
    let asked = spare.len().min(bytes);
    let count = uninterrupted(|| {
        let (filled, _) = rustix::io::read(fd, &mut spare[..asked])?;
        Ok(filled.len())
    })?;
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

fn uninterrupted(mut attempt: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match attempt() {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_large_pipe_with_little_in_it_promises_no_more() {
        let (read, write) = pipe::for_output().unwrap();
        let mut output = Output::pipe(read);
        output.enlarge();
        rustix::io::write(&write, b"a line").unwrap();
        let mut buffer = BytesMut::with_capacity(READ_MAX);
        let read = output.read_now(&mut buffer, READ_MAX);
        assert!(matches!(read, Ok(Read::Some)), "{read:?}");
        let read = output.read_now(&mut buffer, READ_MAX);
        assert!(matches!(read, Ok(Read::Nothing)), "{read:?}");
        assert_eq!(&buffer[..], b"a line");
    }

    /// What nobody writes to any more tells nothing of itself: all of it has to be found.
    #[tokio::test]
    async fn a_large_pipe_full_of_pages_that_are_not_is_read_to_the_last_byte() {
        let (read, write) = pipe::for_output().unwrap();
        let mut output = Output::pipe(read);
        output.enlarge();
        pipe::set_nonblocking(&write).unwrap();
        let (mut written, mut piece) = (Vec::new(), 0);
        loop {
            piece += 1;
            let bytes: Vec<u8> = (0..3000).map(|at| (at * piece % 251) as u8).collect();
            match rustix::io::write(&write, &bytes) {
                Ok(count) => written.extend_from_slice(&bytes[..count]),
                Err(error) => break assert_eq!(error, Errno::AGAIN),
            }
        }
        let mut found = Vec::new();
        while found.len() < written.len() {
            let mut buffer = BytesMut::with_capacity(READ_MAX);
            let read = poll_fn(|cx| output.poll_read(cx, &mut buffer, READ_MAX));
            let read = tokio::time::timeout(Duration::from_secs(30), read).await;
            assert!(
                matches!(read, Ok(Ok(Read::Some | Read::Filled))),
                "{read:?}"
            );
            found.extend_from_slice(&buffer);
        }
        assert!(found == written);
        drop(write);
        let mut buffer = BytesMut::with_capacity(READ_MAX);
        let read = poll_fn(|cx| output.poll_read(cx, &mut buffer, READ_MAX)).await;
        assert!(matches!(read, Ok(Read::End)), "{read:?}");
    }
}
