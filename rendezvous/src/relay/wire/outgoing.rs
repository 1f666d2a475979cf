//! Messages to what is written on a websocket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncWrite, WriteHalf};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Messages from here on are written from where they are. Below, copying costs less.
const LARGE_BYTES_MIN: usize = 4 * 1024;

/// Pieces of memory that are written at once.
const SLICES: usize = 16;

/// What waits to be written, whole frames in their order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    parts: VecDeque<Bytes>,
    /// What comes behind the parts: headers, and small messages.
    gathered: Vec<u8>,
    waiting: usize,
}

impl Outgoing {
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn binary(&mut self, bytes: Bytes) {
        self.head(OpCode::Data(Data::Binary), bytes.len());
        if bytes.len() < LARGE_BYTES_MIN {
            self.gather(&bytes);
        } else {
            self.waiting += bytes.len();
            self.close_gathered();
            self.parts.push_back(bytes);
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.head(OpCode::Data(Data::Text), text.len());
        self.gather(text.as_bytes());
    }

    pub(super) fn ping(&mut self) {
        self.head(OpCode::Control(Control::Ping), 0);
    }

    pub(super) fn pong(&mut self, said: &[u8]) {
        self.head(OpCode::Control(Control::Pong), said.len());
        self.gather(said);
    }

    pub(super) fn close(&mut self, code: u16, reason: &str) {
        let code = code.to_be_bytes();
        self.head(OpCode::Control(Control::Close), code.len() + reason.len());
        self.gather(&code);
        self.gather(reason.as_bytes());
    }

    fn head(&mut self, opcode: OpCode, length: usize) {
        let header = FrameHeader {
            opcode,
            is_final: true,
            ..FrameHeader::default()
        };
        let before = self.gathered.len();
        // Memory takes everything.
        let _: Result<(), _> = header.format(length as u64, &mut self.gathered);
        self.waiting += self.gathered.len() - before;
    }

    fn gather(&mut self, bytes: &[u8]) {
        self.waiting += bytes.len();
        self.gathered.extend_from_slice(bytes);
    }

    fn close_gathered(&mut self) {
        if !self.gathered.is_empty() {
            let gathered = std::mem::take(&mut self.gathered);
            self.parts.push_back(gathered.into());
        }
    }

    /// Writes until nothing waits.
    pub(super) fn poll_write<S: AsyncWrite>(
        &mut self,
        stream: &mut WriteHalf<S>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.close_gathered();
        while !self.parts.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, part) in slices.iter_mut().zip(&self.parts) {
                *slice = IoSlice::new(part);
            }
            let count = self.parts.len().min(SLICES);
            let slices = slices.get(..count).unwrap_or_default();
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written(written);
        }
        Pin::new(stream).poll_flush(cx)
    }

    fn written(&mut self, mut count: usize) {
        self.waiting = self.waiting.saturating_sub(count);
        while let Some(part) = self.parts.front_mut() {
            if part.len() > count {
                return part.advance(count);
            }
            count -= part.len();
            self.parts.pop_front();
        }
    }
}
