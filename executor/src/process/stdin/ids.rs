//! The ids of recent writes.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Ids remembered per process. A client repeats a write right after a resume, when at most the
/// writes in flight are in doubt; this is many times that.
pub const REMEMBERED: usize = 4096;

/// Callers count, so most ids are numbers, and then remembering one costs no allocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum WriteId {
    Number(u64),
    Text(Arc<str>),
}

impl WriteId {
    pub(super) fn new(id: &str) -> WriteId {
        // "007", "+7" and "7" are three ids, only one of which is the number.
        let canonical = !id.starts_with(['0', '+']);
        match id.parse() {
            Ok(number) if canonical => WriteId::Number(number),
            _ => WriteId::Text(id.into()),
        }
    }
}

/// The last [`REMEMBERED`] of them; the oldest is forgotten for a new one.
#[derive(Debug, Default)]
pub(super) struct WriteIds {
    order: VecDeque<WriteId>,
    known: HashSet<WriteId>,
}

impl WriteIds {
    pub(super) fn contains(&self, id: &WriteId) -> bool {
        self.known.contains(id)
    }

    pub(super) fn insert(&mut self, id: WriteId) {
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.known.insert(id);
    }

    pub(super) fn forget(&mut self, id: &WriteId) {
        if self.known.remove(id) {
            self.order.retain(|known| known != id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_compared_as_text() {
        for (one, other) in [("7", "07"), ("0", "00"), ("1", "+1"), ("", "0"), ("a", "A")] {
            assert_ne!(WriteId::new(one), WriteId::new(other), "{one} {other}");
        }
        assert_eq!(
            WriteId::new("18446744073709551616"),
            WriteId::new("18446744073709551616")
        );
        assert_eq!(WriteId::new("12"), WriteId::Number(12));
    }

    #[test]
    fn the_oldest_id_is_forgotten_for_a_new_one() {
        let mut ids = WriteIds::default();
        for number in 0..=REMEMBERED {
            ids.insert(WriteId::new(&number.to_string()));
        }
        let known = |number: usize| ids.contains(&WriteId::new(&number.to_string()));
        assert_eq!((known(0), known(1), known(REMEMBERED)), (false, true, true));
    }

    #[test]
    fn a_forgotten_id_is_new_again() {
        let mut ids = WriteIds::default();
        ids.insert(WriteId::new("x"));
        ids.forget(&WriteId::new("x"));
        assert!(!ids.contains(&WriteId::new("x")));
    }
}
