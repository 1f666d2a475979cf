//! Replacing what a file holds.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use super::error::{Cause, FsError};
use crate::os::files::{self, Kind, Links};

/// Makes `bytes` the whole content of a file, created if it is missing.
///
/// An existing file keeps its inode, mode and other names, and a link is written through: that is
/// what peers observe. A reader meanwhile may see some of the old and some of the new.
pub fn write(path: &Path, bytes: &[u8], links: Links) -> Result<(), FsError> {
    let write = || {
        let (mut file, old_size) = open_to_write(path, links)?;
        file.write_all(bytes)?;
        // What is left of the old is cut off last. Emptying first would make some file systems
        // write everything to the disk at once, for fear of a crash: a thousand times slower.
        let size = bytes.len() as u64;
        if old_size > size || size == 0 {
            file.set_len(size)?;
        }
        Ok(())
    };
    write().map_err(|cause: Cause| cause.at("write", path))
}

/// Opens a regular file for writing, created or emptied.
pub(super) fn open_emptied(path: &Path, links: Links) -> Result<File, Cause> {
    let (file, old_size) = open_to_write(path, links)?;
    // Not by the opening call: it would have emptied before anybody could look.
    if old_size > 0 {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Opens a regular file for writing, created if missing, with the size it has.
fn open_to_write(path: &Path, links: Links) -> Result<(File, u64), Cause> {
    let file = files::open_to_write(path, NEW_FILE_MODE, links).map_err(|error| {
        if files::is_special_error(&error) {
            Cause::NotRegular
        } else {
            Cause::of_lookup(error, links)
        }
    })?;
    let facts = files::facts(&file)?;
    match facts.kind {
        Kind::File => Ok((file, facts.size)),
        _ => Err(Cause::NotRegular),
    }
}

/// What the umask leaves of this is the mode of a new file.
const NEW_FILE_MODE: u32 = 0o666;

#[cfg(test)]
mod tests;
