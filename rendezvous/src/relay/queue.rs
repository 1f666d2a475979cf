//! Frames of one stream that wait in one direction.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// How much of a stream may wait in one direction, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Bytes at which it is full.
    pub bytes: usize,
    /// Frames at which it is full.
    pub frames: usize,
    /// For how long it may be full with none of it taken. Then the stream is reset.
    pub stall: Duration,
}

impl Default for QueueLimits {
    /// `rendezvous` section C8.
    fn default() -> QueueLimits {
        QueueLimits {
            bytes: 256 * 1024,
            frames: 8,
            stall: Duration::from_secs(30),
        }
    }
}

/// A frame that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    /// As it came.
    pub(super) bytes: Bytes,
    /// When its last byte was read.
    pub(super) since: Instant,
}

/// One direction of one stream.
#[derive(Debug, Default)]
pub(super) struct Queue {
    frames: VecDeque<Queued>,
    bytes: usize,
    /// Since when it is full and nothing was taken.
    stuck_since: Option<Instant>,
}

impl Queue {
    /// Puts a frame behind the others, whether there is room or not: who asked [`Queue::is_full`]
    /// before reading is one frame above at most.
    pub(super) fn push(&mut self, bytes: Bytes, now: Instant, limits: &QueueLimits) {
        self.bytes += bytes.len();
        self.frames.push_back(Queued { bytes, since: now });
        if self.is_full(limits) {
            self.stuck_since.get_or_insert(now);
        }
    }

    /// The oldest frame.
    pub(super) fn pop(&mut self, now: Instant, limits: &QueueLimits) -> Option<Queued> {
        let queued = self.frames.pop_front()?;
        self.bytes -= queued.bytes.len();
        // Something was taken, so the time begins anew.
        self.stuck_since = self.is_full(limits).then_some(now);
        Some(queued)
    }

    /// How long the oldest frame is.
    pub(super) fn head(&self) -> Option<usize> {
        self.frames.front().map(|queued| queued.bytes.len())
    }

    /// Whether its sender should not be read from.
    pub(super) fn is_full(&self, limits: &QueueLimits) -> bool {
        self.bytes >= limits.bytes || self.frames.len() >= limits.frames
    }

    /// Whether nobody took anything for too long.
    pub(super) fn is_stalled(&self, now: Instant, limits: &QueueLimits) -> bool {
        self.stuck_since
            .is_some_and(|since| now.saturating_duration_since(since) >= limits.stall)
    }

    /// Whether nothing does.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Lets go of everything. Returns how many bytes that were.
    pub(super) fn clear(&mut self) -> usize {
        let bytes = self.bytes;
        *self = Queue::default();
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_by_bytes_or_by_frames_and_stalls_when_nothing_is_taken() {
        let limits = QueueLimits::default();
        let begin = Instant::now();
        let later = |seconds| begin + Duration::from_secs(seconds);
        let mut by_bytes = Queue::default();
        by_bytes.push(Bytes::from(vec![0; 256 * 1024 - 1]), begin, &limits);
        assert!(!by_bytes.is_full(&limits));
        by_bytes.push(Bytes::from_static(b"x"), later(1), &limits);
        assert!(by_bytes.is_full(&limits));
        assert!(!by_bytes.is_stalled(later(30), &limits));
        assert!(by_bytes.is_stalled(later(31), &limits));
        let mut by_frames = Queue::default();
        for _ in 0..8 {
            assert!(!by_frames.is_full(&limits));
            by_frames.push(Bytes::from_static(b"x"), begin, &limits);
        }
        assert!(by_frames.is_full(&limits));
        // Taken and filled again: somebody reads, however slowly.
        by_frames.pop(later(29), &limits).unwrap();
        by_frames.push(Bytes::from_static(b"x"), later(29), &limits);
        assert!(!by_frames.is_stalled(later(58), &limits));
        assert!(by_frames.is_stalled(later(59), &limits));
        assert_eq!(by_frames.clear(), 8);
        assert!(by_frames.is_empty() && !by_frames.is_stalled(later(99), &limits));
    }
}
