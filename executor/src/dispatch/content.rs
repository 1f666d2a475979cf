//! The content of a file as an answer: whole when it is small, else in pieces made while they are
//! sent, so that a large file is never in memory.
//!
//! ```text
//!   pool: read, encode ──batch──▶ Pieces ──piece──▶ wire
//!     └──────── the next batch is made while this one is sent
//! ```
//!
//! Between two batches nobody waits on a thread, however slowly the peer reads.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use farstep_protocol::frame;
use farstep_protocol::rpc::RequestId;
use farstep_transport::Text;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Reply;
use crate::fs::{FsError, ReadFile};
use crate::pool::Place;

/// An answer to at most this much content is made whole.
const WHOLE_BYTES_MAX: usize = 256 * 1024;

/// Content of one piece: what a socket takes at once, in base64. A multiple of three, so that the
/// base64 of the pieces is that of the whole.
const PIECE_BYTES: usize = 96 * 1024;

/// Pieces made by one visit to the pool. Two batches are in memory: one sent, one made.
const BATCH_PIECES: usize = 4;

/// Why the rest of an answer cannot be made. What was sent of it cannot be taken back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TornError {
    #[error("a file failed while it was being sent: {0}")]
    File(#[from] FsError),
    #[error("a file could not be read on")]
    Lost,
}

/// One part of an answer.
pub(crate) struct Piece {
    pub(crate) text: Text,
    pub(crate) is_last: bool,
}

/// An answer that is made while it is sent.
pub(crate) struct Pieces {
    ready: std::vec::IntoIter<Text>,
    making: Option<JoinHandle<Result<Batch, FsError>>>,
    /// Dropped with this.
    _in_use: oneshot::Sender<()>,
    ended: Option<oneshot::Receiver<()>>,
}

/// What one visit to the pool made, and the file if there is more.
struct Batch {
    texts: Vec<Text>,
    rest: Option<Source>,
}

struct Source {
    path: PathBuf,
    file: ReadFile,
    size: usize,
    taken: usize,
    buffer: Vec<u8>,
    /// Bounds how many answers of a connection are being made.
    _place: Place,
}

/// The answer with the content of `file`, or as much of it as one visit to the pool makes.
pub(super) fn answer(
    id: &RequestId,
    path: PathBuf,
    file: ReadFile,
    place: Place,
) -> Result<Reply, FsError> {
    let size = usize::try_from(file.size()).unwrap_or(usize::MAX);
    if size <= WHOLE_BYTES_MAX {
        return whole(id, &path, file).map(Reply::Whole);
    }
    let source = Source {
        path,
        file,
        size,
        taken: 0,
        buffer: Vec::with_capacity(PIECE_BYTES),
        _place: place,
    };
    let Batch { texts, rest } = source.batch(head(id))?;
    let (in_use, ended) = oneshot::channel();
    Ok(Reply::Pieces(Box::new(Pieces {
        ready: texts.into_iter(),
        making: rest.map(Source::go_on),
        _in_use: in_use,
        ended: Some(ended),
    })))
}

/// The answer with all of a file, encoded while it is read.
pub(super) fn whole(id: &RequestId, path: &Path, mut file: ReadFile) -> Result<Text, FsError> {
    let size = usize::try_from(file.size()).unwrap_or(usize::MAX);
    let mut out = head(id);
    // A file that claims to be empty may hold anything; `/proc` always claims so.
    let room = if size == 0 {
        UNKNOWN_SIZE_BYTES
    } else {
        size.min(PIECE_BYTES)
    };
    out.reserve(
        (size / 3)
            .saturating_mul(4)
            .saturating_add(TAIL.len() + PADDING_BYTES),
    );
    let mut buffer = Vec::with_capacity(room);
    let mut taken = 0;
    loop {
        let count = file.take(path, &mut buffer)?;
        taken += count;
        // What held as much as it claimed needs no further call to show that this was all.
        if count == 0 || taken == size {
            frame::write_base64(&mut out, &buffer);
            out.push_str(TAIL);
            return Ok(out.into());
        }
        if buffer.len() >= room {
            encode_whole_groups(&mut out, &mut buffer);
        }
    }
}

/// Room for a file that claims to be empty.
const UNKNOWN_SIZE_BYTES: usize = 12 * 1024;

/// The last group of base64, rounded up.
const PADDING_BYTES: usize = 4;

/// What stands before the content.
fn head(id: &RequestId) -> String {
    let mut head = String::new();
    frame::reply_with(&mut head, id, |out| out.push_str("{\"dataBase64\":\""));
    // The brace that closes the answer belongs behind the content.
    head.pop();
    head
}

/// What stands behind the content.
const TAIL: &str = "\"}}";

fn encode_whole_groups(out: &mut String, buffer: &mut Vec<u8>) {
    let whole = buffer.len() / 3 * 3;
    frame::write_base64(out, buffer.get(..whole).unwrap_or_default());
    buffer.drain(..whole);
}

impl Source {
    /// Makes the next pieces, the first of which begins with `head`.
    fn batch(mut self, head: String) -> Result<Batch, FsError> {
        let mut texts = Vec::with_capacity(BATCH_PIECES);
        let mut out = head;
        while texts.len() < BATCH_PIECES {
            out.reserve(PIECE_BYTES / 3 * 4 + TAIL.len());
            if self.is_last_piece(&mut out)? {
                texts.push(out.into());
                return Ok(Batch { texts, rest: None });
            }
            texts.push(std::mem::take(&mut out).into());
        }
        Ok(Batch {
            texts,
            rest: Some(self),
        })
    }

    fn is_last_piece(&mut self, out: &mut String) -> Result<bool, FsError> {
        while self.buffer.len() < PIECE_BYTES {
            let count = self.file.take(&self.path, &mut self.buffer)?;
            self.taken += count;
            // A file that has grown is sent as long as it was; one that has shrunk, as it is.
            if count == 0 || self.taken >= self.size {
                let excess = self.taken.saturating_sub(self.size);
                self.buffer
                    .truncate(self.buffer.len().saturating_sub(excess));
                frame::write_base64(out, &self.buffer);
                out.push_str(TAIL);
                return Ok(true);
            }
        }
        encode_whole_groups(out, &mut self.buffer);
        Ok(false)
    }

    fn go_on(self) -> JoinHandle<Result<Batch, FsError>> {
        tokio::task::spawn_blocking(move || self.batch(String::new()))
    }
}

impl Pieces {
    /// An answer of which every piece, at least one, is there.
    pub(super) fn made(texts: Vec<Text>) -> Pieces {
        let (in_use, ended) = oneshot::channel();
        Pieces {
            ready: texts.into_iter(),
            making: None,
            _in_use: in_use,
            ended: Some(ended),
        }
    }

    /// The next piece, as soon as it is made. Not to be asked again after the last.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, TornError>> {
        if self.ready.as_slice().is_empty() {
            let Some(making) = &mut self.making else {
                return Poll::Ready(Err(TornError::Lost));
            };
            let made = ready!(Pin::new(making).poll(cx));
            self.making = None;
            let batch = made.map_err(|_| TornError::Lost)??;
            self.ready = batch.texts.into_iter();
            self.making = batch.rest.map(Source::go_on);
        }
        let text = self.ready.next().ok_or(TornError::Lost)?;
        let is_last = self.ready.as_slice().is_empty() && self.making.is_none();
        Poll::Ready(Ok(Piece { text, is_last }))
    }

    /// Resolves when the answer was sent or given up. Can be asked for once.
    pub(super) fn ended(&mut self) -> impl Future<Output = ()> + use<> {
        let ended = self.ended.take();
        async move {
            if let Some(ended) = ended {
                // Nothing is ever sent: its other end is dropped.
                let _: Result<(), _> = ended.await;
            }
        }
    }
}
