//! Files that hold secrets: who else could read or change them.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

/// Why a file is not private enough for a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPrivate {
    #[error("it is not a regular file")]
    NotRegular,
    #[error("it belongs to user {owner}, and neither to root nor to the user we run as")]
    ForeignFile { owner: u32 },
    #[error("{} on the way to it is a symbolic link of user {owner}", link.display())]
    ForeignLink { link: PathBuf, owner: u32 },
    #[error(
        "others can reach it (mode {mode:03o}): run chmod 600 on it, or move it into a folder \
         that only you can enter"
    )]
    Open { mode: u32 },
    #[error("others can change it (mode {mode:03o}): run chmod 600 on it")]
    Writable { mode: u32 },
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStamp {
    place: (u64, u64),
    changed: (i64, i64),
    bytes: u64,
}

/// The stamp of what `path` names now, if it can be seen.
pub fn file_stamp(path: &Path) -> Option<FileStamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(FileStamp {
        place: (metadata.dev(), metadata.ino()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        bytes: metadata.size(),
    })
}

/// Opens a file that holds a secret, and judges what was opened (`security` SR-8).
///
/// Mode bits for others are forgiven when a folder on the way, of ours or root's, lets nobody
/// else through: then the bits give nobody anything.
pub fn open_secret(path: &Path) -> io::Result<Result<File, NotPrivate>> {
    if let Some(refused) = foreign_link(path) {
        return Ok(Err(refused));
    }
    // A FIFO in its place must not hold us up; what it is shows in a moment.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::options()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)?;
    let metadata = file.metadata()?;
    let mode = metadata.mode() & 0o777;
    Ok(if !metadata.is_file() {
        Err(NotPrivate::NotRegular)
    } else if !is_trusted(metadata.uid()) {
        Err(NotPrivate::ForeignFile {
            owner: metadata.uid(),
        })
    } else if mode & 0o077 == 0 || is_out_of_reach(path) {
        Ok(file)
    } else if mode & 0o022 != 0 {
        Err(NotPrivate::Writable { mode })
    } else {
        Err(NotPrivate::Open { mode })
    })
}

/// Makes a new file that only we can read, and the folder it is in if that is missing.
pub fn create_secret(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent()
        && !folder.as_os_str().is_empty()
    {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let flags = OFlags::NOFOLLOW;
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)
}

/// Root could do anything anyway.
fn is_trusted(owner: u32) -> bool {
    owner == 0 || owner == rustix::process::geteuid().as_raw()
}

/// A link on the way that somebody else could point elsewhere.
fn foreign_link(path: &Path) -> Option<NotPrivate> {
    let mut walked = PathBuf::new();
    for component in path.components() {
        walked.push(component);
        let Ok(metadata) = std::fs::symlink_metadata(&walked) else {
            // Opening it will say what is wrong.
            return None;
        };
        if metadata.is_symlink() && !is_trusted(metadata.uid()) {
            return Some(NotPrivate::ForeignLink {
                link: walked,
                owner: metadata.uid(),
            });
        }
    }
    None
}

/// Whether a folder above the file keeps everybody else out.
fn is_out_of_reach(path: &Path) -> bool {
    let Ok(real) = std::fs::canonicalize(path) else {
        return false;
    };
    let mut folder = PathBuf::from("/");
    let folders = real.parent().into_iter().flat_map(Path::components);
    for component in folders {
        if let Component::Normal(name) = component {
            folder.push(name);
        }
        let closed = std::fs::metadata(&folder)
            .is_ok_and(|metadata| metadata.mode() & 0o011 == 0 && is_trusted(metadata.uid()));
        if closed {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn with_modes(folder: u32, file: u32) -> Result<(), NotPrivate> {
        let parent = tempfile::tempdir().unwrap();
        // The folder that holds it must not be what keeps others out.
        std::fs::set_permissions(&parent, PermissionsExt::from_mode(0o755)).unwrap();
        let inner = parent.path().join("folder");
        std::fs::create_dir(&inner).unwrap();
        let path = inner.join("secret");
        std::fs::write(&path, "s").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(file)).unwrap();
        std::fs::set_permissions(&inner, PermissionsExt::from_mode(folder)).unwrap();
        open_secret(&path).unwrap().map(drop)
    }

    #[test]
    fn a_secret_that_others_can_reach_is_refused() {
        assert_eq!(with_modes(0o755, 0o600), Ok(()));
        assert_eq!(with_modes(0o755, 0o400), Ok(()));
        for mode in [0o640, 0o604, 0o644] {
            assert_eq!(with_modes(0o755, mode), Err(NotPrivate::Open { mode }));
        }
        assert_eq!(
            with_modes(0o755, 0o666),
            Err(NotPrivate::Writable { mode: 0o666 })
        );
    }

    #[test]
    fn a_folder_that_keeps_others_out_is_as_good_as_the_files_own_mode() {
        assert_eq!(with_modes(0o700, 0o644), Ok(()));
        assert_eq!(
            with_modes(0o711, 0o644),
            Err(NotPrivate::Open { mode: 0o644 })
        );
    }

    #[test]
    fn only_a_regular_file_holds_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let opened = open_secret(folder.path()).unwrap();
        assert_eq!(opened.unwrap_err(), NotPrivate::NotRegular);
    }

    #[test]
    fn a_new_secret_is_ours_alone_and_replaces_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("new/secret");
        create_secret(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let again = create_secret(&path).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(parent.path().join("elsewhere"), &link).unwrap();
        assert!(create_secret(&link).is_err());
    }
}
