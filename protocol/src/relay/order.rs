//! Records of one stream and direction, put in order.
//!
//! A relay that reorders or repeats costs nothing. One that loses stalls the stream, since nobody
//! sends a record twice (`rendezvous` section A7); beyond the window that shows.

use std::collections::BTreeMap;

use bytes::Bytes;

/// How far ahead of the next record one may be, in records.
pub const WINDOW: u32 = 64;

/// Records held until those before them come, in bytes.
pub const HELD_BYTES_MAX: usize = 1024 * 1024;

/// Puts records in order.
#[derive(Debug, Default)]
pub struct Order {
    next: u32,
    /// The last number there is was taken.
    is_used_up: bool,
    held: BTreeMap<u32, Bytes>,
    held_bytes: usize,
}

/// Why a stream cannot go on. Something before these records is lost, or the peer does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Too far ahead of the gap.
    #[error("record {seq} came while {next} is missing")]
    Beyond {
        /// What came.
        seq: u32,
        /// What is missing.
        next: u32,
    },
    /// Too much behind the gap.
    #[error("record {next} is missing, and more than {HELD_BYTES_MAX} bytes came behind it")]
    Held {
        /// What is missing.
        next: u32,
    },
    /// The stream carried all the records it can.
    #[error("the numbers of the stream's records are used up")]
    UsedUp,
}

impl Order {
    /// Takes a record. One that came before is ignored.
    pub fn insert(&mut self, seq: u32, payload: Bytes) -> Result<(), OrderError> {
        if self.is_used_up {
            return Err(OrderError::UsedUp);
        }
        let next = self.next;
        let Some(ahead) = seq.checked_sub(next) else {
            return Ok(());
        };
        if ahead >= WINDOW {
            return Err(OrderError::Beyond { seq, next });
        }
        if self.held.contains_key(&seq) {
            return Ok(());
        }
        if ahead > 0 && self.held_bytes + payload.len() > HELD_BYTES_MAX {
            return Err(OrderError::Held { next });
        }
        self.held_bytes += payload.len();
        self.held.insert(seq, payload);
        Ok(())
    }

    /// The next record, if it came.
    pub fn pop(&mut self) -> Option<Bytes> {
        let payload = self.held.remove(&self.next)?;
        self.held_bytes -= payload.len();
        match self.next.checked_add(1) {
            Some(next) => self.next = next,
            None => self.is_used_up = true,
        }
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(seq: u32) -> Bytes {
        Bytes::copy_from_slice(&seq.to_be_bytes())
    }

    proptest! {
        #[test]
        fn any_order_within_the_window_is_put_right_and_repetition_ignored(
            shuffled in Just((0..WINDOW).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let mut order = Order::default();
            let mut out = Vec::new();
            for seq in shuffled {
                order.insert(seq, record(seq)).unwrap();
                order.insert(seq, record(!seq)).unwrap();
                while let Some(payload) = order.pop() {
                    out.push(payload);
                }
            }
            prop_assert_eq!(out, (0..WINDOW).map(record).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_gap_shows_beyond_the_window() {
        let mut order = Order::default();
        for seq in 1..WINDOW {
            order.insert(seq, record(seq)).unwrap();
        }
        assert_eq!(order.pop(), None);
        assert_eq!(
            order.insert(WINDOW, record(WINDOW)),
            Err(OrderError::Beyond {
                seq: WINDOW,
                next: 0
            })
        );
        order.insert(0, record(0)).unwrap();
        for seq in 0..WINDOW {
            assert_eq!(order.pop(), Some(record(seq)));
        }
        assert_eq!(order.pop(), None);
        // What came long ago is passed over.
        assert_eq!(order.insert(0, record(0)), Ok(()));
        assert_eq!(order.pop(), None);
    }

    #[test]
    fn what_waits_behind_a_gap_is_bounded() {
        let mut order = Order::default();
        let large = Bytes::from(vec![0; HELD_BYTES_MAX]);
        order.insert(1, large.clone()).unwrap();
        assert_eq!(
            order.insert(2, record(2)),
            Err(OrderError::Held { next: 0 })
        );
        // The missing one itself is always welcome.
        order.insert(0, large.clone()).unwrap();
        assert_eq!(order.pop(), Some(large.clone()));
        assert_eq!(order.pop(), Some(large));
    }

    #[test]
    fn the_last_number_ends_it() {
        let mut order = Order {
            next: u32::MAX,
            ..Order::default()
        };
        order.insert(u32::MAX, record(1)).unwrap();
        assert_eq!(order.pop(), Some(record(1)));
        assert_eq!(order.insert(0, record(0)), Err(OrderError::UsedUp));
    }
}
