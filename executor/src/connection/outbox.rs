//! What a connection still has to send, in two lanes.
//!
//! ```text
//!   answers ───────────────────▶ ┐
//!                                ├─▶ wire     bulk goes only when the wire has nothing left to
//!   large answers ─▶ ┐           │            write, so an answer waits for one batch of it at most
//!   output ────────▶ ┴─▶ bulk ─▶ ┘
//! ```
//!
//! Output waits in its log, not here. Knows texts and their sizes, nothing of what they say.

use std::collections::VecDeque;

use farstep_transport::Text;

use crate::dispatch::{Pieces, Reply};
use crate::pool::Place;

/// An answer larger than this is bulk: it would hold up the small ones.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Answers waiting for a peer that does not read. Beyond it we stop reading its requests.
pub(crate) const ANSWERS_MAX: usize = 1024;

/// Bytes of them, large ones included. Beyond it we stop reading requests as well.
pub(crate) const BYTES_MAX: usize = 8 * 1024 * 1024;

/// A queue that grew beyond this is given back when it is empty.
const KEPT_TEXTS_MAX: usize = 64;

/// The answers a connection writes.
#[derive(Default)]
pub(super) struct Outbox {
    small: VecDeque<Text>,
    large: VecDeque<Large>,
    bytes: usize,
}

/// An answer that waits until there is nothing else to write.
pub(super) enum Large {
    Whole(Text),
    /// Others may be made when it is written.
    OnPool(Text, Place),
    /// Hardly anything of it is in memory.
    Pieces(Box<Pieces>),
}

impl Outbox {
    /// Takes an answer, into the lane its size asks for.
    pub(super) fn push(&mut self, reply: impl Into<Reply>) {
        match reply.into() {
            Reply::Whole(text) => {
                self.bytes += text.len();
                if text.len() > ANSWER_BYTES_MAX {
                    self.large.push_back(Large::Whole(text));
                } else {
                    self.small.push_back(text);
                }
            }
            Reply::OnPool(text, place) if text.len() > ANSWER_BYTES_MAX => {
                self.bytes += text.len();
                self.large.push_back(Large::OnPool(text, place));
            }
            Reply::OnPool(text, _) => self.push(text),
            Reply::Pieces(pieces) => self.large.push_back(Large::Pieces(pieces)),
            Reply::Sent => {}
        }
    }

    pub(super) fn next_small(&mut self) -> Option<Text> {
        let text = self.small.pop_front()?;
        self.bytes -= text.len();
        if self.small.is_empty() && self.small.capacity() > KEPT_TEXTS_MAX {
            self.small = VecDeque::new();
        }
        Some(text)
    }

    pub(super) fn next_large(&mut self) -> Option<Large> {
        let large = self.large.pop_front()?;
        if let Large::Whole(text) | Large::OnPool(text, _) = &large {
            self.bytes -= text.len();
        }
        Some(large)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    pub(super) fn has_small(&self) -> bool {
        !self.small.is_empty()
    }

    /// Whether another request may be read: its answer has to fit somewhere.
    pub(super) fn has_room(&self) -> bool {
        self.small.len() + self.large.len() < ANSWERS_MAX && self.bytes < BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: usize) -> Text {
        Text::from("x".repeat(bytes))
    }

    #[test]
    fn large_answers_do_not_hold_up_small_ones() {
        let mut outbox = Outbox::default();
        outbox.push(text(ANSWER_BYTES_MAX + 1));
        outbox.push(text(10));
        assert_eq!(outbox.next_small(), Some(text(10)));
        assert!(!outbox.has_small());
        let Some(Large::Whole(large)) = outbox.next_large() else {
            panic!("the large answer is gone");
        };
        assert_eq!(large, text(ANSWER_BYTES_MAX + 1));
    }

    #[test]
    fn a_peer_that_does_not_read_is_not_read_from() {
        let mut outbox = Outbox::default();
        for _ in 0..ANSWERS_MAX {
            assert!(outbox.has_room());
            outbox.push(text(1));
        }
        assert!(!outbox.has_room());
        outbox.next_small();
        assert!(outbox.has_room());
        outbox.push(text(BYTES_MAX));
        assert!(!outbox.has_room());
        while outbox.next_small().is_some() {}
        outbox.next_large();
        assert!(outbox.has_room());
    }
}
