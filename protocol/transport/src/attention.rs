//! A word from whoever reads messages to the socket they come from.
//!
//! ```text
//!   connection ── "look for so long" ──▶ Attention ──▶ socket: asks the system again and again
//!        ▲                                                 │
//!        └────────────── "something came" ◀────────────────┘
//! ```
//!
//! Only a socket that was given one looks; every other way of carrying messages knows nothing of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Shared by the two ends of one connection's task, so nothing here is ever contended.
#[derive(Clone, Debug, Default)]
pub struct Attention(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    nanoseconds: AtomicU64,
    found: AtomicBool,
}

impl Attention {
    /// The next read may look for so long whether something comes.
    pub fn pay(&self, at_most: Duration) {
        let nanoseconds = u64::try_from(at_most.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanoseconds.store(nanoseconds, Ordering::Relaxed);
        self.0.found.store(false, Ordering::Relaxed);
    }

    /// Says whether something came. From now on nobody looks any more.
    pub fn end(&self) -> bool {
        self.0.nanoseconds.store(0, Ordering::Relaxed);
        self.0.found.swap(false, Ordering::Relaxed)
    }

    /// For the socket: how long to look. Whoever asks does so, and nobody after him.
    pub fn due(&self) -> Option<Duration> {
        match self.0.nanoseconds.load(Ordering::Relaxed) {
            0 => None,
            nanoseconds => {
                self.0.nanoseconds.store(0, Ordering::Relaxed);
                Some(Duration::from_nanos(nanoseconds))
            }
        }
    }

    /// For the socket: something came.
    pub fn found(&self) {
        self.0.found.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_is_paid_once_and_only_until_it_ends() {
        let (connection, moment) = (Attention::default(), Duration::from_micros(50));
        let socket = connection.clone();
        assert_eq!(socket.due(), None);
        connection.pay(moment);
        assert_eq!((socket.due(), socket.due()), (Some(moment), None));
        socket.found();
        assert_eq!((connection.end(), connection.end()), (true, false));
        connection.pay(moment);
        assert!(!connection.end());
        assert_eq!(socket.due(), None);
    }
}
