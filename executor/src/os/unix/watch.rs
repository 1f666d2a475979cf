//! One descriptor that a task waits for, registered with the runtime only while somebody does.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Owns the descriptor in each of its states.
#[derive(Debug)]
pub(super) struct Watch {
    state: State,
    interest: Interest,
}

#[derive(Debug)]
enum State {
    /// Whatever happens to it wakes nobody.
    Disarmed(OwnedFd),
    Armed(AsyncFd<OwnedFd>),
    Closed,
}

/// What an attempt says about the readiness it was made under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// There may be more.
    Remains,
    /// The next attempt is worthwhile only after an event of its own.
    UsedUp,
}

impl Watch {
    pub(super) fn new(fd: OwnedFd, interest: Interest) -> Watch {
        Watch {
            state: State::Disarmed(fd),
            interest,
        }
    }

    pub(super) fn fd(&self) -> Option<&OwnedFd> {
        match &self.state {
            State::Disarmed(fd) => Some(fd),
            State::Armed(fd) => Some(fd.get_ref()),
            State::Closed => None,
        }
    }

    /// Repeats `attempt` when it may succeed, until it says something else than `AGAIN`. Needs a
    /// tokio runtime around it. A closed descriptor is `BADF`.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&OwnedFd) -> (Result<T, Errno>, Readiness),
    ) -> Poll<io::Result<T>> {
        let interest = self.interest;
        let fd = self.arm()?;
        loop {
            // The guard is from before the attempt: an event in between is not forgotten.
            let ready = match interest {
                Interest::WRITABLE => fd.poll_write_ready(cx),
                _ => fd.poll_read_ready(cx),
            };
            let mut guard = ready!(ready)?;
            let (outcome, readiness) = attempt(fd.get_ref());
            if outcome.as_ref().err() == Some(&Errno::AGAIN) {
                guard.clear_ready();
                continue;
            }
            match readiness {
                Readiness::Remains => guard.retain_ready(),
                Readiness::UsedUp => guard.clear_ready(),
            }
            return Poll::Ready(outcome.map_err(io::Error::from));
        }
    }

    /// Takes it away from the runtime until the next poll.
    pub(super) fn disarm(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Closed) {
            State::Armed(fd) => State::Disarmed(fd.into_inner()),
            other => other,
        };
    }

    pub(super) fn close(&mut self) {
        self.state = State::Closed;
    }

    fn arm(&mut self) -> io::Result<&AsyncFd<OwnedFd>> {
        if let State::Disarmed(_) = self.state
            && let State::Disarmed(fd) = std::mem::replace(&mut self.state, State::Closed)
        {
            // Why at all: the runtime asks for a promise about the descriptor's life.
            // Why sound: an `OwnedFd` is open and always the same one until it is dropped, and it
            // is given away only by `into_inner`, which unregisters it.
            #[expect(unsafe_code, reason = "registering a descriptor we own")]
            let armed = unsafe { AsyncFd::register_with_interest(fd, self.interest)? };
            self.state = State::Armed(armed);
        }
        match &self.state {
            State::Armed(fd) => Ok(fd),
            State::Disarmed(_) | State::Closed => Err(Errno::BADF.into()),
        }
    }
}
