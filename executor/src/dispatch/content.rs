//! The content of a file as an answer: whole when it is small, else in [`Pieces`], so that a large
//! file is never in memory and its beginning does not wait for its end.

use std::path::{Path, PathBuf};

use farstep_protocol::frame;
use farstep_protocol::rpc::RequestId;
use farstep_transport::Text;

use super::Reply;
use super::pieces::{Make, Piece, Pieces};
use crate::fs::{FsError, ReadFile};
use crate::pool::Place;

/// An answer to at most this much content is made whole.
pub(super) const WHOLE_BYTES_MAX: usize = 256 * 1024;

/// Content of one piece: what a socket takes at once, in base64. A multiple of three, so that the
/// base64 of the pieces is that of the whole.
const PIECE_BYTES: usize = 96 * 1024;

/// Content of the first piece. The peer takes it while somebody wakes up to make the others.
const FIRST_PIECE_BYTES: usize = 48 * 1024;

struct Source {
    path: PathBuf,
    file: ReadFile,
    size: usize,
    taken: usize,
    buffer: Vec<u8>,
    /// Bounds how many answers of a connection are being made.
    _place: Place,
}

/// The answer with the content of `file`. Blocks for as long as its first piece takes, or all of it
/// if it is no larger than [`WHOLE_BYTES_MAX`].
pub(super) fn answer(
    id: &RequestId,
    path: PathBuf,
    file: ReadFile,
    place: Place,
) -> Result<Reply, FsError> {
    let size = usize::try_from(file.size()).unwrap_or(usize::MAX);
    if size <= WHOLE_BYTES_MAX {
        return whole(id, &path, file).map(|text| Reply::OnPool(text, place));
    }
    let mut source = Source {
        path,
        file,
        size,
        taken: 0,
        buffer: Vec::new(),
        _place: place,
    };
    let mut head = String::with_capacity(HEAD_BYTES + FIRST_PIECE_BYTES / 3 * 4 + PADDING_BYTES);
    write_head(&mut head, id);
    let first = source.piece(head, FIRST_PIECE_BYTES)?;
    Ok(Reply::Pieces(Box::new(match first.is_last {
        true => Pieces::made(vec![first.text]),
        false => Pieces::begun(first.text, source),
    })))
}

/// The answer with all of a file, encoded while it is read.
pub(super) fn whole(id: &RequestId, path: &Path, mut file: ReadFile) -> Result<Text, FsError> {
    let size = usize::try_from(file.size()).unwrap_or(usize::MAX);
    let mut out = String::with_capacity(
        (size / 3)
            .saturating_mul(4)
            .saturating_add(HEAD_BYTES + TAIL.len() + PADDING_BYTES),
    );
    write_head(&mut out, id);
    // A file that claims to be empty may hold anything; `/proc` always claims so.
    let room = if size == 0 {
        UNKNOWN_SIZE_BYTES
    } else {
        size.min(PIECE_BYTES)
    };
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

/// What stands before the content when the id is a number.
const HEAD_BYTES: usize = 64;

/// What stands before the content.
fn write_head(out: &mut String, id: &RequestId) {
    frame::reply_with(out, id, |out| out.push_str("{\"dataBase64\":\""));
    // The brace that closes the answer belongs behind the content.
    out.pop();
}

/// What stands behind the content.
const TAIL: &str = "\"}}";

fn encode_whole_groups(out: &mut String, buffer: &mut Vec<u8>) {
    let whole = buffer.len() / 3 * 3;
    frame::write_base64(out, buffer.get(..whole).unwrap_or_default());
    buffer.drain(..whole);
}

impl Source {
    /// The next piece, of so many bytes, behind what is in `out`.
    fn piece(&mut self, mut out: String, bytes: usize) -> Result<Piece, FsError> {
        out.reserve(bytes / 3 * 4 + PADDING_BYTES + TAIL.len());
        // As much is read as there is room for.
        self.buffer
            .reserve_exact(bytes.saturating_sub(self.buffer.len()));
        let is_last = self.is_last_piece(&mut out, bytes)?;
        let text = out.into();
        Ok(Piece { text, is_last })
    }

    fn is_last_piece(&mut self, out: &mut String, bytes: usize) -> Result<bool, FsError> {
        while self.buffer.len() < bytes {
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
}

impl Make for Source {
    fn next(&mut self) -> Result<Piece, FsError> {
        self.piece(String::new(), PIECE_BYTES)
    }
}
