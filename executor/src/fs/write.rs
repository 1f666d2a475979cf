//! Replacing what a file holds.

use std::io::Write as _;
use std::path::Path;

use super::error::{Cause, FsError};
use crate::os::files::{self, Kind, Links};

/// Makes `bytes` the whole content of a file, created if it is missing.
///
/// An existing file keeps its inode, mode and other names, and a link is written through: that is
/// what peers observe. A reader meanwhile may see it cut short.
pub fn write(path: &Path, bytes: &[u8], links: Links) -> Result<(), FsError> {
    let write = || {
        let mut file = open_emptied(path, links)?;
        file.write_all(bytes)?;
        Ok(())
    };
    write().map_err(|cause: Cause| cause.at("write", path))
}

/// Opens a regular file for writing, created or emptied.
pub(super) fn open_emptied(path: &Path, links: Links) -> Result<std::fs::File, Cause> {
    let file = files::open_to_write(path, NEW_FILE_MODE, links).map_err(|error| {
        if files::is_special_error(&error) {
            Cause::NotRegular
        } else {
            Cause::of_lookup(error, links)
        }
    })?;
    let facts = files::facts(&file)?;
    if facts.kind != Kind::File {
        return Err(Cause::NotRegular);
    }
    // Not by the opening call: it would have emptied before anybody could look.
    if facts.size > 0 {
        file.set_len(0)?;
    }
    Ok(file)
}

/// What the umask leaves of this is the mode of a new file.
const NEW_FILE_MODE: u32 = 0o666;

#[cfg(test)]
mod tests;
