//! Where output is read to.
//!
//! Small pieces pass through a buffer of the thread and are kept in memory of exactly their size.
//! A fast stream is read to where it stays, piece behind piece into slabs, and a slab all of whose
//! pieces are gone is used again: fresh memory for a gigabyte costs more than reading it.

use std::cell::RefCell;
use std::io;
use std::task::{Poll, ready};

use bytes::{Bytes, BytesMut};

use crate::os::{READ_MAX, Read};

/// From here on a stream is fast.
const BULK: usize = 16 * 1024;
/// One piece of memory for a fast stream.
const SLAB: usize = 4 * READ_MAX;
/// Less room than this is not worth a read.
const SLAB_REST: usize = READ_MAX / 2;
/// A piece below this is copied out even of a slab: it must not keep all of it alive.
const COPIED: usize = 4 * 1024;
/// A stream that was fast has become slow when so many pieces in a row were copied.
const SLOWED_DOWN: u32 = 16;
/// What an ordinary pipe can hold at most.
const SCRATCH: usize = 64 * 1024;

thread_local! {
    static THREADS_OWN: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// The place for the next piece of one output.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// `None` while the stream is not fast.
    slab: Option<BytesMut>,
    copied: u32,
}

impl Buffer {
    /// Finds a slab for a fast stream, one of its own if their pieces were given back.
    pub(super) fn prepare<I: Iterator<Item = Bytes>>(&mut self, evicted: impl FnOnce() -> I) {
        if let Some(slab) = &mut self.slab
            && slab.capacity() < SLAB_REST
        {
            *slab = reclaim(evicted()).unwrap_or_else(|| BytesMut::with_capacity(SLAB));
        }
    }

    /// Lets `read` fill the free space once, and cuts out what it read. Where no more than `max`
    /// bytes may be kept, no slab is: most of it would be empty.
    pub(super) fn read(
        &mut self,
        max: usize,
        read: impl FnOnce(&mut BytesMut) -> Poll<io::Result<Read>>,
    ) -> Poll<io::Result<(Read, Bytes)>> {
        if max < READ_MAX {
            self.slab = None;
        }
        let Some(slab) = &mut self.slab else {
            return THREADS_OWN.with_borrow_mut(|scratch| {
                scratch.reserve(SCRATCH);
                let outcome = ready!(read(scratch));
                let piece = Bytes::copy_from_slice(scratch);
                scratch.clear();
                Poll::Ready(outcome.map(|outcome| (outcome, piece)))
            });
        };
        if slab.capacity() < SLAB_REST {
            *slab = BytesMut::with_capacity(SLAB);
        }
        let outcome = ready!(read(slab));
        let piece = if slab.len() < COPIED {
            let piece = Bytes::copy_from_slice(slab);
            slab.clear();
            piece
        } else {
            slab.split().freeze()
        };
        Poll::Ready(outcome.map(|outcome| (outcome, piece)))
    }

    /// Adapts to the speed of the stream.
    pub(super) fn note(&mut self, len: usize) {
        if len >= BULK && self.slab.is_none() {
            // Empty: `prepare` finds the memory when the next piece comes.
            self.slab = Some(BytesMut::new());
        }
        if len >= COPIED {
            self.copied = 0;
        } else if self.slab.is_some() {
            self.copied += 1;
            if self.copied >= SLOWED_DOWN {
                self.slab = None;
            }
        }
    }
}

/// A whole slab out of pieces of it, if nobody else has one any more.
fn reclaim(pieces: impl Iterator<Item = Bytes>) -> Option<BytesMut> {
    for piece in pieces {
        // Pieces come in order, so the one to look at is the last of its slab; by then the others
        // are dropped. Those of the next slab are of no use before their own last one.
        if let Ok(mut slab) = piece.try_into_mut() {
            slab.clear();
            if slab.try_reclaim(SLAB) {
                return Some(slab);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut Buffer, evicted: &mut Vec<Bytes>, len: usize) -> Bytes {
        buffer.prepare(|| std::mem::take(evicted).into_iter());
        let read = buffer.read(READ_MAX, |space| {
            space.extend_from_slice(&vec![7; len.min(space.capacity())]);
            Poll::Ready(Ok(Read::Some))
        });
        let Poll::Ready(Ok((_, piece))) = read else {
            panic!("it was ready");
        };
        buffer.note(piece.len());
        piece
    }

    #[test]
    fn a_small_piece_keeps_only_its_own_memory() {
        let mut buffer = Buffer::default();
        let piece = fill(&mut buffer, &mut Vec::new(), 10);
        assert_eq!(piece.try_into_mut().unwrap().capacity(), 10);
        fill(&mut buffer, &mut Vec::new(), BULK);
        let piece = fill(&mut buffer, &mut Vec::new(), COPIED - 1);
        assert_eq!(piece.try_into_mut().unwrap().capacity(), COPIED - 1);
    }

    #[test]
    fn large_pieces_stand_behind_each_other() {
        let mut buffer = Buffer::default();
        fill(&mut buffer, &mut Vec::new(), BULK);
        let one = fill(&mut buffer, &mut Vec::new(), READ_MAX);
        let two = fill(&mut buffer, &mut Vec::new(), READ_MAX);
        assert_eq!(one.as_ptr_range().end, two.as_ptr_range().start);
    }

    #[test]
    fn a_slab_is_used_again_when_all_of_its_pieces_are_gone() {
        let mut buffer = Buffer::default();
        fill(&mut buffer, &mut Vec::new(), BULK);
        let mut kept: Vec<_> = (0..8)
            .map(|_| fill(&mut buffer, &mut Vec::new(), READ_MAX))
            .collect();
        let places: Vec<_> = kept.iter().map(|piece| piece.as_ptr()).collect();
        // The first slab is given back whole, of the second only a part.
        let mut evicted: Vec<_> = kept.drain(..6).collect();
        let again = fill(&mut buffer, &mut evicted, READ_MAX);
        assert_eq!(again.as_ptr(), places[0]);
        assert!(kept.iter().all(|piece| piece.iter().all(|byte| *byte == 7)));
        // Nothing to reclaim: fresh memory.
        let more: Vec<_> = (0..3)
            .map(|_| fill(&mut buffer, &mut Vec::new(), READ_MAX))
            .collect();
        let fresh = fill(&mut buffer, &mut vec![more[0].clone()], READ_MAX);
        assert!(!places.contains(&fresh.as_ptr()));
    }

    #[test]
    fn a_stream_that_slows_down_gives_its_slab_up() {
        let mut buffer = Buffer::default();
        fill(&mut buffer, &mut Vec::new(), BULK);
        for _ in 0..SLOWED_DOWN {
            assert!(buffer.slab.is_some());
            fill(&mut buffer, &mut Vec::new(), 1);
        }
        assert!(buffer.slab.is_none());
    }
}
