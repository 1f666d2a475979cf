//! The serving end of a websocket whose messages are one frame each: bytes in, bytes out.
//!
//! ```text
//!   socket ──▶ Reader ──▶ incoming ──▶ Said: messages, and what has to be answered
//!   socket ◀── Writer ◀── outgoing ◀── as many messages as there are, in one write
//! ```
//!
//! A large message is read into memory of its own and written from there: the relay neither copies
//! it nor asks the system for it in pieces. What is small is read and written many at a time. A
//! connection that says nothing holds no buffer at all.

mod incoming;
mod outgoing;

use std::future::poll_fn;
use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};

pub(super) use incoming::{Fault, Said};

use super::Ending;
use incoming::Incoming;
use outgoing::Outgoing;

/// Why nothing more is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// The peer broke the rules of websockets.
    Fault(Fault),
    /// The connection broke, or ended without a word.
    Broken,
}

impl From<Fault> for Silence {
    fn from(fault: Fault) -> Silence {
        Silence::Fault(fault)
    }
}

/// The half that is read.
#[derive(Debug)]
pub(crate) struct Reader<S> {
    stream: ReadHalf<S>,
    incoming: Incoming,
}

/// The half that is written.
#[derive(Debug)]
pub(crate) struct Writer<S> {
    stream: WriteHalf<S>,
    outgoing: Outgoing,
}

/// Both halves of a stream behind its upgrade; `read` is what arrived already.
pub(crate) fn split<S: AsyncRead + AsyncWrite>(stream: S, read: &[u8]) -> (Reader<S>, Writer<S>) {
    let (reading, writing) = tokio::io::split(stream);
    let reader = Reader {
        stream: reading,
        incoming: Incoming::new(read),
    };
    let writer = Writer {
        stream: writing,
        outgoing: Outgoing::default(),
    };
    (reader, writer)
}

impl<S: AsyncRead> Reader<S> {
    /// What the peer says next. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Said, Silence> {
        loop {
            if let Some(said) = self.incoming.take()? {
                return Ok(said);
            }
            let Reader { stream, incoming } = self;
            match poll_fn(|cx| incoming.poll_fill(stream, cx)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err(Silence::Broken),
            }
        }
    }
}

impl<S: AsyncWrite> Writer<S> {
    /// How many bytes wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.outgoing.waiting()
    }

    /// A message of the relay.
    pub(super) fn binary(&mut self, bytes: Bytes) {
        self.outgoing.binary(bytes);
    }

    /// A word for our own peers.
    pub(super) fn text(&mut self, text: &'static str) {
        self.outgoing.text(text);
    }

    /// Asks for a sign of life.
    pub(super) fn ping(&mut self) {
        self.outgoing.ping();
    }

    /// The answer to a ping.
    pub(super) fn pong(&mut self, said: &[u8]) {
        self.outgoing.pong(said);
    }

    /// Writes all that waits. Dropping the future loses nothing: the next call goes on.
    pub(super) async fn write(&mut self) -> io::Result<()> {
        let Writer { stream, outgoing } = self;
        poll_fn(|cx| outgoing.poll_write(stream, cx)).await
    }

    /// Writes what waits and says goodbye, if there is anybody to say it to.
    pub(super) async fn farewell(&mut self, ending: Ending) -> io::Result<()> {
        if ending == Ending::BROKEN {
            return Ok(());
        }
        self.outgoing.close(ending.code, ending.reason);
        self.write().await
    }
}

#[cfg(test)]
mod tests;
