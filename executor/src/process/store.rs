//! Where output waits that nobody is likely to ask for soon: outside of our memory.
//!
//! ```text
//!   log of a process   oldest ─────────────────────▶ newest
//!                      ├── stored ──┤── here ──┤
//!                           │
//!   one file for all   [segment][segment][  free  ][segment] ...
//! ```
//!
//! Older output is moved by the segment, and a segment is free when the last of its chunks is
//! forgotten and nobody is reading one. So whoever holds a chunk may read it, however long ago its
//! log forgot it. The file is never larger than all output that may be retained; what does not
//! fit, or cannot be written, stays in memory.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use farstep_protocol::output::{Body, Chunk, Seq};

use crate::os::Scratch;

/// What is moved at a time: a slab of a fast stream.
pub(super) const SEGMENT: usize = 128 * 1024;
/// The newest output of a process stays where it is: a reader who is not far behind finds it there,
/// and output that is delivered at once is only moved when it is old.
pub(super) const KEPT_HERE: usize = 256 * 1024;
/// Segments whose room is not given back at once: a stream at its limit frees one for each that it
/// fills, and fresh room costs more than the writing.
const WARM_MAX: usize = 16;
/// Chunks shorter than this on average are gathered, so that they are written by one call.
const GATHERED: usize = 16 * 1024;

/// A chunk's bytes, or the way to them.
#[derive(Clone)]
pub enum Held {
    /// In memory.
    Here(Bytes),
    /// In the file.
    Stored(Stored),
}

/// A part of a segment.
#[derive(Clone, Debug)]
pub struct Stored {
    segment: Arc<Segment>,
    at: u32,
    len: u32,
}

impl Body for Held {
    fn size(&self) -> usize {
        match self {
            Held::Here(bytes) => bytes.len(),
            Held::Stored(stored) => stored.len as usize,
        }
    }
}

impl Held {
    /// The bytes; `buffer` is where they are put if they have to be fetched.
    pub fn load<'a>(&'a self, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        match self {
            Held::Here(bytes) => Ok(bytes),
            Held::Stored(stored) => {
                buffer.resize(stored.len as usize, 0);
                stored.segment.read(stored.at, buffer)?;
                Ok(buffer)
            }
        }
    }

    /// Whether reading it asks the system for it.
    pub fn is_stored(&self) -> bool {
        matches!(self, Held::Stored(_))
    }
}

impl fmt::Debug for Held {
    /// Without contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.is_stored() { "Stored" } else { "Here" };
        f.debug_tuple(name).field(&self.size()).finish()
    }
}

/// The file, shared by all processes of an executor.
#[derive(Debug)]
pub(super) struct Store {
    /// Made when it is needed first; `None` if it cannot be.
    file: OnceLock<Option<Scratch>>,
    slots: Mutex<Slots>,
    slots_max: u32,
}

/// Places for segments in the file.
#[derive(Debug, Default)]
struct Slots {
    /// So many were ever used.
    count: u32,
    /// Free, with room taken already.
    warm: Vec<u32>,
    /// Free, without.
    cold: Vec<u32>,
}

/// One place that is in use.
#[derive(Debug)]
struct Segment {
    store: Arc<Store>,
    slot: u32,
}

impl Store {
    /// At most `bytes_max` bytes, in whole segments.
    pub(super) fn new(bytes_max: usize) -> Arc<Store> {
        Arc::new(Store {
            file: OnceLock::new(),
            slots: Mutex::default(),
            slots_max: u32::try_from(bytes_max / SEGMENT).unwrap_or(u32::MAX),
        })
    }

    /// Whether nothing can be put here now.
    pub(super) fn is_full(&self) -> bool {
        matches!(self.file.get(), Some(None)) || !self.slots().any(self.slots_max)
    }

    /// Puts chunks of at most [`SEGMENT`] bytes together; `None` if they have to stay where they
    /// are.
    pub(super) fn put(self: &Arc<Self>, chunks: &[Chunk<Held>]) -> Option<Vec<(Seq, Held)>> {
        let file = self.file.get_or_init(open).as_ref()?;
        let segment = Arc::new(Segment {
            slot: self.slots().take(self.slots_max)?,
            store: Arc::clone(self),
        });
        let written = write(file, segment.start(), chunks);
        if let Err(error) = written {
            tracing::warn!(%error, "output stays in memory");
            return None;
        }
        let mut at = 0;
        let stored = chunks.iter().map(|chunk| {
            let len = chunk.bytes.size() as u32;
            let segment = Arc::clone(&segment);
            let stored = Stored { segment, at, len };
            at += len;
            (chunk.seq, Held::Stored(stored))
        });
        Some(stored.collect())
    }

    /// Bytes of the file that are in use, in whole segments.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let slots = self.slots();
        let free = slots.warm.len() + slots.cold.len();
        (slots.count as usize - free) * SEGMENT
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open() -> Option<Scratch> {
    let opened = Scratch::new();
    opened
        .inspect_err(|error| tracing::warn!(%error, "all output stays in memory"))
        .ok()
}

fn write(file: &Scratch, mut at: u64, chunks: &[Chunk<Held>]) -> io::Result<()> {
    let bytes: usize = chunks.iter().map(|chunk| chunk.bytes.size()).sum();
    let gather = bytes < chunks.len() * GATHERED;
    let mut gathered = Vec::with_capacity(if gather { bytes } else { 0 });
    let mut fetched = Vec::new();
    for chunk in chunks {
        let bytes = chunk.bytes.load(&mut fetched)?;
        if gather {
            gathered.extend_from_slice(bytes);
        } else {
            file.write_at(at, bytes)?;
            at += bytes.len() as u64;
        }
    }
    file.write_at(at, &gathered)
}

impl Slots {
    fn any(&self, max: u32) -> bool {
        !self.warm.is_empty() || !self.cold.is_empty() || self.count < max
    }

    fn take(&mut self, max: u32) -> Option<u32> {
        if let Some(slot) = self.warm.pop().or_else(|| self.cold.pop()) {
            return Some(slot);
        }
        let slot = self.count;
        (slot < max).then(|| {
            self.count += 1;
            slot
        })
    }
}

impl Segment {
    fn start(&self) -> u64 {
        u64::from(self.slot) * SEGMENT as u64
    }

    fn read(&self, at: u32, buffer: &mut [u8]) -> io::Result<()> {
        match self.store.file.get() {
            Some(Some(file)) => file.read_at(self.start() + u64::from(at), buffer),
            // There is no segment without a file.
            Some(None) | None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let mut slots = self.store.slots();
        if slots.warm.len() < WARM_MAX {
            slots.warm.push(self.slot);
            return;
        }
        drop(slots);
        if let Some(Some(file)) = self.store.file.get()
            && let Err(error) = file.punch(self.start(), SEGMENT as u64)
        {
            tracing::debug!(%error, "room for output is not given back before it is used again");
        }
        self.store.slots().cold.push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use farstep_protocol::method::process::OutputStream;

    use super::*;

    fn chunk(seq: Seq, bytes: impl Into<Bytes>) -> Chunk<Held> {
        Chunk {
            seq,
            stream: OutputStream::Stdout,
            bytes: Held::Here(bytes.into()),
        }
    }

    fn loaded(held: &Held) -> Vec<u8> {
        held.load(&mut Vec::new()).unwrap().to_vec()
    }

    #[test]
    fn chunks_large_and_small_come_back_as_they_were() {
        let store = Store::new(4 * SEGMENT);
        for size in [3, GATHERED + 1] {
            let chunks: Vec<_> = (1..=5)
                .map(|seq| chunk(seq, vec![seq as u8; size]))
                .collect();
            let stored = store.put(&chunks).unwrap();
            for (seq, held) in &stored {
                assert!(held.is_stored());
                assert_eq!(loaded(held), vec![*seq as u8; size]);
            }
        }
    }

    #[test]
    fn a_segment_is_free_when_the_last_of_its_chunks_is_dropped_and_not_before() {
        let store = Store::new(SEGMENT);
        let mut first = store.put(&[chunk(1, "one"), chunk(2, "two")]).unwrap();
        let (_, kept) = first.remove(0);
        drop(first);
        // The file is full, so this stays in memory.
        assert!(store.put(&[chunk(3, "three")]).is_none());
        assert_eq!(
            (loaded(&kept).as_slice(), store.bytes()),
            (&b"one"[..], SEGMENT)
        );
        drop(kept);
        let again = store.put(&[chunk(3, "three")]).unwrap();
        assert_eq!(loaded(&again[0].1), b"three");
        drop(again);
        assert_eq!(store.bytes(), 0);
    }

    #[test]
    fn room_that_many_left_is_given_back() {
        let store = Store::new(100 * SEGMENT);
        let count = WARM_MAX as Seq + 6;
        let many: Vec<_> = (0..count)
            .map(|seq| store.put(&[chunk(seq, vec![1; SEGMENT])]).unwrap())
            .collect();
        drop(many);
        let slots = store.slots();
        assert_eq!((slots.warm.len(), slots.cold.len()), (WARM_MAX, 6));
    }

    #[test]
    fn nothing_of_the_output_is_printed() {
        let held = Held::Here("secret".into());
        assert_eq!(format!("{held:?}"), "Here(6)");
    }
}
