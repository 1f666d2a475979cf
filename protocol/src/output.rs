//! The retained output of one process, as a value.
//!
//! [`OutputLog`] owns the order of everything a process has to say (output, then its exit, then
//! its close) and decides what may be forgotten. It refuses to know where bytes come from, who
//! listens and what time it is: a reader pushes, an attached connection takes, anybody reads.
//!
//! ```text
//!   oldest                                                           newest
//!   ├── may be evicted ──┤── perhaps not arrived, or pinned ──┤── not taken ──┤
//!                        evictable                            taken       last_seq
//! ```
//!
//! While somebody is attached, whatever was taken may be evicted, oldest first, once the log is
//! over its limit, and the part not yet taken is kept short: a client that does not read pauses
//! the process, it does not grow our memory. While nobody is attached the log fills up instead,
//! and then pauses the process: nothing that may not have arrived is ever dropped. After a resume
//! that part stays pinned until a read has passed it.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::method::process::OutputStream;

mod parts;

#[cfg(test)]
mod tests;

pub use parts::{Body, Chunk, Event, Exit, Limits, ReadPage, Seq};

/// Output kept per process: far more than what the kernels between us and a client can hold, so
/// that a broken connection loses nothing.
pub const RETAINED_BYTES: usize = 16 * 1024 * 1024;
/// Chunks kept per process: bounds the cost of a program that writes a byte at a time.
pub const RETAINED_CHUNKS: usize = 50_000;
/// Output that waits for an attached connection. Enough to keep a fast link busy while the reader
/// is woken; beyond it the process waits.
pub const BACKLOG_BYTES: usize = 1024 * 1024;
/// Output that was taken by a connection but may still sit in a socket when it breaks. The send
/// and receive buffers of both kernels hold less than this once base64 is taken off.
pub const IN_FLIGHT_BYTES: usize = 8 * 1024 * 1024;

/// Evicted chunks whose memory is kept for whoever reads next: two or three reads of a fast stream.
const EVICTED_KEPT: usize = 8;
/// Smaller ones are not worth keeping.
const EVICTED_MIN: usize = 4 * 1024;

/// A reply that nothing proves to have arrived but that much was sent behind it.
#[derive(Clone, Copy, Debug)]
struct LastPage {
    /// It held what follows this.
    after: Seq,
    /// Bytes still to be taken before it must have left every socket buffer.
    bytes_left: usize,
    /// The same in chunks, each of which is a message.
    chunks_left: usize,
}

/// Everything one process had to say, and what of it is still here.
#[derive(Debug)]
pub struct OutputLog<B: Body = Bytes> {
    limits: Limits,
    chunks: VecDeque<Chunk<B>>,
    bytes: usize,
    last_seq: Seq,
    exited: Option<(Seq, Exit)>,
    closed: Option<Seq>,
    /// The attached connection has been given everything up to here.
    taken: Seq,
    attached: bool,
    /// Output from before the last resume: after `released`, up to `pinned` nothing is evicted.
    released: Seq,
    pinned: Seq,
    /// The page that ended what was pinned, while it may still be on its way.
    last_page: Option<LastPage>,
    /// How many chunks at the front, with how many bytes, may be evicted.
    evictable_chunks: usize,
    evictable_bytes: usize,
    /// Set for a log without a connection that never pauses its process: whatever is over the
    /// limit is evicted, and so many bytes were.
    rolling: Option<u64>,
    /// Everything up to here was moved to where its owner keeps it, and so many bytes of that are
    /// still retained.
    moved: Seq,
    moved_bytes: usize,
    evicted: VecDeque<B>,
}

impl<B: Body> OutputLog<B> {
    /// An empty log with a connection attached to it.
    pub fn new(limits: Limits) -> OutputLog<B> {
        OutputLog {
            limits,
            chunks: VecDeque::new(),
            bytes: 0,
            last_seq: 0,
            exited: None,
            closed: None,
            taken: 0,
            attached: true,
            released: 0,
            pinned: 0,
            last_page: None,
            evictable_chunks: 0,
            evictable_bytes: 0,
            rolling: None,
            moved: 0,
            moved_bytes: 0,
            evicted: VecDeque::new(),
        }
    }

    /// An empty log to which no connection is ever attached. Its process never waits for a reader:
    /// the oldest output goes when there is too much, and reads tell how much has gone.
    pub fn rolling(limits: Limits) -> OutputLog<B> {
        OutputLog {
            attached: false,
            rolling: Some(0),
            ..OutputLog::new(limits)
        }
    }

    // What happened.

    /// Whether `len` more bytes fit without losing anything. If not, leave them in the pipe.
    pub fn can_accept(&self, len: usize) -> bool {
        if self.rolling.is_some() {
            return true;
        }
        let held = self.bytes - self.evictable_bytes;
        let held_chunks = self.chunks.len() - self.evictable_chunks;
        // What was taken and may be on its way is kept beside what waits, in bytes and in chunks.
        let half_the_chunks = self.limits.retained_chunks - self.limits.retained_chunks / 2;
        let (limit, limit_chunks) = if !self.attached || self.last_page.is_some() {
            (self.limits.retained_bytes, self.limits.retained_chunks)
        } else if self.has_pins() {
            // What comes while a client catches up lies behind the page that it may lose last, and
            // both have to be there until the page is sure to have arrived.
            let limit = self.limits.retained_bytes - self.may_be_on_its_way();
            (limit, half_the_chunks)
        } else {
            (self.limits.backlog_bytes, half_the_chunks)
        };
        // A limit below the size of one read must not stop a process for ever.
        held == 0 || (held + len <= limit && held_chunks < limit_chunks)
    }

    /// Adds output. Never refuses: bytes that were read must not be lost, so ask
    /// [`can_accept`](Self::can_accept) before reading.
    pub fn push(&mut self, stream: OutputStream, bytes: B) -> Seq {
        debug_assert!(self.closed.is_none(), "output behind the close");
        self.last_seq += 1;
        self.bytes += bytes.size();
        self.chunks.push_back(Chunk {
            seq: self.last_seq,
            stream,
            bytes,
        });
        self.settle();
        self.last_seq
    }

    /// Records the end of the process. Only the first call counts.
    pub fn exited(&mut self, exit: Exit) {
        if self.exited.is_none() && self.closed.is_none() {
            self.last_seq += 1;
            self.exited = Some((self.last_seq, exit));
        }
    }

    /// Records that nothing more will come. Only the first call counts.
    pub fn closed(&mut self) {
        debug_assert!(self.exited.is_some(), "closed before the exit");
        if self.closed.is_none() {
            self.last_seq += 1;
            self.closed = Some(self.last_seq);
            self.evicted = VecDeque::new();
        }
    }

    /// The connection is gone, and nobody knows what of the recent output arrived.
    pub fn detach(&mut self) {
        let floor = match self.last_page.take() {
            Some(page) => page.after,
            None => self.evictable_after_detach(),
        };
        self.attached = false;
        self.released = floor;
        self.pinned = self.last_seq;
        self.recount();
    }

    /// A connection resumes. It is given what comes from now on; what is here already stays
    /// pinned until a read has passed it or [`release_pins`](Self::release_pins) is called.
    pub fn attach(&mut self) {
        if !self.attached {
            self.attached = true;
            self.pinned = self.last_seq;
        }
        self.taken = self.last_seq;
        self.settle();
    }

    /// Gives up what the resumed client never asked for, so that the process can go on.
    pub fn release_pins(&mut self) {
        if self.attached {
            self.last_page = None;
            self.release(self.pinned);
        }
    }

    // What to do next.

    /// Hands the next event to the attached connection; it counts as delivered from here on.
    pub fn take(&mut self) -> Option<Event<B>> {
        if !self.attached {
            return None;
        }
        let event = self.next_after(self.taken)?;
        self.taken = event.seq();
        if let (Some(page), Event::Output(chunk)) = (&mut self.last_page, &event) {
            page.bytes_left = page.bytes_left.saturating_sub(chunk.bytes.size());
            page.chunks_left = page.chunks_left.saturating_sub(1);
            if page.bytes_left == 0 || page.chunks_left == 0 {
                self.last_page = None;
            }
        }
        self.settle();
        Some(event)
    }

    /// Whether [`take`](Self::take) would return something.
    pub fn has_untaken(&self) -> bool {
        self.attached && self.taken < self.last_seq
    }

    /// The first event behind `cursor` that is still known.
    pub fn next_after(&self, cursor: Seq) -> Option<Event<B>> {
        let chunk = self.chunks.get(self.first_index_after(cursor));
        let exited = self.exited.filter(|(seq, _)| *seq > cursor);
        match (chunk, exited) {
            (Some(chunk), Some((seq, _))) if chunk.seq < seq => Some(Event::Output(chunk.clone())),
            (_, Some((seq, exit))) => Some(Event::Exited { seq, exit }),
            (Some(chunk), None) => Some(Event::Output(chunk.clone())),
            (None, None) => self
                .closed
                .filter(|seq| *seq > cursor)
                .map(|seq| Event::Closed { seq }),
        }
    }

    // What we know.

    /// The output retained behind `after`, at most about `max_bytes` of it.
    ///
    /// At least one chunk is returned if there is any, and chunks are never split. Asking for
    /// what lies behind a position says that everything up to it has arrived.
    pub fn read(&mut self, after: Seq, max_bytes: Option<u64>) -> ReadPage<B> {
        let start = self.first_index_after(after);
        let mut room = max_bytes.unwrap_or(u64::MAX);
        let mut chunks = Vec::new();
        for chunk in self.chunks.range(start..) {
            let len = chunk.bytes.size() as u64;
            if len > room && !chunks.is_empty() {
                break;
            }
            room = room.saturating_sub(len);
            chunks.push(chunk.clone());
        }
        let next_seq = match (max_bytes, chunks.last()) {
            (Some(_), Some(last)) => last.seq + 1,
            _ => self.last_seq + 1,
        };
        let first_retained = self.first_retained();
        if self.attached {
            // Reading on behind a page proves that it arrived. Nobody reads on behind the one that
            // reaches the end of what was pinned: like a notification it may be on its way until
            // enough was sent behind it.
            if self.last_page.is_some_and(|page| after > page.after) {
                self.last_page = None;
            }
            let arrived = if next_seq > self.pinned {
                self.last_page = self.last_page.or_else(|| self.page_to_keep(after));
                self.pinned
            } else {
                after
            };
            self.release(arrived);
        }
        ReadPage {
            chunks,
            next_seq,
            exit: self.exit(),
            closed: self.closed.is_some(),
            first_retained,
            dropped_bytes: self.rolling,
        }
    }

    /// Whether a read behind `after` has something to report, or can never have.
    pub fn has_news(&self, after: Seq) -> bool {
        let output = self.chunks.back().is_some_and(|chunk| chunk.seq > after);
        output || self.closed.is_some() || (self.exited.is_some() && after < self.last_seq)
    }

    /// How the process ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        self.exited.map(|(_, exit)| exit)
    }

    /// Whether nothing more will come.
    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Whether every event, the close included, was handed to the attached connection.
    pub fn is_finished(&self) -> bool {
        self.closed.is_some_and(|seq| self.taken >= seq)
    }

    /// Position of the newest event, 0 before the first.
    pub fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// Oldest retained output.
    pub fn first_retained(&self) -> Option<Seq> {
        self.chunks.front().map(|chunk| chunk.seq)
    }

    /// Bytes of output held right now.
    pub fn retained_bytes(&self) -> usize {
        self.bytes
    }

    /// Chunks held right now.
    pub fn retained_chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The last few large chunks that were evicted or moved, oldest first: their memory may be used
    /// again for what is read next, which is cheaper than fresh memory.
    pub fn take_evicted(&mut self) -> impl Iterator<Item = B> + use<B> {
        std::mem::take(&mut self.evicted).into_iter()
    }

    /// Keeps no more than `bytes` of what may be evicted, from now on.
    pub fn shrink(&mut self, bytes: usize) {
        self.limits.retained_bytes = self.limits.retained_bytes.min(bytes);
        self.last_page = None;
        self.settle();
        self.chunks.shrink_to_fit();
        self.evicted = VecDeque::new();
    }

    /// Whether there is anything that may be evicted.
    pub fn has_evictable(&self) -> bool {
        self.evictable_chunks > 0
    }

    /// Evicts, oldest first, while that is too much and something is left that may be evicted.
    pub fn cut_while(&mut self, is_too_much: impl Fn(&Self) -> bool) {
        while self.has_evictable() && is_too_much(self) {
            self.evict_oldest();
        }
    }

    // Where the bytes are.

    /// Bytes of output that nobody has moved yet.
    pub fn unmoved_bytes(&self) -> usize {
        self.bytes - self.moved_bytes
    }

    /// What can be moved elsewhere, oldest first: output that waits for nobody right now, but for
    /// the newest `keep` bytes, which are likely to be asked for.
    pub fn movable(&self, keep: usize) -> impl Iterator<Item = &Chunk<B>> {
        let until = if self.attached {
            self.taken
        } else {
            self.last_seq
        };
        let mut unmoved = self.unmoved_bytes();
        let chunks = self.chunks.range(self.first_index_after(self.moved)..);
        chunks.take_while(move |chunk| {
            let size = chunk.bytes.size();
            let can_go = chunk.seq <= until && unmoved >= keep + size;
            unmoved -= size;
            can_go
        })
    }

    /// Says where what was [`movable`](Self::movable) is now, from its first chunk on. Chunks that
    /// were evicted meanwhile are passed over.
    pub fn moved(&mut self, bodies: impl IntoIterator<Item = (Seq, B)>) {
        for (seq, body) in bodies {
            let index = self.chunks.partition_point(|chunk| chunk.seq < seq);
            if let Some(chunk) = self.chunks.get_mut(index)
                && chunk.seq == seq
            {
                debug_assert_eq!(chunk.bytes.size(), body.size(), "another chunk");
                self.moved_bytes += body.size();
                let before = std::mem::replace(&mut chunk.bytes, body);
                self.keep_evicted(before);
            }
            self.moved = self.moved.max(seq);
        }
    }

    fn has_pins(&self) -> bool {
        self.released < self.pinned
    }

    /// Everything up to here may be evicted.
    fn evictable(&self) -> Seq {
        match self.last_page {
            _ if self.rolling.is_some() => self.last_seq,
            _ if !self.attached || self.has_pins() => self.released,
            Some(page) => page.after.min(self.taken),
            None => self.taken,
        }
    }

    /// What a page behind `after` keeps from being evicted, if it is the one that ends what was
    /// pinned. A page so large that the process could not go on meanwhile is not waited for.
    fn page_to_keep(&self, after: Seq) -> Option<LastPage> {
        let after = after.max(self.released);
        let start = self.first_index_after(after);
        let held: usize = self
            .chunks
            .range(start..)
            .map(|chunk| chunk.bytes.size())
            .sum();
        let page = LastPage {
            after,
            bytes_left: self.may_be_on_its_way(),
            chunks_left: self.limits.retained_chunks / 2,
        };
        let goes_on = held + page.bytes_left <= self.limits.retained_bytes
            && self.chunks.len() - start + page.chunks_left <= self.limits.retained_chunks;
        let counts = after < self.pinned && page.bytes_left > 0 && page.chunks_left > 0;
        (counts && goes_on).then_some(page)
    }

    fn release(&mut self, arrived: Seq) {
        self.released = self.released.max(arrived.min(self.pinned));
        self.settle();
    }

    /// Counts what has become evictable, then evicts what is over the limit.
    fn settle(&mut self) {
        let evictable = self.evictable();
        while let Some(chunk) = self.chunks.get(self.evictable_chunks) {
            if chunk.seq > evictable {
                break;
            }
            self.evictable_chunks += 1;
            self.evictable_bytes += chunk.bytes.size();
        }
        while self.evictable_chunks > 0 {
            let Some(oldest) = self.chunks.front().map(|chunk| chunk.bytes.size()) else {
                break;
            };
            // Whole chunks only, and never below what we promise to keep.
            let enough_without = self.bytes - oldest >= self.limits.retained_bytes;
            if !enough_without && self.chunks.len() <= self.limits.retained_chunks {
                break;
            }
            self.evict_oldest();
        }
    }

    /// For a chunk that may be evicted.
    fn evict_oldest(&mut self) {
        let Some(chunk) = self.chunks.pop_front() else {
            return;
        };
        let size = chunk.bytes.size();
        self.evictable_chunks -= 1;
        self.evictable_bytes -= size;
        self.bytes -= size;
        if let Some(gone) = &mut self.rolling {
            *gone += size as u64;
        }
        if chunk.seq <= self.moved {
            self.moved_bytes -= size;
        } else {
            self.keep_evicted(chunk.bytes);
        }
    }

    fn keep_evicted(&mut self, bytes: B) {
        if bytes.size() >= EVICTED_MIN && self.closed.is_none() {
            if self.evicted.len() == EVICTED_KEPT {
                self.evicted.pop_front();
            }
            self.evicted.push_back(bytes);
        }
    }

    /// What a connection can lose when it breaks, and at most half of the log.
    fn may_be_on_its_way(&self) -> usize {
        self.limits
            .in_flight_bytes
            .min(self.limits.retained_bytes / 2)
    }

    /// The same from scratch, for the one change that takes evictability back.
    fn recount(&mut self) {
        self.evictable_chunks = 0;
        self.evictable_bytes = 0;
        self.settle();
    }

    /// What was taken long enough ago to have left every socket buffer. Half of the log is always
    /// left for what comes while nobody listens, so a detached process does not stop at once.
    fn evictable_after_detach(&self) -> Seq {
        let now = self.evictable();
        let may_keep = self.may_be_on_its_way();
        let (mut bytes, mut count) = (0, 0);
        for chunk in self.chunks.iter().take(self.evictable_chunks).rev() {
            bytes += chunk.bytes.size();
            count += 1;
            if bytes > may_keep || count > self.limits.retained_chunks / 2 {
                return chunk.seq;
            }
        }
        // Nothing evictable is older than that.
        self.first_retained().map_or(now, |seq| (seq - 1).min(now))
    }

    /// Chunks arrive in order, so what a reader lacks is a suffix.
    fn first_index_after(&self, cursor: Seq) -> usize {
        self.chunks.partition_point(|chunk| chunk.seq <= cursor)
    }
}
