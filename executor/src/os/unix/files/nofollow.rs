//! Lookups in which no component may be a symbolic link.
//!
//! The kernel does it in one call where it can. Elsewhere, and in containers that forbid the call,
//! every component is opened from the one before; the answers are the same.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::LOOKUP;

/// Opens `path` from `base`. A link anywhere in it is `ELOOP`.
pub(super) fn open(
    base: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    match rustix::fs::openat2(
        base,
        path,
        flags,
        mode,
        rustix::fs::ResolveFlags::NO_SYMLINKS,
    ) {
        // Too old a kernel, or a container's filter. Where EPERM meant the file, it comes again.
        Err(Errno::NOSYS | Errno::PERM) => {}
        outcome => return outcome,
    }
    open_by_component(base, path, flags, mode)
}

/// Makes `path` and its missing parents; fine if it is a directory already.
pub fn make_directories_without_links(path: &Path, mode: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode as rustix::fs::RawMode);
    let mut directory = rustix::fs::open(
        "/",
        LOOKUP | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for component in path.components() {
        let Component::Normal(name) = component else {
            continue;
        };
        let name = Path::new(name);
        directory = match step(directory.as_fd(), name) {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(&directory, name, mode) {
                    // Somebody else was faster; what it is shows when it is opened.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                step(directory.as_fd(), name)?
            }
            outcome => outcome?,
        };
    }
    Ok(())
}

pub(super) fn open_by_component(
    base: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
) -> rustix::io::Result<OwnedFd> {
    let start = if path.is_absolute() {
        Path::new("/")
    } else {
        Path::new(".")
    };
    let mut names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(Path::new(name)),
        _ => None,
    });
    let Some(mut name) = names.next() else {
        return rustix::fs::openat(base, start, flags, mode);
    };
    let mut directory = rustix::fs::openat(
        base,
        start,
        LOOKUP | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for next in names {
        directory = step(directory.as_fd(), name)?;
        name = next;
    }
    let opened = rustix::fs::openat(&directory, name, flags | OFlags::NOFOLLOW, mode);
    match opened {
        // A lookup alone is content with the link itself.
        Ok(fd) if LOOKUP != OFlags::RDONLY && flags.contains(LOOKUP) => {
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
            if kind == FileType::Symlink {
                Err(Errno::LOOP)
            } else {
                Ok(fd)
            }
        }
        Err(Errno::NOTDIR) => Err(link_or_not_a_directory(directory.as_fd(), name)),
        outcome => outcome,
    }
}

/// One directory further.
fn step(directory: BorrowedFd<'_>, name: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = LOOKUP | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR => link_or_not_a_directory(directory, name),
        error => error,
    })
}

/// Asked for a directory and told not to follow, the kernel calls a link "not a directory".
fn link_or_not_a_directory(directory: BorrowedFd<'_>, name: &Path) -> Errno {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => Errno::LOOP,
        _ => Errno::NOTDIR,
    }
}
