//! What all connections together may hold of messages that came in.
//!
//! A message is charged while it arrives, long before anybody can judge it, and until the last
//! part of its text is let go. Small ones are free: they are bounded by the number of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::Text;

/// What of each message is free. Nearly all messages are smaller, and are never refused.
pub const FREE_BYTES: usize = 64 * 1024;

/// Charged at once, so that the count all connections share is rarely touched.
const STEP_BYTES: usize = 256 * 1024;

/// Bytes that everybody who holds a copy may hold together.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    /// At most `limit` bytes.
    pub fn new(limit: usize) -> Budget {
        Budget(Arc::new(Account {
            used: AtomicUsize::new(0),
            limit,
        }))
    }

    /// How much is charged right now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// A charge of nothing, to be raised.
    pub(crate) fn open(&self) -> Charge {
        Charge {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

/// A part of the budget that somebody holds. Dropping it gives the part back.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Budget,
    bytes: usize,
}

impl Charge {
    /// Raises the charge until it covers a message of `bytes`. False when the budget is used up.
    pub(crate) fn cover(&mut self, bytes: usize) -> bool {
        if bytes <= self.bytes + FREE_BYTES {
            return true;
        }
        let Some(wanted) = (bytes - FREE_BYTES).checked_next_multiple_of(STEP_BYTES) else {
            return false;
        };
        let more = wanted - self.bytes;
        let account = &self.budget.0;
        let raised = account
            .used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(more).filter(|used| *used <= account.limit)
            });
        if raised.is_ok() {
            self.bytes = wanted;
        }
        raised.is_ok()
    }

    /// Ties what was charged to the message that it was charged for, and starts again at nothing.
    pub(crate) fn tie(&mut self, text: Text) -> Text {
        if self.bytes == 0 {
            return text;
        }
        // It was text before, so it is again.
        Text::try_from(self.tie_bytes(text.clone().into())).unwrap_or(text)
    }

    /// The same before anybody has looked whether it is text, which takes time where it is large.
    pub(crate) fn tie_bytes(&mut self, bytes: Bytes) -> Bytes {
        if self.bytes == 0 {
            return bytes;
        }
        let charge = std::mem::replace(self, self.budget.open());
        Bytes::from_owner(Charged {
            bytes,
            _charge: charge,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes that give their charge back when the last of those who share them is gone.
struct Charged {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_messages_are_free_and_large_ones_are_refused_when_all_is_used() {
        let budget = Budget::new(4 * STEP_BYTES);
        let (mut one, mut other) = (budget.open(), budget.open());
        assert!(one.cover(FREE_BYTES) && budget.used() == 0);
        assert!(one.cover(FREE_BYTES + 1) && budget.used() == STEP_BYTES);
        assert!(other.cover(FREE_BYTES + 3 * STEP_BYTES));
        assert!(!one.cover(FREE_BYTES + STEP_BYTES + 1));
        assert!(one.cover(FREE_BYTES + STEP_BYTES));
        drop(other);
        assert!(one.cover(FREE_BYTES + 4 * STEP_BYTES));
        assert!(!one.cover(usize::MAX));
        drop(one);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_message_is_charged_for_as_long_as_any_part_of_it_is_held() {
        let budget = Budget::new(STEP_BYTES);
        let mut charge = budget.open();
        let free = charge.tie(Text::from("small"));
        assert!(charge.cover(2 * FREE_BYTES));
        let large = charge.tie(Text::from("x".repeat(2 * FREE_BYTES)));
        assert_eq!((free.as_str(), budget.used()), ("small", STEP_BYTES));
        let part = Bytes::from(large.clone()).slice(7..9);
        drop((large, charge));
        assert_eq!(budget.used(), STEP_BYTES);
        drop(part);
        assert_eq!(budget.used(), 0);
    }
}
