//! One stream's share of the websocket: a carrier of frames.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use farstep_transport::WireError;
use futures_util::{Sink, Stream};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

/// Frames of one stream in, and its turns on the websocket out.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) from_relay: mpsc::Receiver<Bytes>,
    /// Senders that wait take turns, so that no stream keeps the others from the websocket.
    pub(super) to_relay: PollSender<Bytes>,
}

impl Stream for Share {
    type Item = Result<Bytes, WireError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.from_relay.poll_recv(cx).map(|bytes| bytes.map(Ok))
    }
}

impl Sink<Bytes> for Share {
    type Error = WireError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.to_relay
            .poll_reserve(cx)
            .map_err(|_| WireError::Closed)
    }

    fn start_send(mut self: Pin<&mut Self>, bytes: Bytes) -> Result<(), WireError> {
        self.to_relay
            .send_item(bytes)
            .map_err(|_| WireError::Closed)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        // The websocket's own task writes what it is given without waiting for more.
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.to_relay.abort_send();
        Poll::Ready(Ok(()))
    }
}
