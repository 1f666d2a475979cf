//! Puts the events of one process back in order.
//!
//! Servers number a process's events from 1 without gaps, but some let them overtake each other
//! on the way out (`exec-protocol` section 5). What comes early waits here, within bounds.

use std::collections::BTreeMap;

/// Events that may wait for an earlier one. Beyond, the process counts as failed.
pub const EVENTS_HELD_MAX: usize = 256;
/// Bytes that may wait for an earlier event. Beyond, the process counts as failed.
pub const BYTES_HELD_MAX: usize = 1024 * 1024;

/// Hands events on in the order of their numbers.
#[derive(Debug)]
pub struct Reorder<E> {
    next: u64,
    held: BTreeMap<u64, (usize, E)>,
    bytes: usize,
}

/// Too much came early: what is missing is not coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("process event reorder buffer exceeds {BYTES_HELD_MAX} bytes or {EVENTS_HELD_MAX} events")]
pub struct ReorderOverflow;

impl<E> Default for Reorder<E> {
    fn default() -> Self {
        Reorder {
            next: 1,
            held: BTreeMap::new(),
            bytes: 0,
        }
    }
}

impl<E> Reorder<E> {
    /// The number the next event in order must carry.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// Takes an event of `size` bytes and passes on all that are in order now. Events that were
    /// passed on before are dropped: after a resume a server may repeat itself.
    pub fn push(
        &mut self,
        seq: u64,
        size: usize,
        event: E,
        mut pass_on: impl FnMut(u64, E),
    ) -> Result<(), ReorderOverflow> {
        if seq < self.next {
            return Ok(());
        }
        if seq == self.next {
            pass_on(seq, event);
            self.advance_to(seq + 1, pass_on);
            return Ok(());
        }
        if self.keep(seq, size, event) {
            Ok(())
        } else {
            Err(ReorderOverflow)
        }
    }

    /// Keeps an event of `size` bytes until its turn, also when it is its turn now. Tells whether
    /// there was room; one that was passed on before or is kept already needs none.
    pub fn keep(&mut self, seq: u64, size: usize, event: E) -> bool {
        if seq < self.next || self.held.contains_key(&seq) {
            return true;
        }
        if self.held.len() >= EVENTS_HELD_MAX || self.bytes + size > BYTES_HELD_MAX {
            return false;
        }
        self.bytes += size;
        self.held.insert(seq, (size, event));
        true
    }

    /// Goes on with event `next`, because those before it came another way or never will, and
    /// passes on all that are in order now.
    pub fn advance_to(&mut self, next: u64, mut pass_on: impl FnMut(u64, E)) {
        self.next = self.next.max(next);
        while let Some(first) = self.held.first_entry() {
            if *first.key() > self.next {
                break;
            }
            let (seq, (size, event)) = first.remove_entry();
            self.bytes -= size;
            if seq == self.next {
                self.next += 1;
                pass_on(seq, event);
            }
        }
    }

    /// Whether events wait for an earlier one.
    pub fn has_gap(&self) -> bool {
        !self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_order_comes_out_in_order_once(order in Just((1..=200u64).collect::<Vec<_>>()).prop_shuffle(), repeats in any::<bool>()) {
            let mut reorder = Reorder::default();
            let mut out = Vec::new();
            for seq in order {
                for _ in 0..=usize::from(repeats) {
                    reorder.push(seq, 1, seq, |_, event| out.push(event)).unwrap();
                }
            }
            prop_assert_eq!(out, (1..=200).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_came_another_way_is_not_passed_on_again() {
        let mut reorder = Reorder::default();
        let mut out = Vec::new();
        for seq in [1, 2, 4, 5, 7] {
            assert!(reorder.keep(seq, 1, seq));
        }
        reorder.advance_to(3, |_, seq| out.push(seq));
        assert_eq!((reorder.next_seq(), reorder.has_gap()), (3, true));
        reorder.advance_to(4, |_, seq| out.push(seq));
        assert_eq!((&*out, reorder.next_seq()), (&[4, 5][..], 6));
        assert!(reorder.keep(5, 1, 5));
        reorder.advance_to(9, |_, seq| out.push(seq));
        assert_eq!((&*out, reorder.has_gap()), (&[4, 5][..], false));
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_in_bytes() {
        let mut reorder = Reorder::default();
        for seq in 2..258 {
            reorder.push(seq, 0, (), |_, ()| ()).unwrap();
        }
        assert_eq!(reorder.push(300, 0, (), |_, ()| ()), Err(ReorderOverflow));
        let mut reorder = Reorder::default();
        reorder.push(2, BYTES_HELD_MAX, (), |_, ()| ()).unwrap();
        assert_eq!(reorder.push(3, 1, (), |_, ()| ()), Err(ReorderOverflow));
        assert_eq!(reorder.push(1, 1, (), |_, ()| ()), Ok(()));
        assert_eq!(reorder.next_seq(), 3);
    }
}
