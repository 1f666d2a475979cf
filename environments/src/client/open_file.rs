//! Files of an executor that are read and written in blocks.
//!
//! A handle belongs to one connection: when that ends, so does the handle, and its calls fail as
//! lost or refused. Blocks are positional, so whoever opens the file anew may repeat those whose
//! fate is unknown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use farstep_path_uri::PathUri;
use farstep_protocol::frame;
use farstep_protocol::method::Empty;
use farstep_protocol::method::fs::{
    self, Handle, OpenMode, OpenParams, ReadBlockParams, ReadBlockResult,
};

use super::call::{BULK_BYTES, CallError, Lane, Purpose, QUICK, TRANSFER};
use super::{Executor, Request};

/// The largest block one call reads or writes, in bytes.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;

/// A file held open on an executor, until [`OpenFile::close`] or the end of the connection.
#[derive(Debug)]
pub struct OpenFile {
    executor: Executor,
    id: Arc<str>,
    /// Whether the executor may tell zeros by their number.
    zeros: bool,
}

/// What a file holds at some offset.
#[derive(Clone, PartialEq, Eq)]
pub enum Block {
    Bytes(Bytes),
    /// So many zeros.
    Zeros(usize),
}

impl Block {
    /// How many bytes it is.
    pub fn len(&self) -> usize {
        match self {
            Block::Bytes(bytes) => bytes.len(),
            Block::Zeros(count) => *count,
        }
    }

    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for Block {
    /// Without the bytes: they are somebody's file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("len", &self.len()).finish()
    }
}

impl Executor {
    /// Opens a file. [`OpenMode::Update`] is only where [`fs::FILES`] is announced, and then
    /// `length` cuts the file or fills it up first.
    pub async fn open(
        &self,
        path: &PathUri,
        mode: OpenMode,
        length: Option<u64>,
    ) -> Result<OpenFile, CallError> {
        /// Counts every file this program opens, so that no id comes twice on any connection.
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id: Arc<str> = (LAST.fetch_add(1, Ordering::Relaxed) + 1)
            .to_string()
            .into();
        let params = OpenParams {
            handle_id: id.to_string(),
            path: path.clone(),
            mode,
            sandbox: self.sandbox(),
            length,
        };
        let file = OpenFile {
            executor: self.clone(),
            id,
            zeros: self.info().can(fs::FILES),
        };
        let request = Request::with_params(fs::OPEN, QUICK, params);
        let _: Handle = self.call(request).await?.parse(fs::OPEN)?;
        Ok(file)
    }
}

impl OpenFile {
    /// Up to `len` bytes from `offset` on, at most [`BLOCK_BYTES_MAX`]; fewer only where the file
    /// ends.
    pub async fn read_block(&self, offset: u64, len: usize) -> Result<Block, CallError> {
        let params = ReadBlockParams {
            handle_id: self.id.to_string().into(),
            offset,
            len: len as u64,
            zeros: self.zeros,
        };
        let request = Request::with_params(fs::READ_BLOCK, TRANSFER, params);
        let reply = self.executor.call(request).await?;
        let result: ReadBlockResult<'_> = reply.parse(fs::READ_BLOCK)?;
        let wrong = |detail: &str| CallError::Protocol {
            method: fs::READ_BLOCK,
            detail: detail.to_owned(),
        };
        let block = match (usize::try_from(result.zeros), &*result.chunk) {
            (Ok(0), chunk) => frame::read_base64(chunk)
                .map(|bytes| Block::Bytes(bytes.into()))
                .ok_or_else(|| wrong("the block is not base64"))?,
            (Ok(zeros), "") if self.zeros => Block::Zeros(zeros),
            _ => return Err(wrong("a block is either bytes or zeros")),
        };
        match block.len() > len {
            true => Err(wrong("the block is longer than was asked for")),
            false => Ok(block),
        }
    }

    /// Writes a block, at least one byte and at most [`BLOCK_BYTES_MAX`]. When it returns the
    /// executor has handed all of it to its system.
    pub async fn write_block(&self, offset: u64, bytes: Bytes) -> Result<(), CallError> {
        let lane = match bytes.len() > BULK_BYTES {
            true => Lane::Bulk,
            false => Lane::Small,
        };
        let id = Arc::clone(&self.id);
        let request = Request {
            method: fs::WRITE_BLOCK,
            lane,
            limit: TRANSFER,
            size: bytes.len().div_ceil(3) * 4,
            purpose: Purpose::Plain,
            encode: Box::new(move |out, request| {
                frame::write_block_request(out, request, &id, offset, &bytes);
            }),
        };
        let _: Empty = self.executor.call(request).await?.parse(fs::WRITE_BLOCK)?;
        Ok(())
    }

    /// Closes the file and waits for it.
    pub async fn close(self) -> Result<(), CallError> {
        let params = Handle {
            handle_id: self.id.to_string(),
        };
        let mut request = Request::with_params(fs::CLOSE, QUICK, params);
        // It only cleans up: where the file is closed already, it is closed.
        request.purpose = Purpose::Repeatable;
        let _: Empty = self.executor.call(request).await?.parse(fs::CLOSE)?;
        Ok(())
    }
}
