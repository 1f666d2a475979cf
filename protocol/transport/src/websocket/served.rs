//! The serving end of a websocket, built for one task that answers many small calls and streams
//! large frames over the same socket.
//!
//! ```text
//!   small texts ──▶ tungstenite's buffer ──────────▶ ┐
//!                                                    ├─▶ socket, one write when flushed
//!   large texts ──▶ header + the text itself ──────▶ ┘   (never copied, never moved)
//!
//!   socket ──▶ small reads straight into tungstenite's buffer
//!         └──▶ while a peer sends much: large reads into a buffer of their own, given back after
//! ```
//!
//! Framing, masking, pings and closing are tungstenite's, used without its own I/O: this module
//! decides only when bytes move, and that nothing gets between the halves of a large frame.

use std::io::{self, IoSlice, Read, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::Interval;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, FrameHeader};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketContext};
use tokio_tungstenite::tungstenite::{self, Message};

use super::{Options, UNANSWERED_MAX, broken, ended, pings};
use crate::budget::Charge;
use crate::{Budget, FRAME_BYTES_MAX, Text, Wire, WireError};

/// Texts from here on are written from where they are. Below, copying costs less than a write.
const LARGE_BYTES_MIN: usize = 16 * 1024;

/// Small texts gathered before they have to be flushed.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// How much is read at once from a peer that sends more than fits the small buffer.
const AHEAD_BYTES: usize = 64 * 1024;

/// One accepted websocket.
#[derive(Debug)]
pub struct Served<S> {
    frames: WebSocketContext,
    socket: Socket<S>,
    large: Option<Large>,
    /// Bytes given to `frames` since all of it was written.
    gathered: usize,
    /// A message is being sent in parts.
    in_parts: bool,
    pings: Option<Interval>,
    unanswered: u32,
    farewell: Option<&'static str>,
    ended: bool,
}

/// A message that is written from where it is.
#[derive(Debug)]
struct Large {
    header: Bytes,
    payload: Bytes,
    /// What follows in frames of its own, because a frame is bounded.
    rest: Bytes,
    ends_message: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Served<S> {
    /// The serving end of a connection whose HTTP upgrade was answered already. `read` is what
    /// arrived behind the upgrade request. Needs a tokio runtime around it.
    pub fn new(stream: S, read: Vec<u8>, options: &Options) -> Self {
        let config = options.config().write_buffer_size(2 * GATHERED_BYTES_MAX);
        Served {
            frames: WebSocketContext::from_partially_read(read, Role::Server, Some(config)),
            socket: Socket {
                stream,
                ahead: BytesMut::new(),
                is_hungry: false,
                is_mid_frame: false,
                arrived: 0,
                charge: None,
            },
            large: None,
            gathered: 0,
            in_parts: false,
            pings: options.ping_interval.map(pings),
            unanswered: 0,
            farewell: None,
            ended: false,
        }
    }

    /// Shares `budget` with other connections: a message it has no room for ends the connection
    /// with [`WireError::Overloaded`] while it arrives.
    #[must_use]
    pub fn within(mut self, budget: &Budget) -> Self {
        self.socket.charge = Some(budget.open());
        self
    }

    /// Reads and forgets what still comes, until the other side closes: what was said last arrives
    /// only if nothing is left unread.
    pub async fn discard(&mut self) {
        let mut room = [0; 4096];
        while matches!(self.socket.stream.read(&mut room).await, Ok(1..)) {}
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
            self.queue(Message::Ping(Bytes::new()))?;
            // A socket that takes nothing now is flushed by whoever writes next.
            if let Poll::Ready(flushed) = self.poll_written(cx) {
                flushed?;
            }
        }
        Ok(())
    }

    /// Gives a message to tungstenite, which writes nothing before it is flushed.
    fn queue(&mut self, message: Message) -> Result<(), WireError> {
        self.gathered += message.len();
        match self.frames.write(&mut NoSocket, message) {
            Err(tungstenite::Error::Io(error)) if is_blocked(&error) => Ok(()),
            written => written.map_err(broken),
        }
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        if !self.socket.is_mid_frame {
            ready!(self.poll_gathered(cx))?;
        }
        while let Some(large) = &mut self.large {
            self.socket.is_mid_frame = true;
            ready!(large.poll_write(cx, &mut self.socket.stream))?;
            self.socket.is_mid_frame = false;
            if !large.next_frame() {
                self.large = None;
            }
            // Pongs and pings may go between two frames.
            ready!(self.poll_gathered(cx))?;
        }
        Pin::new(&mut self.socket.stream)
            .poll_flush(cx)
            .map_err(WireError::Io)
    }

    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let flushed = self.frames.flush(&mut self.socket.on(cx));
        match flushed {
            Err(tungstenite::Error::Io(error)) if is_blocked(&error) => Poll::Pending,
            // The close was answered; all of it is written.
            Ok(()) | Err(tungstenite::Error::ConnectionClosed) => {
                self.gathered = 0;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(broken(error))),
        }
    }

    fn begin(&mut self, text: Text, starts: bool, ends: bool) -> Result<(), WireError> {
        if starts && ends && text.len() < LARGE_BYTES_MIN {
            return self.queue(Message::Text(text));
        }
        self.large = Some(Large::new(text.into(), starts, ends)?);
        Ok(())
    }
}

impl Large {
    fn new(mut payload: Bytes, starts: bool, ends_message: bool) -> Result<Large, WireError> {
        let rest = payload.split_off(payload.len().min(FRAME_BYTES_MAX));
        let kind = if starts { Data::Text } else { Data::Continue };
        let ends = ends_message && rest.is_empty();
        let header = header(kind, ends, payload.len())?;
        Ok(Large {
            header,
            payload,
            rest,
            ends_message,
        })
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        while self.header.has_remaining() || self.payload.has_remaining() {
            let slices = [IoSlice::new(&self.header), IoSlice::new(&self.payload)];
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_header = written.min(self.header.len());
            self.header.advance(of_header);
            self.payload.advance(written - of_header);
        }
        Poll::Ready(Ok(()))
    }

    /// Goes on with the next frame of the message, if there is one.
    fn next_frame(&mut self) -> bool {
        if self.rest.is_empty() {
            return false;
        }
        let next = Large::new(std::mem::take(&mut self.rest), false, self.ends_message);
        next.map(|next| *self = next).is_ok()
    }
}

fn header(kind: Data, is_final: bool, length: usize) -> Result<Bytes, WireError> {
    let header = FrameHeader {
        is_final,
        opcode: OpCode::Data(kind),
        ..FrameHeader::default()
    };
    let mut out = Vec::with_capacity(header.len(length as u64));
    header.format(length as u64, &mut out).map_err(broken)?;
    Ok(out.into())
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Served<S> {
    type Item = Result<Text, WireError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if let Err(error) = this.poll_pings(cx) {
            this.ended = true;
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let message = match this.frames.read(&mut this.socket.on(cx)) {
                Ok(message) => message,
                Err(tungstenite::Error::Io(error)) if is_blocked(&error) => return Poll::Pending,
                Err(tungstenite::Error::Io(error)) if error.kind() == OVERLOADED => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(WireError::Overloaded)));
                }
                Err(error) => {
                    this.ended = true;
                    return Poll::Ready(ended(error).map(Err));
                }
            };
            // Anything at all is a sign of life.
            this.unanswered = 0;
            match message {
                Message::Text(text) => return Poll::Ready(Some(Ok(this.socket.settle(text)))),
                Message::Binary(bytes) => {
                    let text = Text::try_from(bytes).map_err(|_| WireError::NotText);
                    return Poll::Ready(Some(text.map(|text| this.socket.settle(text))));
                }
                Message::Close(_) => {
                    // Nothing follows. The answer goes out if the socket takes it now.
                    this.ended = true;
                    let _: Poll<Result<(), WireError>> = this.poll_written(cx);
                    return Poll::Ready(None);
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Text> for Served<S> {
    type Error = WireError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let this = self.get_mut();
        if this.large.is_some() || this.gathered >= GATHERED_BYTES_MAX {
            ready!(this.poll_written(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, text: Text) -> Result<(), WireError> {
        self.get_mut().begin(text, true, true)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.get_mut().poll_written(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let this = self.get_mut();
        if this.large.is_some() {
            ready!(this.poll_written(cx))?;
        }
        if this.frames.can_write() {
            let reason = this.farewell.take().map(|reason| CloseFrame {
                code: CloseCode::Policy,
                reason: reason.into(),
            });
            match this.frames.close(&mut NoSocket, reason) {
                Err(tungstenite::Error::Io(error)) if is_blocked(&error) => {}
                closed => closed.map_err(broken)?,
            }
        }
        this.poll_gathered(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for Served<S> {
    fn start_part(&mut self, part: Text, is_last: bool) -> Result<(), WireError> {
        let starts = !std::mem::replace(&mut self.in_parts, !is_last);
        self.begin(part, starts, is_last)
    }

    fn set_farewell(&mut self, reason: &'static str) {
        self.farewell = Some(reason);
    }
}

/// The byte stream below, and what was read from it in advance.
#[derive(Debug)]
struct Socket<S> {
    stream: S,
    ahead: BytesMut,
    /// The last read filled all the room there was.
    is_hungry: bool,
    /// A large frame is written in part: nobody else may write.
    is_mid_frame: bool,
    /// Bytes read since the last whole message, and what is charged for them.
    arrived: usize,
    charge: Option<Charge>,
}

/// How the socket says that the budget is used up, on its way through tungstenite.
const OVERLOADED: io::ErrorKind = io::ErrorKind::OutOfMemory;

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    fn on<'a, 'b>(&'a mut self, cx: &'a mut Context<'b>) -> SocketOn<'a, 'b, S> {
        SocketOn { socket: self, cx }
    }

    /// Reads, and charges for what was read before more is asked for.
    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let count = ready!(self.poll_read_some(cx, room))?;
        self.arrived += count;
        let charge = self.charge.as_mut();
        Poll::Ready(
            match charge.is_none_or(|charge| charge.cover(self.arrived)) {
                true => Ok(count),
                false => Err(OVERLOADED.into()),
            },
        )
    }

    /// A message is whole: what was charged stays with it.
    fn settle(&mut self, text: Text) -> Text {
        self.arrived = 0;
        match &mut self.charge {
            Some(charge) => charge.tie(text),
            None => text,
        }
    }

    fn poll_read_some(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.ahead.is_empty() {
            if !self.is_hungry {
                return self.poll_read_directly(cx, room);
            }
            ready!(self.poll_read_ahead(cx))?;
        }
        let count = room.len().min(self.ahead.len());
        self.ahead
            .copy_to_slice(room.get_mut(..count).unwrap_or_default());
        if self.ahead.is_empty() && !self.is_hungry {
            // The peer pauses: an idle connection holds no large buffer.
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ahead.reserve(AHEAD_BYTES);
        let room = self.ahead.capacity();
        // Dropping the future of a read that is not ready loses nothing.
        let read = pin!(self.stream.read_buf(&mut self.ahead)).poll(cx);
        self.is_hungry = self.ahead.len() == room;
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        ready!(read)?;
        Poll::Ready(Ok(()))
    }

    fn poll_read_directly(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(room);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        self.is_hungry = buffer.remaining() == 0;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// The socket in the hands of a polled task: what would wait is reported as blocked.
struct SocketOn<'a, 'b, S> {
    socket: &'a mut Socket<S>,
    cx: &'a mut Context<'b>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Read for SocketOn<'_, '_, S> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        or_blocked(self.socket.poll_read(self.cx, room))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for SocketOn<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.socket.is_mid_frame {
            // Whoever finishes the frame flushes what waits here.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        or_blocked(Pin::new(&mut self.socket.stream).poll_write(self.cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        or_blocked(Pin::new(&mut self.socket.stream).poll_flush(self.cx))
    }
}

/// Stands in where a message is only to be queued.
struct NoSocket;

impl Read for NoSocket {
    fn read(&mut self, _room: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for NoSocket {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

fn or_blocked<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn is_blocked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests;
