//! Directories of this machine that are written to.
//!
//! A directory is opened once and everything in it is reached from there, name by name and never
//! through a link, so that neither a name nor somebody who exchanges directories for links leads
//! anything elsewhere.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(super) use unix::{Folder, mode_of, open_to_read, read_at, set_mode, text, write_at};

use std::fs::{File, TryLockError};
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::files::error::FileCause;

/// What a name in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Link,
    Special,
}

/// Makes sure that nobody else writes the file while we do.
pub(super) fn claim(file: &File) -> Result<(), FileCause> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(FileCause::Busy),
        // A file system without locks; two copies to one place spoil each other's partial file,
        // which the digest tells.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// When a file was changed last, in Unix milliseconds.
pub(super) fn modified(found: &std::fs::Metadata) -> Option<i64> {
    let modified = found.modified().ok()?;
    match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).ok(),
        Err(before) => i64::try_from(before.duration().as_millis())
            .ok()
            .map(|ms| -ms),
    }
}

/// Sets it.
pub(super) fn set_modified(file: &File, modified_at_ms: i64) -> io::Result<()> {
    file.set_modified(time(modified_at_ms)?)
}

fn time(unix_ms: i64) -> io::Result<SystemTime> {
    let since = Duration::from_millis(unix_ms.unsigned_abs());
    let time = match unix_ms {
        0.. => UNIX_EPOCH.checked_add(since),
        _ => UNIX_EPOCH.checked_sub(since),
    };
    time.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
