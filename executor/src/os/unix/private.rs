//! Files that nobody but their owner may read or write: records of what happened here.
//!
//! A name in a folder others can write to may be swapped under us, so nothing is judged by name:
//! the file is opened first, never through a link, and the open file is judged (`security` SR-52).

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Only the owner, and only to read and write.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

/// Makes a folder and the missing ones above it, each for the owner only. One that is there
/// already must be ours, and nobody else may be able to put files into it.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_FOLDER)
        .create(path)?;
    let found = std::fs::metadata(path)?;
    if !is_own(found.uid()) {
        return Err(refused("the folder belongs to another user"));
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(refused("other users may write to the folder"));
    }
    Ok(())
}

/// Opens a file to read it and to append to it, or makes it. One that is there already must be a
/// plain file of ours with no second name, and closed to everybody else.
pub fn open_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Without NONBLOCK whoever puts a FIFO there stops us.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    options.read(true).append(true).custom_flags(flags);
    // Between the two somebody may make it, or take it away. Not for ever.
    for _ in 0..8 {
        match options.open(path) {
            Ok(file) => return judged(file),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match options
            .clone()
            .create_new(true)
            .mode(PRIVATE_FILE)
            .open(path)
        {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made,
        }
    }
    Err(refused("the file comes and goes"))
}

/// Takes the file for ourselves, among those who ask like this. False if somebody else has it.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Lets go of the file.
pub fn unlock(file: &File) -> io::Result<()> {
    file.unlock()
}

/// Whether the name still leads to this file.
pub fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), std::fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

fn judged(file: File) -> io::Result<File> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(refused("it is not a plain file"));
    }
    if !is_own(found.uid()) {
        return Err(refused("the file belongs to another user"));
    }
    if found.mode() & OTHERS != 0 {
        return Err(refused("other users may open the file (chmod 600 it)"));
    }
    if found.nlink() > 1 {
        return Err(refused("the file has a second name"));
    }
    Ok(file)
}

fn is_own(uid: u32) -> bool {
    uid == rustix::process::geteuid().as_raw()
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_is_made_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/farstep");
        make_private_folder(&path).unwrap();
        let file = open_private_file(&path.join("records")).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(is_at(&file, &path.join("records")));
        assert!(open_private_file(&path.join("records")).is_ok());
    }

    #[test]
    fn a_file_that_is_not_surely_ours_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        open_private_file(&place("good")).unwrap();
        symlink(place("good"), place("link")).unwrap();
        std::fs::hard_link(place("good"), place("twin")).unwrap();
        std::fs::write(place("open"), "").unwrap();
        std::fs::set_permissions(place("open"), PermissionsExt::from_mode(0o640)).unwrap();
        std::fs::create_dir(place("folder")).unwrap();
        for name in ["link", "twin", "good", "open", "folder"] {
            assert!(open_private_file(&place(name)).is_err(), "{name}");
        }
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o770)).unwrap();
        assert!(make_private_folder(folder.path()).is_err());
    }

    #[test]
    fn a_name_that_leads_elsewhere_now_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let file = open_private_file(&path).unwrap();
        std::fs::rename(&path, folder.path().join("records.1")).unwrap();
        assert!(!is_at(&file, &path));
        open_private_file(&path).unwrap();
        assert!(!is_at(&file, &path));
    }
}
