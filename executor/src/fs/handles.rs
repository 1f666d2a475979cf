//! Files a connection holds open to read or write them in blocks.
//!
//! The table decides about ids and slots and never touches a file; a [`Handle`] reads and writes
//! and knows nothing of ids. In between the caller may be on any thread:
//!
//! ```text
//!   reserve ──▶ Handle::open (blocking) ──▶ install, or release if it failed
//!   get ──────▶ Handle::read_block / write_block (blocking) ──▶ discard if the file failed
//! ```

mod line;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::{Cause, FsError};
use super::write::Content;
use super::{read, write};
use crate::os::files::{self, Links};
use line::Line;

/// Files a connection may hold open. One more is refused before the file is touched.
pub const HANDLES_MAX: usize = 128;

/// The longest id a client may give a handle, in bytes.
pub const HANDLE_ID_BYTES_MAX: usize = 32;

/// The largest block.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;

/// Why a call on a handle was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    #[error("a file handle id has at most {HANDLE_ID_BYTES_MAX} bytes")]
    IdTooLong,
    #[error("file handle `{0}` already exists")]
    InUse(String),
    #[error("at most {HANDLES_MAX} file handles can be open")]
    NoSlot,
    #[error("unknown file handle `{0}`")]
    Unknown(String),
    #[error("a block has at least 1 and at most {BLOCK_BYTES_MAX} bytes")]
    BlockLength,
    #[error("a block must end before byte 2^63")]
    BeyondRange,
    #[error("the file handle was opened for {0}")]
    WrongMode(&'static str),
    #[error("{0}")]
    File(#[from] FsError),
}

/// What a handle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Read,
    /// The file was created or emptied.
    Replace,
    /// The file was created, or is written where it stands; made this long first.
    Update {
        length: Option<u64>,
    },
}

/// The handles of one connection. They close when it is dropped.
#[derive(Debug, Default)]
pub struct Handles {
    slots: HashMap<Box<str>, Slot>,
    reservations: u64,
}

#[derive(Debug)]
enum Slot {
    Opening(u64),
    Open(Arc<Handle>),
}

/// A slot taken for a file that is being opened.
#[derive(Debug)]
pub struct Reservation {
    id: Box<str>,
    number: u64,
}

impl Handles {
    pub fn new() -> Handles {
        Handles::default()
    }

    /// Takes a slot. To be followed by [`Handles::install`] or [`Handles::release`].
    pub fn reserve(&mut self, id: &str) -> Result<Reservation, HandleError> {
        check_id(id)?;
        if self.slots.contains_key(id) {
            return Err(HandleError::InUse(id.to_owned()));
        }
        if self.slots.len() >= HANDLES_MAX {
            return Err(HandleError::NoSlot);
        }
        self.reservations += 1;
        let reservation = Reservation {
            id: id.into(),
            number: self.reservations,
        };
        self.slots
            .insert(id.into(), Slot::Opening(reservation.number));
        Ok(reservation)
    }

    /// Puts an opened file into its slot. If the id was closed meanwhile, the file is closed too.
    pub fn install(&mut self, reservation: Reservation, handle: Handle) {
        if let Some(slot) = self.slots.get_mut(&reservation.id)
            && matches!(slot, Slot::Opening(number) if *number == reservation.number)
        {
            *slot = Slot::Open(Arc::new(handle));
        }
    }

    /// Gives a slot back.
    pub fn release(&mut self, reservation: Reservation) {
        if matches!(self.slots.get(&reservation.id), Some(Slot::Opening(number)) if *number == reservation.number)
        {
            self.slots.remove(&reservation.id);
        }
    }

    /// The handle with this id. One that is still being opened is unknown.
    pub fn get(&self, id: &str) -> Result<Arc<Handle>, HandleError> {
        check_id(id)?;
        match self.slots.get(id) {
            Some(Slot::Open(handle)) => Ok(Arc::clone(handle)),
            _ => Err(HandleError::Unknown(id.to_owned())),
        }
    }

    /// Closes a handle. An unknown one is fine.
    pub fn close(&mut self, id: &str) -> Result<(), HandleError> {
        check_id(id)?;
        self.slots.remove(id);
        Ok(())
    }

    /// Drops a handle whose file has failed, unless the id belongs to another one by now.
    pub fn discard(&mut self, id: &str, failed: &Arc<Handle>) {
        if matches!(self.slots.get(id), Some(Slot::Open(handle)) if Arc::ptr_eq(handle, failed)) {
            self.slots.remove(id);
        }
    }
}

fn check_id(id: &str) -> Result<(), HandleError> {
    if id.len() > HANDLE_ID_BYTES_MAX {
        Err(HandleError::IdTooLong)
    } else {
        Ok(())
    }
}

/// A regular file held open.
#[derive(Debug)]
pub struct Handle {
    file: File,
    mode: Mode,
    /// One block is written at a time. The system sees to that too, but lets the others spin.
    turn: Mutex<()>,
    /// Large blocks to be read.
    line: Line,
}

/// What was read, and whether the file ended before as much as was asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    pub bytes: Vec<u8>,
    pub eof: bool,
}

impl fmt::Debug for Block {
    /// Without the bytes: they are somebody's file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("len", &self.bytes.len())
            .field("eof", &self.eof)
            .finish()
    }
}

impl Handle {
    pub fn open(path: &Path, mode: Mode) -> Result<Handle, FsError> {
        let file = match mode {
            Mode::Read => read::open_regular(path, Links::Follow).map(|(file, _size)| file),
            Mode::Replace => write::open_emptied(path, Links::Follow),
            Mode::Update { length } => write::open_as_it_is(path, length, Links::Follow),
        };
        Ok(Handle {
            file: file.map_err(|cause| cause.at("open", path))?,
            mode,
            turn: Mutex::new(()),
            line: Line::default(),
        })
    }

    /// Has `work` done behind what was asked for before. True if nobody is at it: somebody has to call
    /// [`Handle::work_off`] until it is false then.
    #[must_use]
    pub fn line_up(&self, work: impl FnOnce(&Handle) + Send + 'static) -> bool {
        self.line.join(work)
    }

    /// Does what was lined up. True if something is left.
    #[must_use]
    pub fn work_off(&self) -> bool {
        self.line.work_off(self)
    }

    /// Reads a block. After [`HandleError::File`] the handle is to be discarded.
    pub fn read_block(&self, offset: u64, len: u64) -> Result<Block, HandleError> {
        let len = usize::try_from(len)
            .ok()
            .filter(|len| (1..=BLOCK_BYTES_MAX).contains(len));
        let len = len.ok_or(HandleError::BlockLength)?;
        if self.mode != Mode::Read {
            return Err(HandleError::WrongMode("writing"));
        }
        let mut bytes = Vec::with_capacity(len);
        // No file reaches further than this, so there is nothing to ask the system for.
        if offset <= OFFSET_MAX - len as u64 {
            files::read_at(&self.file, offset, len, &mut bytes)
                .map_err(|error| failed("read block of", error))?;
        }
        let eof = bytes.len() < len;
        Ok(Block { bytes, eof })
    }

    /// Writes a block. When it returns all of it was handed to the system.
    pub fn write_block(
        &self,
        offset: u64,
        block: &(impl Content + ?Sized),
    ) -> Result<(), HandleError> {
        if !(1..=BLOCK_BYTES_MAX as u64).contains(&block.size()) {
            return Err(HandleError::BlockLength);
        }
        if offset
            .checked_add(block.size())
            .is_none_or(|end| end > OFFSET_MAX)
        {
            return Err(HandleError::BeyondRange);
        }
        if self.mode == Mode::Read {
            return Err(HandleError::WrongMode("reading"));
        }
        let mut at = offset;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let written = block.visit(&mut |piece| {
            files::write_at(&self.file, at, piece)?;
            at += piece.len() as u64;
            Ok(())
        });
        written.map_err(|error| failed("write block of", error))
    }
}

/// The last offset a file can have.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// A handle has no path: the file may have any by now.
fn failed(operation: &'static str, error: std::io::Error) -> HandleError {
    HandleError::File(Cause::System(error).at(operation, Path::new("the open file")))
}

#[cfg(test)]
mod tests;
