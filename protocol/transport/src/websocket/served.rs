//! The serving end of a websocket, built for one task that answers many small calls and streams
//! large frames over the same socket.
//!
//! ```text
//!   small texts ──▶ gathered, frame behind frame ──▶ ┐
//!                                                    ├─▶ socket, one write when flushed
//!   large texts ──▶ header + the text itself ──────▶ ┘   (never copied, never moved)
//!
//!   socket ──▶ small reads by way of the stack ─────────────────────────────────▶ tungstenite
//!         ├──▶ while a peer sends much: reads into a buffer of their own, given back after ─┘
//!         └──▶ a large message: into its own memory, unmasked piece by piece
//! ```
//!
//! Framing, masking, pings and closing are tungstenite's, used without its own I/O: this module
//! decides only when bytes move, and that nothing gets between the halves of what it writes itself.
//! The one exception is a large message in a single frame, whose bytes come straight to where they
//! stay; see [`socket`].
//! Nothing that a connection needs only while it is busy is kept while it is idle.

mod socket;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::Interval;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, FrameHeader};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketContext};
use tokio_tungstenite::tungstenite::{self, Message};

use super::{Options, PONG_BYTES_MAX, PONG_HEAD_BYTES, UNANSWERED_MAX, broken, ended, pings};
use crate::{Attention, Budget, FRAME_BYTES_MAX, Text, Wire, WireError};
use socket::{NoSocket, OVERLOADED, Socket, is_blocked};

/// Texts from here on are written from where they are. Below, copying costs less than a write.
const LARGE_BYTES_MIN: usize = 16 * 1024;

/// Small texts gathered before they have to be flushed.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// One accepted websocket.
#[derive(Debug)]
pub struct Served<S> {
    frames: WebSocketContext,
    socket: Socket<S>,
    /// Frames of small texts, whole ones, to be written together.
    gathered: Vec<u8>,
    writing: Option<Writing>,
    /// Bytes of pongs that were not written yet.
    pongs: usize,
    /// A message is being sent in parts.
    in_parts: bool,
    pings: Option<Interval>,
    unanswered: u32,
    farewell: Option<&'static str>,
    attention: Option<Attention>,
    ended: bool,
}

/// What was begun and has to be written whole before anything else.
#[derive(Debug, Default)]
struct Writing {
    /// Frames of small texts, and the header of the payload if there is one.
    head: Bytes,
    /// A text that is written from where it is.
    payload: Bytes,
    /// What follows of it in frames of its own, because a frame is bounded.
    rest: Bytes,
    ends_message: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Served<S> {
    /// The serving end of a connection whose HTTP upgrade was answered already. `read` is what
    /// arrived behind the upgrade request. Needs a tokio runtime around it.
    pub fn new(stream: S, read: Vec<u8>, options: &Options) -> Self {
        let config = Some(options.config());
        Served {
            frames: WebSocketContext::new(Role::Server, config),
            socket: Socket::new(stream, &read, options),
            gathered: Vec::new(),
            writing: None,
            pongs: 0,
            in_parts: false,
            pings: options.ping_interval.map(pings),
            unanswered: 0,
            farewell: None,
            attention: None,
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

    /// Says that the stream below can be looked at for a moment, and how it is told.
    #[must_use]
    pub fn attended(mut self, attention: Option<Attention>) -> Self {
        self.attention = attention;
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
            self.socket.forget_spare();
            if self.unanswered >= UNANSWERED_MAX {
                return Err(WireError::Unresponsive {
                    pings: self.unanswered,
                });
            }
            self.unanswered += 1;
            self.control(Message::Ping(Bytes::new()))?;
            // A socket that takes nothing now is flushed by whoever writes next.
            if let Poll::Ready(flushed) = self.poll_written(cx) {
                flushed?;
            }
        }
        Ok(())
    }

    /// Gives a control frame to tungstenite, which writes nothing before it is flushed.
    fn control(&mut self, message: Message) -> Result<(), WireError> {
        match self.frames.write(&mut NoSocket, message) {
            Err(tungstenite::Error::Io(error)) if is_blocked(&error) => Ok(()),
            written => written.map_err(broken),
        }
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        if self.writing.is_none() && !self.gathered.is_empty() {
            self.writing = Some(Writing {
                head: std::mem::take(&mut self.gathered).into(),
                ..Writing::default()
            });
        }
        while let Some(writing) = &mut self.writing {
            self.socket.is_mid_frame = true;
            ready!(writing.poll_write(cx, &mut self.socket.stream))?;
            self.socket.is_mid_frame = false;
            if !writing.next_frame()? {
                self.writing = None;
            }
            // Pongs and pings may go between two frames; a close goes behind the last.
            ready!(self.poll_control(cx))?;
        }
        ready!(self.poll_control(cx))?;
        Pin::new(&mut self.socket.stream)
            .poll_flush(cx)
            .map_err(WireError::Io)
    }

    /// Writes what tungstenite has to say: pings, pongs and the close.
    fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let flushed = self.frames.flush(&mut self.socket.on(cx));
        match flushed {
            Err(tungstenite::Error::Io(error)) if is_blocked(&error) => Poll::Pending,
            // The close was answered; all of it is written.
            Ok(()) | Err(tungstenite::Error::ConnectionClosed) => {
                self.pongs = 0;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(broken(error))),
        }
    }

    fn begin(&mut self, text: Text, starts: bool, ends: bool) -> Result<(), WireError> {
        let kind = if starts { Data::Text } else { Data::Continue };
        if text.len() < LARGE_BYTES_MIN {
            push_header(&mut self.gathered, kind, ends, text.len())?;
            self.gathered.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        let head = std::mem::take(&mut self.gathered);
        self.writing = Some(Writing::new(head, kind, text.into(), ends)?);
        Ok(())
    }
}

impl Writing {
    fn new(
        mut head: Vec<u8>,
        kind: Data,
        mut payload: Bytes,
        ends_message: bool,
    ) -> Result<Writing, WireError> {
        let rest = payload.split_off(payload.len().min(FRAME_BYTES_MAX));
        push_header(
            &mut head,
            kind,
            ends_message && rest.is_empty(),
            payload.len(),
        )?;
        Ok(Writing {
            head: head.into(),
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
        while self.head.has_remaining() || self.payload.has_remaining() {
            let slices = [IoSlice::new(&self.head), IoSlice::new(&self.payload)];
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = written.min(self.head.len());
            self.head.advance(of_head);
            self.payload.advance(written - of_head);
        }
        Poll::Ready(Ok(()))
    }

    /// Goes on with the next frame of the message, if there is one.
    fn next_frame(&mut self) -> Result<bool, WireError> {
        if self.rest.is_empty() {
            return Ok(false);
        }
        let rest = std::mem::take(&mut self.rest);
        *self = Writing::new(Vec::new(), Data::Continue, rest, self.ends_message)?;
        Ok(true)
    }
}

fn push_header(
    out: &mut Vec<u8>,
    kind: Data,
    is_final: bool,
    length: usize,
) -> Result<(), WireError> {
    let header = FrameHeader {
        is_final,
        opcode: OpCode::Data(kind),
        ..FrameHeader::default()
    };
    out.reserve(FRAME_HEADER_BYTES_MAX + length.min(LARGE_BYTES_MIN));
    header.format(length as u64, out).map_err(broken)
}

/// The header of an unmasked frame.
const FRAME_HEADER_BYTES_MAX: usize = 10;

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
            if this.pongs >= PONG_BYTES_MAX
                && let Err(error) = ready!(this.poll_written(cx))
            {
                this.ended = true;
                return Poll::Ready(Some(Err(error)));
            }
            if this.socket.is_large() {
                let large = ready!(this.socket.poll_large(cx));
                this.unanswered = 0;
                this.ended = match &large {
                    Some(Ok(_)) => false,
                    Some(Err(error)) => !error.is_survivable(),
                    None => true,
                };
                return Poll::Ready(large);
            }
            let message = match this.frames.read(&mut this.socket.on(cx)) {
                Ok(message) => message,
                // What it was denied is a large message that begins here.
                Err(tungstenite::Error::Io(error))
                    if is_blocked(&error) && this.socket.is_large() =>
                {
                    continue;
                }
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
                Message::Ping(said) => this.pongs += PONG_HEAD_BYTES + said.len(),
                Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sink<Text> for Served<S> {
    type Error = WireError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        let this = self.get_mut();
        if this.writing.is_some() || this.gathered.len() >= GATHERED_BYTES_MAX {
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
        if this.writing.is_some() || !this.gathered.is_empty() {
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
        this.poll_control(cx)
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

    fn attention(&self) -> Option<&Attention> {
        self.attention.as_ref()
    }
}

#[cfg(test)]
mod tests;
