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

/// An answer larger than this is bulk: it would hold up the small ones.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Answers waiting for a peer that does not read. Beyond it we stop reading its requests.
pub(crate) const ANSWERS_MAX: usize = 1024;

/// Bytes of them, large ones included. Beyond it we stop reading requests as well.
pub(crate) const BYTES_MAX: usize = 8 * 1024 * 1024;

/// A queue that grew beyond this is given back when it is empty.
const KEPT_TEXTS_MAX: usize = 64;

/// The answers a connection writes.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    small: VecDeque<Text>,
    large: VecDeque<Text>,
    bytes: usize,
}

impl Outbox {
    /// Takes an answer, into the lane its size asks for.
    pub(super) fn push(&mut self, text: Text) {
        self.bytes += text.len();
        if text.len() > ANSWER_BYTES_MAX {
            self.large.push_back(text);
        } else {
            self.small.push_back(text);
        }
    }

    pub(super) fn next_small(&mut self) -> Option<Text> {
        let text = self.small.pop_front();
        self.taken(text)
    }

    pub(super) fn next_large(&mut self) -> Option<Text> {
        let text = self.large.pop_front();
        self.taken(text)
    }

    pub(super) fn has_small(&self) -> bool {
        !self.small.is_empty()
    }

    /// Whether another request may be read: its answer has to fit somewhere.
    pub(super) fn has_room(&self) -> bool {
        self.small.len() + self.large.len() < ANSWERS_MAX && self.bytes < BYTES_MAX
    }

    fn taken(&mut self, text: Option<Text>) -> Option<Text> {
        self.bytes -= text.as_ref().map_or(0, |text| text.len());
        if self.small.is_empty() && self.small.capacity() > KEPT_TEXTS_MAX {
            self.small = VecDeque::new();
        }
        text
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
        assert_eq!(outbox.next_large(), Some(text(ANSWER_BYTES_MAX + 1)));
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
