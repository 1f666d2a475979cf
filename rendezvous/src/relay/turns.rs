//! Whose frame goes next on a websocket that many streams share.
//!
//! ```text
//!   a small frame of a stream that was quiet ──▶ fresh ──▶ first, up to FRESH bytes
//!                                                  │ used up, empty or bulk
//!   anything else ─────────────────────────────▶ steady ─▶ deficit round robin, QUANTUM each round
//! ```
//!
//! A stream becomes fresh only after the round robin has passed it with nothing to send. So a
//! status call overtakes the bulk of others at once, and whoever makes a stream of small frames
//! takes turns like everybody. Frames of one stream never overtake each other: this decides between
//! streams alone.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// What a stream may send in one round, in bytes: a full record, so that most turns are one frame.
const QUANTUM: usize = 64 * 1024;

/// A frame up to this may overtake: every handshake, and nearly every call.
const SMALL: usize = 8 * 1024;

/// What a stream may send ahead of the others before it takes turns.
const FRESH: usize = 16 * 1024;

/// The streams that have something to send, or had a moment ago.
#[derive(Debug)]
pub(super) struct Turns<Id> {
    fresh: VecDeque<Id>,
    steady: VecDeque<Id>,
    /// What each may still send in this round. Whoever is here is in one of the queues, once.
    deficits: HashMap<Id, usize>,
}

impl<Id> Default for Turns<Id> {
    fn default() -> Turns<Id> {
        Turns {
            fresh: VecDeque::new(),
            steady: VecDeque::new(),
            deficits: HashMap::new(),
        }
    }
}

impl<Id: Copy + Eq + Hash> Turns<Id> {
    /// A stream has a frame of that size more.
    pub(super) fn arrive(&mut self, id: Id, size: usize) {
        if self.deficits.contains_key(&id) {
            return;
        }
        if size <= SMALL {
            self.fresh.push_back(id);
            self.deficits.insert(id, FRESH);
        } else {
            self.steady.push_back(id);
            self.deficits.insert(id, 0);
        }
    }

    /// Whose oldest frame goes next. `head` says how long that of a stream is.
    pub(super) fn next(&mut self, head: impl Fn(Id) -> Option<usize>) -> Option<Id> {
        loop {
            let is_fresh = !self.fresh.is_empty();
            let queue = if is_fresh {
                &mut self.fresh
            } else {
                &mut self.steady
            };
            let id = *queue.front()?;
            let deficit = self.deficits.entry(id).or_default();
            match head(id) {
                Some(size) if *deficit >= size && (!is_fresh || size <= SMALL) => {
                    *deficit -= size;
                    return Some(id);
                }
                None if !is_fresh => {
                    self.deficits.remove(&id);
                    queue.pop_front();
                    continue;
                }
                _ if is_fresh => *deficit = 0,
                // The longest frame takes four rounds.
                _ => *deficit += QUANTUM,
            }
            queue.pop_front();
            self.steady.push_back(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams with the sizes of their frames.
    struct Streams {
        turns: Turns<u8>,
        frames: HashMap<u8, VecDeque<usize>>,
    }

    impl Streams {
        fn new() -> Streams {
            Streams {
                turns: Turns::default(),
                frames: HashMap::new(),
            }
        }

        fn push(&mut self, id: u8, sizes: &[usize]) {
            for size in sizes {
                self.turns.arrive(id, *size);
                self.frames.entry(id).or_default().push_back(*size);
            }
        }

        fn next(&mut self) -> Option<(u8, usize)> {
            let frames = &self.frames;
            let head = |id| frames.get(&id).and_then(|sizes| sizes.front().copied());
            let id = self.turns.next(head)?;
            Some((id, self.frames.get_mut(&id)?.pop_front()?))
        }
    }

    #[test]
    fn a_small_frame_overtakes_the_bulk_of_others_and_never_its_own() {
        let mut streams = Streams::new();
        streams.push(1, &[60_000; 4]);
        assert_eq!(streams.next(), Some((1, 60_000)));
        streams.push(2, &[200]);
        assert_eq!(streams.next(), Some((2, 200)));
        streams.push(1, &[200]);
        for _ in 0..3 {
            assert_eq!(streams.next(), Some((1, 60_000)));
        }
        assert_eq!(streams.next(), Some((1, 200)));
        assert_eq!(streams.next(), None);
        assert!(streams.turns.deficits.is_empty());
    }

    #[test]
    fn each_gets_as_many_bytes_whatever_its_frames_are_like() {
        let mut streams = Streams::new();
        streams.push(1, &[60_000; 100]);
        streams.push(2, &[1_000; 6_000]);
        streams.push(3, &[250_000; 24]);
        let mut sent = [0usize; 4];
        while sent.iter().sum::<usize>() < 9_000_000 {
            let (id, size) = streams.next().unwrap();
            sent[usize::from(id)] += size;
        }
        for id in 1..=3 {
            assert!((2_600_000..3_400_000).contains(&sent[id]), "{sent:?}");
        }
    }

    #[test]
    fn whoever_sends_small_frames_without_end_keeps_nobody_waiting() {
        let mut streams = Streams::new();
        streams.push(1, &[60_000; 2]);
        let mut small = 0;
        loop {
            streams.push(2, &[1_000]);
            match streams.next().unwrap() {
                (2, _) => small += 1,
                (_, _) => break,
            }
        }
        assert!(small <= 2 * FRESH / 1_000, "{small} went first");
    }
}
