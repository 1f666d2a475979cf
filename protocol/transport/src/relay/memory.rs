//! A sealed stream in memory, for tests.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use farstep_protocol::noise::{Binding, Identity, Initiator, Responder};
use futures_util::{Sink, Stream};
use tokio::sync::mpsc;

use super::Sealed;
use crate::WireError;

/// Frames that may be under way each way. One more ends the carrier: nothing here waits.
const FRAMES_MAX: usize = 1024;

/// A carrier in memory.
#[derive(Debug)]
pub struct Pipe {
    pub(super) out: mpsc::Sender<Bytes>,
    pub(super) into: mpsc::Receiver<Bytes>,
}

/// Two ends of a sealed stream whose handshake is behind them: the orchestrator's and the
/// executor's. None if the system gives no keys.
pub fn memory() -> Option<(Sealed<Pipe>, Sealed<Pipe>)> {
    let (ours, theirs) = (Identity::generate().ok()?, Identity::generate().ok()?);
    let binding = Binding {
        environment: "environment",
        registration: "registration",
        stream: "s",
    };
    let (initiator, first) = Initiator::start(&ours, theirs.public(), &binding, "a").ok()?;
    let responder = Responder {
        identity: &theirs,
        binding,
    };
    let (second, right) = responder.read(&first).ok()?.admit().ok()?;
    let left = initiator.finish(&second).ok()?;
    let (there, from_left) = mpsc::channel(FRAMES_MAX);
    let (back, from_right) = mpsc::channel(FRAMES_MAX);
    let end = |out, into, channel| Sealed::new(Pipe { out, into }, "s".to_owned(), channel);
    Some((end(there, from_right, left), end(back, from_left, right)))
}

impl Stream for Pipe {
    type Item = Result<Bytes, WireError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.into.poll_recv(cx).map(|bytes| bytes.map(Ok))
    }
}

impl Sink<Bytes> for Pipe {
    type Error = WireError;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, bytes: Bytes) -> Result<(), WireError> {
        self.out.try_send(bytes).map_err(|_| WireError::Closed)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        Poll::Ready(Ok(()))
    }
}
