//! Files that nobody but their owner may read or write: records of what happened here.
//!
//! The file is opened first, never through a link, and the open file is judged (`security` SR-52).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::{AsHandle as _, AsRawHandle as _};
use std::path::Path;

use windows_sys::Win32::Foundation::ERROR_LOCK_VIOLATION;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, LOCKFILE_EXCLUSIVE_LOCK,
    LOCKFILE_FAIL_IMMEDIATELY, LockFileEx, UnlockFileEx,
};
use windows_sys::Win32::System::IO::OVERLAPPED;

use super::call::{check, is};
use super::files::{Kind, Links, facts, locate};
use super::security::{create_private_file, create_private_folders, others};

/// Makes a folder and the missing ones above it, each for the owner only. One that is there
/// already must be ours, and nobody else may be able to put files into it.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    create_private_folders(path)?;
    let folder = OpenOptions::new()
        .read(true)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
        .open(path)?;
    let others = others(folder.as_handle())?;
    if others.own {
        return Err(refused("the folder belongs to another user"));
    }
    if others.write {
        return Err(refused("other users may write to the folder"));
    }
    Ok(())
}

/// Opens a file to read it and to append to it, or makes it. One that is there already must be a
/// plain file of ours with no second name, and closed to everybody else.
pub fn open_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .append(true)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT);
    // Between the two somebody may make it, or take it away. Not for ever.
    for _ in 0..8 {
        match options.open(path) {
            Ok(file) => return judged(file),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match create_private_file(path) {
            // Opened again, to append.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(refused("the file comes and goes"))
}

/// Takes the file for ourselves, among those who ask like this. False if somebody else has it.
///
/// Where a byte is locked nobody else can read it, so one far behind every end stands for the file.
pub fn try_lock(file: &File) -> io::Result<bool> {
    let mut place = the_byte();
    let flags = LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY;
    // Why at all: the standard library locks all bytes. Why sound: the handle is open, and nothing
    // goes on after a call that fails at once.
    #[expect(unsafe_code, reason = "a lock on one byte")]
    let done = unsafe { LockFileEx(file.as_raw_handle(), flags, 0, 1, 0, &raw mut place) };
    match check(done) {
        Err(error) if is(&error, ERROR_LOCK_VIOLATION) => Ok(false),
        outcome => outcome.map(|()| true),
    }
}

/// Lets go of the file.
pub fn unlock(file: &File) -> io::Result<()> {
    let mut place = the_byte();
    // Why at all and why sound: as for locking.
    #[expect(unsafe_code, reason = "the end of a lock")]
    let done = unsafe { UnlockFileEx(file.as_raw_handle(), 0, 1, 0, &raw mut place) };
    check(done)
}

fn the_byte() -> OVERLAPPED {
    let mut place = OVERLAPPED::default();
    place.Anonymous.Anonymous.OffsetHigh = 1 << 30;
    place
}

/// Whether the name still leads to this file.
pub fn is_at(file: &File, path: &Path) -> bool {
    let named = locate(path, Links::Follow).and_then(|named| facts(&named));
    match (facts(file), named) {
        (Ok(open), Ok(named)) => open.identity == named.identity,
        _ => false,
    }
}

fn judged(file: File) -> io::Result<File> {
    let found = facts(&file)?;
    if found.kind != Kind::File {
        return Err(refused("it is not a plain file"));
    }
    let others = others(file.as_handle())?;
    if others.own {
        return Err(refused("the file belongs to another user"));
    }
    if others.read || others.write {
        return Err(refused("other users may open the file"));
    }
    if found.names > 1 {
        return Err(refused("the file has a second name"));
    }
    Ok(file)
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, why)
}
