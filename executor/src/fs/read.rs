//! Whole files.

use std::fs::File;
use std::path::Path;

use super::error::{Cause, FsError};
use crate::os::files::{self, Kind, Links};

/// The largest file one `fs/readFile` returns. Peers count on this figure; larger files are read in
/// blocks through a handle.
pub const READ_FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// A regular file, open and judged, whose bytes can be taken piece by piece.
#[derive(Debug)]
pub struct ReadFile {
    file: File,
    size: u64,
    taken: u64,
    limit: u64,
}

/// All bytes of a regular file of at most `limit` bytes.
pub fn read(path: &Path, links: Links, limit: u64) -> Result<Vec<u8>, FsError> {
    let mut file = open_file(path, links, limit)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|cause| cause.at(OPERATION, path))?;
    Ok(bytes)
}

/// Opens a regular file of at most `limit` bytes for [`ReadFile::take`].
pub fn open_file(path: &Path, links: Links, limit: u64) -> Result<ReadFile, FsError> {
    let open = || {
        let (file, size) = open_regular(path, links)?;
        if size > limit {
            return Err(Cause::TooLarge { limit });
        }
        Ok(ReadFile {
            file,
            size,
            taken: 0,
            limit,
        })
    };
    open().map_err(|cause| cause.at(OPERATION, path))
}

/// Opens for reading what turns out to be a regular file, with the size it claims.
pub(super) fn open_regular(path: &Path, links: Links) -> Result<(File, u64), Cause> {
    let file = files::open_to_read(path, links).map_err(|error| Cause::of_lookup(error, links))?;
    let facts = files::facts(&file)?;
    match facts.kind {
        Kind::File => Ok((file, facts.size)),
        _ => Err(Cause::NotRegular),
    }
}

impl ReadFile {
    /// What the file claimed when it was opened. Files of `/proc` claim 0 whatever they hold, and
    /// any file may have changed since.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends the next bytes, as many as `buffer` has room for, and says how many; 0 at the end.
    pub fn take(&mut self, path: &Path, buffer: &mut Vec<u8>) -> Result<usize, FsError> {
        self.next(buffer).map_err(|cause| cause.at(OPERATION, path))
    }

    fn next(&mut self, buffer: &mut Vec<u8>) -> Result<usize, Cause> {
        let count = files::read_once(&self.file, buffer)?;
        self.taken += count as u64;
        // A file may grow while it is read, and /proc never says how much is to come.
        if self.taken > self.limit {
            return Err(Cause::TooLarge { limit: self.limit });
        }
        Ok(count)
    }

    fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> Result<(), Cause> {
        // The limit was checked, so this is no more than the caller allows.
        bytes.reserve_exact(
            usize::try_from(self.size)
                .unwrap_or(usize::MAX)
                .max(UNKNOWN_SIZE_BYTES),
        );
        loop {
            let count = self.next(bytes)?;
            // A file that held what it claimed needs no further call to show that this was all.
            if count == 0 || (self.size > 0 && self.taken == self.size) {
                return Ok(());
            }
        }
    }
}

/// Room for the first read of a file that claims to be empty.
const UNKNOWN_SIZE_BYTES: usize = 1024;

const OPERATION: &str = "read";

#[cfg(test)]
mod tests;
