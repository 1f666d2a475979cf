//! Messages as websocket text, over whatever byte stream carries them.
//!
//! Nothing is batched here: feed what there is, then flush once. Whoever dials or accepts a socket
//! sets `TCP_NODELAY`, so that the system does not batch either.

#[cfg(feature = "relay")]
mod binary;
mod served;
mod upgrade;

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, error::CapacityError};

use crate::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, Text, Wire, WireError};

#[cfg(feature = "relay")]
pub use binary::{Binary, Notice};
pub use served::Served;
pub use upgrade::{Upgrade, UpgradeError, upgrade};

/// How often an idle connection is asked for a sign of life.
pub const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How soon a new connection is asked for the first time, so that one whose peer vanished at once
/// is noticed early.
const FIRST_PING: Duration = Duration::from_secs(5);
/// A peer that left this many pings unanswered is gone: a laptop that changed networks must not
/// block its own resume for as long as TCP is patient.
const UNANSWERED_MAX: u32 = 2;

/// Pongs that a peer may leave untaken, in bytes of what it sent with its pings. Beyond it nothing
/// more is read: who only asks and takes no answer would fill our memory with them.
const PONG_BYTES_MAX: usize = 16 * 1024;
/// What the smallest frame adds to that.
const PONG_HEAD_BYTES: usize = 2;

/// How one end of a websocket is set up.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Largest inbound message put together, in bytes.
    pub message_bytes_max: usize,
    /// Largest inbound frame, in bytes.
    pub frame_bytes_max: usize,
    /// How much is taken from the socket at once, in bytes; held by every connection.
    pub read_buffer_bytes: usize,
    /// How much may be written before the socket is tried, in bytes; grows on demand.
    pub write_buffer_bytes: usize,
    /// How often to ping, the first time sooner; `None` never does and never gives a silent peer up.
    pub ping_interval: Option<Duration>,
}

impl Options {
    /// For the side that serves: bounded input, small idle connections.
    pub fn server() -> Self {
        Options {
            message_bytes_max: MESSAGE_BYTES_MAX,
            frame_bytes_max: FRAME_BYTES_MAX,
            read_buffer_bytes: 512,
            write_buffer_bytes: 64 * 1024,
            ping_interval: Some(PING_INTERVAL),
        }
    }

    /// For the side that calls. Executors answer a whole file in one frame, so much larger
    /// messages must be taken; 1 GiB is a 512 MiB file in base64 with room to spare.
    pub fn client() -> Self {
        Options {
            message_bytes_max: 1024 * 1024 * 1024,
            frame_bytes_max: 1024 * 1024 * 1024,
            read_buffer_bytes: 64 * 1024,
            write_buffer_bytes: 64 * 1024,
            ping_interval: Some(PING_INTERVAL),
        }
    }

    /// For a rendezvous, whose messages are one frame each and bounded.
    #[cfg(feature = "relay")]
    pub fn relay() -> Self {
        Options {
            message_bytes_max: farstep_protocol::relay::FRAME_BYTES_MAX,
            frame_bytes_max: farstep_protocol::relay::FRAME_BYTES_MAX,
            read_buffer_bytes: 16 * 1024,
            write_buffer_bytes: 64 * 1024,
            ping_interval: Some(PING_INTERVAL),
        }
    }

    fn config(&self) -> WebSocketConfig {
        WebSocketConfig::default()
            .max_message_size(Some(self.message_bytes_max))
            .max_frame_size(Some(self.frame_bytes_max))
            .read_buffer_size(self.read_buffer_bytes)
            .write_buffer_size(self.write_buffer_bytes)
    }
}

/// One end of a websocket.
#[derive(Debug)]
pub struct WebSocket<S> {
    inner: WebSocketStream<S>,
    pings: Option<Interval>,
    /// A message is being sent in parts.
    in_parts: bool,
    unanswered: u32,
    /// Bytes of pongs since all of it was written.
    pongs: usize,
    farewell: Option<&'static str>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// The serving end of a connection whose HTTP upgrade was answered already. `read` is what
    /// arrived behind the upgrade request.
    pub async fn accepted(stream: S, read: Vec<u8>, options: &Options) -> Self {
        let config = Some(options.config());
        let inner = WebSocketStream::from_partially_read(stream, read, Role::Server, config).await;
        WebSocket::over(inner, options)
    }

    fn over(inner: WebSocketStream<S>, options: &Options) -> Self {
        WebSocket {
            inner,
            pings: options.ping_interval.map(pings),
            in_parts: false,
            unanswered: 0,
            pongs: 0,
            farewell: None,
        }
    }

    /// The byte stream below.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    fn poll_pings(&mut self, cx: &mut Context<'_>) -> Result<(), WireError> {
        while let Some(pings) = &mut self.pings
            && pings.poll_tick(cx).is_ready()
        {
            if self.unanswered >= UNANSWERED_MAX {
                return Err(WireError::Unresponsive {
                    pings: self.unanswered,
                });
            }
            self.unanswered += 1;
            let ping = Message::Ping(bytes::Bytes::new());
            Pin::new(&mut self.inner).start_send(ping).map_err(broken)?;
            // A socket that takes nothing now is flushed by whoever writes next.
            if let Poll::Ready(flushed) = self.poll_written(cx) {
                flushed?;
            }
        }
        Ok(())
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx)).map_err(broken)?;
        self.pongs = 0;
        Poll::Ready(Ok(()))
    }

    /// The next text or binary message.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, WireError>>> {
        if let Err(error) = self.poll_pings(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            if self.pongs >= PONG_BYTES_MAX
                && let Err(error) = ready!(self.poll_written(cx))
            {
                return Poll::Ready(Some(Err(error)));
            }
            let message = match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(ended(error).map(Err)),
                None => return Poll::Ready(None),
            };
            // Anything at all is a sign of life.
            self.unanswered = 0;
            match message {
                Message::Text(_) | Message::Binary(_) => return Poll::Ready(Some(Ok(message))),
                Message::Close(_) => {
                    // Our answer is queued; a peer that does not take it now misses nothing.
                    let _ = Pin::new(&mut self.inner).poll_flush(cx);
                    return Poll::Ready(None);
                }
                Message::Ping(said) => self.pongs += PONG_HEAD_BYTES + said.len(),
                Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for WebSocket<S> {
    type Item = Result<Text, WireError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let message = ready!(self.get_mut().poll_message(cx));
        Poll::Ready(message.map(|message| match message? {
            Message::Text(text) => Ok(text),
            other => Text::try_from(other.into_data()).map_err(|_| WireError::NotText),
        }))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Text> for WebSocket<S> {
    type Error = WireError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        Pin::new(&mut self.get_mut().inner)
            .poll_ready(cx)
            .map_err(broken)
    }

    fn start_send(self: Pin<&mut Self>, text: Text) -> Result<(), WireError> {
        let inner = &mut self.get_mut().inner;
        if text.len() <= FRAME_BYTES_MAX {
            return Pin::new(inner)
                .start_send(Message::Text(text))
                .map_err(broken);
        }
        let mut rest = bytes::Bytes::from(text);
        let mut kind = Data::Text;
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(FRAME_BYTES_MAX));
            let frame = Frame::message(part, OpCode::Data(kind), rest.is_empty());
            Pin::new(&mut *inner)
                .start_send(Message::Frame(frame))
                .map_err(broken)?;
            kind = Data::Continue;
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.get_mut().poll_written(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let this = self.get_mut();
        if let Some(reason) = this.farewell.take() {
            let frame = CloseFrame {
                code: CloseCode::Policy,
                reason: reason.into(),
            };
            let close = Message::Close(Some(frame));
            Pin::new(&mut this.inner)
                .start_send(close)
                .map_err(broken)?;
        }
        match ready!(Pin::new(&mut this.inner).poll_close(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(ended(error).map_or(Ok(()), Err)),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for WebSocket<S> {
    fn start_part(&mut self, part: Text, is_last: bool) -> Result<(), WireError> {
        let starts = !std::mem::replace(&mut self.in_parts, !is_last);
        let kind = if starts { Data::Text } else { Data::Continue };
        let frame = Frame::message(part, OpCode::Data(kind), is_last);
        Pin::new(&mut self.inner)
            .start_send(Message::Frame(frame))
            .map_err(broken)
    }

    fn set_farewell(&mut self, reason: &'static str) {
        self.farewell = Some(reason);
    }
}

fn pings(every: Duration) -> Interval {
    let first = tokio::time::Instant::now() + every.min(FIRST_PING);
    let mut pings = interval_at(first, every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

/// A broken connection, unless it merely ended.
fn ended(error: tungstenite::Error) -> Option<WireError> {
    use tungstenite::error::ProtocolError;
    match error {
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        // The peer we are compatible with never says goodbye.
        | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        error => Some(broken(error)),
    }
}

fn broken(error: tungstenite::Error) -> WireError {
    match error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            WireError::Closed
        }
        tungstenite::Error::Io(error) => WireError::Io(error),
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { max_size, .. }) => {
            WireError::TooLong { limit: max_size }
        }
        error => WireError::WebSocket(Box::new(error)),
    }
}

#[cfg(test)]
mod tests;
