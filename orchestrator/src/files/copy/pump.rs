//! From one open file to another, in bounded memory.
//!
//! ```text
//!   reads, several under way ──▶ in order: digest ──▶ writes, several under way
//!        └───────────── a place in the budget, kept until it is written ──────┘
//! ```

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use farstep_environments::{BLOCK_BYTES_MAX, Block};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::digest::Running;
use super::here;
use crate::files::error::FileCause;
use crate::files::file::FarFile;

/// Blocks of one file under way at once in each direction. With 1 MiB each this fills a long fast
/// link, and it is what an interrupted copy may have written out of order.
pub(super) const AT_ONCE: usize = 8;

/// Blocks of all files together that are held in memory.
pub(super) const BUDGET: usize = 16;

/// Digested in place; what is longer would keep others waiting.
const SMALL: usize = 64 << 10;

/// What is read from.
#[derive(Debug)]
pub(super) enum Reader {
    Here(Arc<File>),
    There(FarFile),
}

/// What is written to.
#[derive(Debug)]
pub(super) enum Writer {
    Here(Arc<File>),
    /// The file's first byte is that of the copy at `base`.
    There {
        file: FarFile,
        base: u64,
    },
}

/// How far a copy came that reached its end.
#[derive(Debug)]
pub(super) struct Pumped {
    pub(super) end: u64,
    /// Of everything, if the beginning's was known.
    pub(super) digest: Option<Running>,
}

/// How far a copy came that did not.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) cause: FileCause,
    pub(super) side: Side,
    /// All before is written.
    pub(super) done: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Reading,
    Writing,
}

/// From `start` to the end of the file, which is expected to be `size` bytes long. `advance` is
/// told what is written.
pub(super) async fn pump(
    reader: &Reader,
    writer: &Writer,
    start: u64,
    size: u64,
    mut digest: Option<Running>,
    budget: &Arc<Semaphore>,
    advance: &dyn Fn(u64),
) -> Result<Pumped, Broken> {
    let mut ahead = Ahead {
        reader,
        reads: FuturesOrdered::new(),
        next: start,
        size,
        ended: false,
    };
    let mut writes = FuturesUnordered::new();
    let mut under_way = BTreeSet::new();
    let (mut end, mut ends_in_zeros) = (start, false);
    let broken = |cause, side, under_way: &BTreeSet<u64>, end| Broken {
        cause,
        side,
        done: under_way.first().copied().unwrap_or(end),
    };
    loop {
        tokio::select! {
            biased; // What is written makes room.
            Some((offset, len, written)) = writes.next(), if !writes.is_empty() => {
                if let Err(cause) = written {
                    return Err(broken(cause, Side::Writing, &under_way, end));
                }
                under_way.remove(&offset);
                advance(len);
            }
            piece = ahead.next(budget), if !ahead.is_over() && writes.len() < AT_ONCE => {
                let piece = match piece {
                    Ok(Some(piece)) => piece,
                    Ok(None) => continue,
                    Err(cause) => return Err(broken(cause, Side::Reading, &under_way, end)),
                };
                let Piece { offset, block, place } = piece;
                let len = block.len() as u64;
                digest = match digest {
                    Some(digest) => Some(digested(digest, block.clone()).await),
                    None => None,
                };
                (end, ends_in_zeros) = (offset + len, matches!(block, Block::Zeros(_)));
                under_way.insert(offset);
                writes.push(async move {
                    let written = writer.write(offset, block).await;
                    drop(place);
                    (offset, len, written)
                });
                // Here one after the other, so that what is there is a beginning of the whole.
                if matches!(writer, Writer::Here(_))
                    && let Some((_, _, written)) = writes.next().await
                {
                    if let Err(cause) = written {
                        return Err(broken(cause, Side::Writing, &under_way, end));
                    }
                    under_way.clear();
                    advance(len);
                }
            }
            else => break,
        }
    }
    if let Err(cause) = writer.end(end, ends_in_zeros).await {
        return Err(broken(cause, Side::Writing, &under_way, end));
    }
    Ok(Pumped { end, digest })
}

async fn digested(mut digest: Running, block: Block) -> Running {
    if block.len() <= SMALL {
        digest.take(&block);
        return digest;
    }
    let work = move || {
        digest.take(&block);
        digest
    };
    blocking(work).await
}

/// Runs what takes a while where it keeps nobody waiting.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Nothing cancels such a task, so it has panicked, and so do we.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl Reader {
    pub(super) async fn read(&self, offset: u64) -> Result<Block, FileCause> {
        let block = match self {
            Reader::There(file) => file.read(offset, BLOCK_BYTES_MAX).await?,
            Reader::Here(file) => {
                let file = Arc::clone(file);
                let read = move || here::read_at(&file, offset, BLOCK_BYTES_MAX);
                Block::Bytes(blocking(read).await?.into())
            }
        };
        // Holes look like this, and become holes again.
        Ok(match block {
            Block::Bytes(bytes) if !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0) => {
                Block::Zeros(bytes.len())
            }
            block => block,
        })
    }

    pub(super) async fn close(self) {
        if let Reader::There(file) = self {
            file.close().await;
        }
    }
}

impl Writer {
    /// Zeros are left out: where nothing is written there are none but those.
    async fn write(&self, offset: u64, block: Block) -> Result<(), FileCause> {
        let Block::Bytes(bytes) = block else {
            return Ok(());
        };
        match self {
            Writer::There { file, base } => file.write(offset - base, bytes).await,
            Writer::Here(file) => {
                let file = Arc::clone(file);
                Ok(blocking(move || here::write_at(&file, offset, &bytes)).await?)
            }
        }
    }

    /// Makes the file `end` bytes long.
    async fn end(&self, end: u64, in_zeros: bool) -> Result<(), FileCause> {
        match self {
            Writer::Here(file) => {
                let file = Arc::clone(file);
                Ok(blocking(move || file.set_len(end)).await?)
            }
            Writer::There { file, base } if in_zeros && end > *base => {
                file.write(end - 1 - base, Bytes::from_static(&[0])).await
            }
            Writer::There { .. } => Ok(()),
        }
    }

    pub(super) async fn close(self) {
        if let Writer::There { file, .. } = self {
            file.close().await;
        }
    }
}

/// Blocks in order, asked for before they are needed.
struct Ahead<'a> {
    reader: &'a Reader,
    reads: FuturesOrdered<LocalBoxFuture<'a, Result<Piece, FileCause>>>,
    next: u64,
    size: u64,
    ended: bool,
}

struct Piece {
    offset: u64,
    block: Block,
    place: OwnedSemaphorePermit,
}

impl Ahead<'_> {
    /// Whether nothing will come any more.
    fn is_over(&self) -> bool {
        self.ended && self.reads.is_empty()
    }

    /// The next piece, or none at the end. Dropping the future loses nothing.
    async fn next(&mut self, budget: &Arc<Semaphore>) -> Result<Option<Piece>, FileCause> {
        // The first place is waited for: whatever holds it back does not depend on us.
        if !self.ended && self.reads.is_empty() {
            match Arc::clone(budget).acquire_owned().await {
                Ok(place) => self.ask(place),
                Err(_) => self.ended = true,
            }
        }
        // Beyond the size only one is asked for: whether there is more, nobody knows.
        while !self.ended && self.reads.len() < AT_ONCE && self.next < self.size {
            let Ok(place) = Arc::clone(budget).try_acquire_owned() else {
                break;
            };
            self.ask(place);
        }
        let Some(piece) = self.reads.next().await else {
            return Ok(None);
        };
        let piece = piece?;
        if piece.block.len() < BLOCK_BYTES_MAX {
            self.ended = true;
            self.reads = FuturesOrdered::new();
        }
        Ok((!piece.block.is_empty()).then_some(piece))
    }

    fn ask(&mut self, place: OwnedSemaphorePermit) {
        let (reader, offset) = (self.reader, self.next);
        self.reads.push_back(Box::pin(async move {
            let block = reader.read(offset).await?;
            Ok(Piece {
                offset,
                block,
                place,
            })
        }));
        self.next += BLOCK_BYTES_MAX as u64;
    }
}
