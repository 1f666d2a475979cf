//! By descriptors.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawMode};

use super::Kind;
use crate::files::copy::name::Name;
use crate::files::error::FileCause;

/// An open directory.
#[derive(Debug)]
pub(in crate::files::copy) struct Folder(OwnedFd);

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

impl Folder {
    /// The directory a person named, through whatever links.
    pub(in crate::files::copy) fn open(path: &Path) -> Result<Folder, FileCause> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let opened = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty());
        Ok(Folder(opened.map_err(io::Error::from)?))
    }

    /// The directory so many names below this one.
    pub(in crate::files::copy) fn descend(&self, names: &[Name]) -> Result<Folder, FileCause> {
        let mut folder = Folder(self.0.try_clone()?);
        for name in names {
            folder = folder.child(name)?;
        }
        Ok(folder)
    }

    fn child(&self, name: &Name) -> Result<Folder, FileCause> {
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        match rustix::fs::openat(&self.0, text(name), flags, Mode::empty()) {
            Ok(child) => Ok(Folder(child)),
            Err(error) => Err(self.reason(name, error.into())),
        }
    }

    /// Makes a directory, unless it is there; tells whether it is new.
    pub(in crate::files::copy) fn make(&self, name: &Name) -> Result<bool, FileCause> {
        match rustix::fs::mkdirat(&self.0, text(name), Mode::from_raw_mode(0o777)) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST) => match self.kind(name)? {
                Some(Kind::Directory) => Ok(false),
                Some(Kind::Link) => Err(FileCause::Link),
                _ => Err(FileCause::InTheWay),
            },
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// What a name is itself; none if nothing has it.
    pub(in crate::files::copy) fn kind(&self, name: &Name) -> Result<Option<Kind>, FileCause> {
        let found = rustix::fs::statat(&self.0, text(name), AtFlags::SYMLINK_NOFOLLOW);
        match found {
            Ok(found) => Ok(Some(
                match FileType::from_raw_mode(found.st_mode as RawMode) {
                    FileType::RegularFile => Kind::File,
                    FileType::Directory => Kind::Directory,
                    FileType::Symlink => Kind::Link,
                    _ => Kind::Special,
                },
            )),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// A regular file of this name to write to, made if missing, with what it holds.
    pub(in crate::files::copy) fn open_to_write(
        &self,
        name: &Name,
        mode: u32,
    ) -> Result<File, FileCause> {
        let flags = OFlags::RDWR
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode as RawMode);
        let opened = rustix::fs::openat(&self.0, text(name), flags, mode);
        let file: File = match opened {
            Ok(file) => file.into(),
            Err(error) => return Err(self.reason(name, error.into())),
        };
        let found = file.metadata()?;
        // What has another name too is somebody else's file.
        match found.is_file() && found.nlink() == 1 {
            true => Ok(file),
            false => Err(FileCause::InTheWay),
        }
    }

    /// Gives a file another name, in place of a file or link that has it.
    pub(in crate::files::copy) fn rename(&self, from: &Name, to: &Name) -> Result<(), FileCause> {
        rustix::fs::renameat(&self.0, text(from), &self.0, text(to)).map_err(io::Error::from)?;
        Ok(())
    }

    pub(in crate::files::copy) fn remove(&self, name: &Name) -> Result<(), FileCause> {
        let removed = rustix::fs::unlinkat(&self.0, text(name), AtFlags::empty());
        Ok(removed.map_err(io::Error::from)?)
    }

    /// Sets the permission bits of this directory.
    pub(in crate::files::copy) fn set_mode(&self, mode: u32) -> Result<(), FileCause> {
        let mode = Mode::from_raw_mode(mode as RawMode);
        Ok(rustix::fs::fchmod(self.0.as_fd(), mode).map_err(io::Error::from)?)
    }

    /// Sets when this directory was changed last, in Unix milliseconds.
    pub(in crate::files::copy) fn set_modified(&self, modified: i64) -> Result<(), FileCause> {
        let itself = File::from(self.0.try_clone()?);
        Ok(super::set_modified(&itself, modified)?)
    }

    /// Why something of this name could not be opened.
    fn reason(&self, name: &Name, error: io::Error) -> FileCause {
        match self.kind(name) {
            Ok(Some(Kind::Link)) => FileCause::Link,
            _ => error.into(),
        }
    }
}

/// The name as this system spells it.
pub(in crate::files::copy) fn text(name: &Name) -> &OsStr {
    OsStr::from_bytes(name.as_bytes())
}

/// A regular file to read, without waiting for the other end of a FIFO.
pub(in crate::files::copy) fn open_to_read(path: &Path) -> Result<File, FileCause> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, path, flags, Mode::empty());
    let file: File = opened.map_err(io::Error::from)?.into();
    let found = file.metadata()?;
    match (found.is_file(), found.is_dir()) {
        (true, _) => Ok(file),
        (_, true) => Err(FileCause::IsDirectory),
        _ => Err(FileCause::Special),
    }
}

/// Up to `len` bytes from `offset` on; fewer only at the end of the file.
pub(in crate::files::copy) fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read_at(room, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Writes all of `bytes` at `offset`.
pub(in crate::files::copy) fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// The nine permission bits.
pub(in crate::files::copy) fn mode_of(found: &std::fs::Metadata) -> Option<u32> {
    Some(found.permissions().mode() & 0o777)
}

pub(in crate::files::copy) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}
