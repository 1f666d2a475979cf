//! Connections whose peer is not known yet, oldest first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Where connections wait until it is known who they are.
#[derive(Clone, Debug)]
pub struct WaitingRoom {
    places: usize,
    waiting: Arc<Mutex<BTreeMap<u64, CancellationToken>>>,
}

/// A place in the room, until it is dropped.
#[derive(Debug)]
pub struct Waiting {
    room: WaitingRoom,
    number: u64,
    dropped: CancellationToken,
}

impl WaitingRoom {
    /// A room of `places`.
    pub fn new(places: usize) -> WaitingRoom {
        WaitingRoom {
            places,
            waiting: Arc::default(),
        }
    }

    /// Takes a connection in; numbers grow. When there is no place left, the oldest has to go.
    pub fn enter(&self, number: u64) -> Waiting {
        let dropped = CancellationToken::new();
        let mut waiting = self.waiting();
        if waiting.len() >= self.places
            && let Some((_, oldest)) = waiting.pop_first()
        {
            oldest.cancel();
        }
        waiting.insert(number, dropped.clone());
        Waiting {
            room: self.clone(),
            number,
            dropped,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, CancellationToken>> {
        // Every change is a single call on the map.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Waits until somebody else needs the place.
    pub async fn dropped(&self) {
        self.dropped.cancelled().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.room.waiting().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_waited_longest_makes_room() {
        let room = WaitingRoom::new(2);
        let first = room.enter(1);
        let second = room.enter(2);
        drop(room.enter(3));
        assert!(first.dropped.is_cancelled() && !second.dropped.is_cancelled());
        // A place that was given back is free, also by one that had to go.
        drop(first);
        let fourth = room.enter(4);
        assert!(!second.dropped.is_cancelled() && !fourth.dropped.is_cancelled());
        assert_eq!(room.waiting().len(), 2);
    }
}
