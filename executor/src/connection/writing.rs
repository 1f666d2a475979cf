//! What a connection writes: answers first, and bulk when nothing else is left.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use farstep_transport::{Text, Wire};

use super::outbox::Large;
use super::{Connection, End, Phase};

/// Output handed to the wire between two looks at the requests. Small pieces share a write; a
/// large one is written alone.
const BATCH_BYTES: usize = 64 * 1024;

impl<W: Wire> Connection<W> {
    /// Writes what the wire takes. Says whether there is reason to look at the requests again and
    /// come back.
    pub(super) fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let answers = self.outbox.has_small();
        while self.sending.is_none() && self.outbox.has_small() {
            if !self.is_ready(cx)? {
                return Ok(false);
            }
            if let Some(text) = self.outbox.next_small() {
                self.start_send(text)?;
            }
        }
        let flushed = Pin::new(&mut self.wire).poll_flush(cx);
        if flushed.map_err(End::Broken)?.is_pending() {
            return Ok(false);
        }
        if answers {
            self.rhythm.answered(Instant::now);
        }
        // Nothing is left to write: now bulk may go, and requests come first again behind it.
        let mut bytes = 0;
        while bytes < BATCH_BYTES && self.is_ready(cx)? {
            match self.write_bulk(cx)? {
                0 => break,
                written => bytes += written,
            }
        }
        if bytes > 0 {
            self.rhythm.broken();
        }
        self.server.carried(bytes);
        Ok(bytes > 0)
    }

    fn is_ready(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let ready = Pin::new(&mut self.wire).poll_ready(cx);
        Ok(ready.map_err(End::Broken)?.is_ready())
    }

    fn start_send(&mut self, text: Text) -> Result<(), End> {
        tracing::trace!(bytes = text.len(), "message sent");
        let sent = Pin::new(&mut self.wire).start_send(text);
        sent.map_err(End::Broken)
    }

    /// Hands the wire one message or piece of one, large answers and output in turn. Returns its
    /// bytes, 0 when there is nothing.
    fn write_bulk(&mut self, cx: &mut Context<'_>) -> Result<usize, End> {
        if self.sending.is_some() {
            return self.write_piece(cx);
        }
        self.output_next = !self.output_next;
        let output = if self.output_next {
            self.next_output(cx)
        } else {
            None
        };
        let text = match output {
            Some(text) => text,
            None => match self.outbox.next_large() {
                Some(Large::Whole(text)) => text,
                Some(Large::OnPool(text, place)) => {
                    drop(place);
                    text
                }
                Some(Large::Pieces(pieces)) => {
                    self.sending = Some(pieces);
                    return self.write_piece(cx);
                }
                None => match self.next_output(cx) {
                    Some(text) => text,
                    None => return Ok(0),
                },
            },
        };
        let bytes = text.len();
        self.start_send(text)?;
        Ok(bytes)
    }

    fn write_piece(&mut self, cx: &mut Context<'_>) -> Result<usize, End> {
        let Some(pieces) = &mut self.sending else {
            return Ok(0);
        };
        let Poll::Ready(piece) = pieces.poll_next(cx) else {
            return Ok(0);
        };
        let piece = piece.map_err(End::Torn)?;
        if piece.is_last {
            self.sending = None;
        }
        let bytes = piece.text.len();
        let sent = self.wire.start_part(piece.text, piece.is_last);
        sent.map_err(End::Broken)?;
        Ok(bytes)
    }

    /// What processes and other long work say, in turn.
    fn next_output(&mut self, cx: &mut Context<'_>) -> Option<Text> {
        self.note_next = !self.note_next;
        if self.note_next
            && let Some(note) = self.calls.next_note(cx)
        {
            return Some(note);
        }
        let event = match &mut self.phase {
            Phase::Open(attached) | Phase::Greeted(attached) => attached.next_event(cx),
            Phase::Silent => None,
        };
        event.or_else(|| self.calls.next_note(cx))
    }
}
