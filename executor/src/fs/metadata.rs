//! What a path is, and where it really is.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::{Cause, FsError};
use crate::os::files::{self, Links};

/// What is known of the target of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub is_directory: bool,
    pub is_file: bool,
    /// Of the path itself, not of what it leads to.
    pub is_symlink: bool,
    pub size: u64,
    /// Unix milliseconds; 0 where the file system does not record it.
    pub created_at_ms: i64,
    pub modified_at_ms: i64,
    /// Permission bits, where there are such.
    pub mode: Option<u32>,
}

pub fn metadata(path: &Path, links: Links) -> Result<Metadata, FsError> {
    let path = without_trailing_separator(path);
    look_up(path, links).map_err(|error| Cause::of_lookup(error, links).at("inspect", path))
}

fn look_up(path: &Path, links: Links) -> io::Result<Metadata> {
    if links == Links::Refuse {
        return Ok(describe(&files::locate(path, links)?.metadata()?, false));
    }
    // Most paths are no links, and then one call answers both questions.
    let itself = std::fs::symlink_metadata(path)?;
    if !itself.is_symlink() {
        return Ok(describe(&itself, false));
    }
    Ok(describe(&std::fs::metadata(path)?, true))
}

/// The path with every link resolved. All of it must exist.
pub fn canonicalize(path: &Path) -> Result<PathBuf, FsError> {
    std::fs::canonicalize(path).map_err(|error| Cause::System(error).at("resolve", path))
}

/// `a/link/` would be looked up as what the link leads to; peers mean the link.
pub(super) fn without_trailing_separator(path: &Path) -> &Path {
    path.components().as_path()
}

fn describe(target: &std::fs::Metadata, is_symlink: bool) -> Metadata {
    Metadata {
        is_directory: target.is_dir(),
        is_file: target.is_file(),
        is_symlink,
        size: target.len(),
        created_at_ms: unix_ms(target.created()),
        modified_at_ms: unix_ms(target.modified()),
        mode: files::mode_of(target),
    }
}

fn unix_ms(time: io::Result<SystemTime>) -> i64 {
    let Ok(time) = time else { return 0 };
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

#[cfg(test)]
mod tests;
