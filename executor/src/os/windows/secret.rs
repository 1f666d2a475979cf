//! Files that hold secrets: who else could read or change them.

use std::fs::File;
use std::io;
use std::os::windows::fs::MetadataExt as _;
use std::os::windows::io::AsHandle as _;
use std::path::Path;

use super::files::{Identity, Kind, Links, facts, locate, open_to_read};
use super::security::{create_private_file, create_private_folders, others};

/// Why a file is not private enough for a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPrivate {
    #[error("it is not a regular file")]
    NotRegular,
    #[error("it belongs neither to the user we run as, nor to the administrators or the system")]
    ForeignFile,
    #[error("others can read it: {REMEDY}")]
    Open,
    #[error("others can change it: {REMEDY}")]
    Writable,
}

const REMEDY: &str = "run icacls FILE /inheritance:r /grant:r \"%USERNAME%:F\" on it";

/// What tells one content of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStamp {
    identity: Identity,
    changed: u64,
    bytes: u64,
}

/// The stamp of what `path` names now, if it can be seen.
pub fn file_stamp(path: &Path) -> Option<FileStamp> {
    let file = locate(path, Links::Follow).ok()?;
    let metadata = file.metadata().ok()?;
    Some(FileStamp {
        identity: facts(&file).ok()?.identity,
        changed: metadata.last_write_time(),
        bytes: metadata.file_size(),
    })
}

/// Opens a file that holds a secret, and judges what was opened (`security` SR-8).
///
/// Folders keep nobody out here: everybody may pass through those they cannot list.
pub fn open_secret(path: &Path) -> io::Result<Result<File, NotPrivate>> {
    let file = open_to_read(path, Links::Follow)?;
    if facts(&file)?.kind != Kind::File {
        return Ok(Err(NotPrivate::NotRegular));
    }
    let others = others(file.as_handle())?;
    Ok(if others.own {
        Err(NotPrivate::ForeignFile)
    } else if others.write {
        Err(NotPrivate::Writable)
    } else if others.read {
        Err(NotPrivate::Open)
    } else {
        Ok(file)
    })
}

/// Makes a new file that only we can read, and the folder it is in if that is missing.
pub fn create_secret(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
    {
        create_private_folders(folder)?;
    }
    create_private_file(path)
}
