//! Opening, listing and copying files the way the filesystem methods need it.
//!
//! Everything here works on descriptors: a name is looked up once, and what was found is judged and
//! used through the descriptor, so that nobody can exchange it in between. It knows nothing of
//! requests, of URIs, or of which answer a failure becomes.

mod contents;
mod nofollow;
mod replace;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawMode, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

pub use crate::os::shared::{Kind, Links};
pub use contents::{copy_contents, read_at, read_once, write_at};
pub use nofollow::make_directories_without_links;
pub use replace::{Draft, Place};

/// Whether a file that has lost its name may be closed whenever there is time.
pub const LOST_NAMES_ARE_FREE: bool = true;

/// One file, whatever its name: the device and the number on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// What the descriptor of an open file says about it.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub kind: Kind,
    pub identity: Identity,
    pub size: u64,
    /// Bytes that really occupy space: less than `size` in a file with holes.
    pub allocated: u64,
    /// Permission and set-id bits.
    pub mode: u32,
    pub owner: (u32, u32),
    /// How many names it has.
    pub names: u64,
}

/// Whether names are bytes, or text that may be broken.
pub const NAMES_ARE_BYTES: bool = true;

/// Looking up names below a directory needs no right to list it.
#[cfg(target_os = "linux")]
const LOOKUP: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const LOOKUP: OFlags = OFlags::RDONLY;

/// Opens for reading without ever waiting for the other end of a FIFO. Judge by [`facts`].
pub fn open_to_read(path: &Path, links: Links) -> io::Result<File> {
    Ok(open(path, OFlags::RDONLY, 0, links)?.into())
}

/// Opens for writing, creating the file if need be, and truncates nothing: judge by [`facts`] first.
pub fn open_to_write(path: &Path, mode: u32, links: Links) -> io::Result<File> {
    Ok(open(path, OFlags::WRONLY | OFlags::CREATE, mode, links)?.into())
}

/// Opens an existing file for writing and truncates nothing.
pub fn open_existing_to_write(path: &Path, links: Links) -> io::Result<File> {
    Ok(open(path, OFlags::WRONLY, 0, links)?.into())
}

/// What an open file is. The files in which the system shows this very process are
/// [`Kind::Special`]: they hold its environment and its memory.
pub fn facts(file: &impl AsFd) -> io::Result<Facts> {
    let mut facts = facts_of(&rustix::fs::fstat(file)?);
    // All of those claim to be empty.
    if facts.kind == Kind::File && facts.size == 0 && shows_this_process(file) {
        facts.kind = Kind::Special;
    }
    Ok(facts)
}

#[cfg(target_os = "linux")]
fn shows_this_process(file: &impl AsFd) -> bool {
    let is_proc =
        rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type == rustix::fs::PROC_SUPER_MAGIC);
    if !is_proc {
        return false;
    }
    let own = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let Ok(name) = std::fs::read_link(own) else {
        return true;
    };
    // "/proc/PID/..." wherever it is mounted: any number that is one of our threads.
    name.components().any(|component| {
        let component = component.as_os_str();
        let is_number = component.as_bytes().iter().all(u8::is_ascii_digit);
        is_number && Path::new("/proc/self/task").join(component).exists()
    })
}
#[cfg(not(target_os = "linux"))]
fn shows_this_process(_: &impl AsFd) -> bool {
    false
}

/// Finds a path without opening it for reading or writing, for its metadata.
#[cfg(target_os = "linux")]
pub fn locate(path: &Path, links: Links) -> io::Result<File> {
    Ok(open(path, OFlags::PATH, 0, links)?.into())
}
#[cfg(not(target_os = "linux"))]
pub fn locate(path: &Path, links: Links) -> io::Result<File> {
    open_to_read(path, links)
}

pub fn set_mode(file: &impl AsFd, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(
        file,
        Mode::from_raw_mode(mode as RawMode),
    )?)
}

/// Sets the permission bits of what a path leads to.
pub fn set_mode_at(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Sets when what a path leads to was changed last. Its owner may, without any right to read it.
pub fn set_modified_at(path: &Path, modified: SystemTime) -> io::Result<()> {
    let (seconds, nanoseconds) = match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => (i64::try_from(since.as_secs()), since.subsec_nanos()),
        // The nanoseconds count upwards all the same.
        Err(before) => {
            let before = before.duration();
            let up = before.as_secs() + u64::from(before.subsec_nanos() > 0);
            let nanoseconds = (1_000_000_000 - before.subsec_nanos()) % 1_000_000_000;
            (i64::try_from(up).map(|up| -up), nanoseconds)
        }
    };
    let seconds = seconds.map_err(|_| io::ErrorKind::InvalidInput)?;
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds.into(),
        },
    };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::empty())?)
}

/// The nine permission bits, where the system has such.
pub fn mode_of(metadata: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(metadata.permissions().mode() & 0o777)
}

/// The name whose bytes a listing gave.
pub fn name_from_bytes(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// Whether a removal failed because the name belongs to a directory.
pub fn is_directory_error(error: &io::Error) -> bool {
    // Linux says EISDIR, as it should; POSIX and macOS say EPERM.
    [Errno::ISDIR, Errno::PERM]
        .into_iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether a lookup that refuses links found one.
pub fn is_link_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// Whether opening for writing failed because a FIFO has no reader or a device no driver.
pub fn is_special_error(error: &io::Error) -> bool {
    [Errno::NXIO, Errno::NODEV]
        .into_iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// An open directory.
#[derive(Debug)]
pub struct Directory(OwnedFd);

impl Directory {
    pub fn open(path: &Path, links: Links) -> io::Result<Directory> {
        Ok(Directory(open(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY,
            0,
            links,
        )?))
    }

    /// The directory a path names; through a link in its last component only if that is wanted.
    pub fn open_itself(path: &Path, through_link: bool) -> io::Result<Directory> {
        let flags = if through_link {
            OFlags::DIRECTORY
        } else {
            OFlags::DIRECTORY | OFlags::NOFOLLOW
        };
        Ok(Directory(open(
            path,
            OFlags::RDONLY | flags,
            0,
            Links::Follow,
        )?))
    }

    /// The directory that holds the last component, for calls that create or remove names in it.
    pub fn parent_of(path: &Path, links: Links) -> io::Result<Directory> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        Ok(Directory(open(
            parent,
            LOOKUP | OFlags::DIRECTORY,
            0,
            links,
        )?))
    }

    /// A directory below this one. No component of `relative` may be a link.
    pub fn descend(&self, relative: &Path) -> io::Result<Directory> {
        Ok(Directory(nofollow::open(
            self.0.as_fd(),
            relative,
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
        )?))
    }

    /// As [`Directory::descend`], through whatever links there are.
    pub fn descend_through_links(&self, relative: &Path) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Directory(rustix::fs::openat(
            &self.0,
            relative,
            flags,
            Mode::empty(),
        )?))
    }

    /// A directory of this name that is no link.
    pub fn child(&self, name: &OsStr) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Directory(rustix::fs::openat(
            &self.0,
            name,
            flags,
            Mode::empty(),
        )?))
    }

    /// The directory above.
    pub fn above(&self) -> io::Result<Directory> {
        self.child(OsStr::new(".."))
    }

    /// A file of this name that is no link, for reading.
    pub fn file_to_read(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, Mode::empty())?.into())
    }

    /// A file of this name that is no link, for writing; created if missing, never truncated.
    pub fn file_to_write(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let access = OFlags::WRONLY | OFlags::CREATE;
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, Mode::from_raw_mode(mode as RawMode))?.into())
    }

    pub fn facts(&self) -> io::Result<Facts> {
        facts(&self.0)
    }

    /// What a name is itself.
    pub fn kind(&self, name: &OsStr) -> io::Result<Kind> {
        Ok(facts_of(&rustix::fs::statat(
            &self.0,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
        .kind)
    }

    /// What a name leads to.
    pub fn target_kind(&self, name: &OsStr) -> io::Result<Kind> {
        Ok(facts_of(&rustix::fs::statat(&self.0, name, AtFlags::empty())?).kind)
    }

    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        set_mode(&self.0, mode)
    }

    pub fn make_directory(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(
            &self.0,
            name,
            Mode::from_raw_mode(mode as RawMode),
        )?)
    }

    pub fn read_link(&self, name: &OsStr) -> io::Result<std::ffi::CString> {
        Ok(rustix::fs::readlinkat(&self.0, name, Vec::new())?)
    }

    pub fn make_link(&self, target: &std::ffi::CStr, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.0, name)?)
    }

    pub fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    pub fn remove_directory(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// Shows every name from the beginning, `.` and `..` aside, until `visit` breaks off.
    ///
    /// Removing names meanwhile is fine: those not yet shown will be.
    pub fn list(
        &self,
        buffer: &mut ListBuffer,
        mut visit: impl FnMut(&OsStr, Kind) -> ControlFlow<()>,
    ) -> io::Result<()> {
        rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Start(0))?;
        self.entries(buffer, |name, kind| match name {
            b"." | b".." => ControlFlow::Continue(()),
            name => visit(OsStr::from_bytes(name), kind_of(kind)),
        })
    }

    /// Straight from the kernel's buffer: nothing is allocated per entry.
    #[cfg(target_os = "linux")]
    fn entries(
        &self,
        buffer: &mut ListBuffer,
        mut visit: impl FnMut(&[u8], FileType) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut entries = rustix::fs::RawDir::new(&self.0, &mut buffer.0);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if visit(entry.file_name().to_bytes(), entry.file_type()).is_break() {
                break;
            }
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn entries(
        &self,
        _buffer: &mut ListBuffer,
        mut visit: impl FnMut(&[u8], FileType) -> ControlFlow<()>,
    ) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            if visit(entry.file_name().to_bytes(), entry.file_type()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The room one listing call fills; reused from directory to directory.
#[derive(Debug)]
pub struct ListBuffer(Vec<MaybeUninit<u8>>);

/// Some thousand names per system call; larger ones gained nothing measurable.
const LIST_BUFFER_BYTES: usize = 32 * 1024;

impl ListBuffer {
    pub fn new() -> ListBuffer {
        let mut room = Vec::with_capacity(LIST_BUFFER_BYTES);
        room.resize_with(LIST_BUFFER_BYTES, MaybeUninit::uninit);
        ListBuffer(room)
    }
}

impl Default for ListBuffer {
    fn default() -> ListBuffer {
        ListBuffer::new()
    }
}

fn open(path: &Path, access: OFlags, mode: u32, links: Links) -> rustix::io::Result<OwnedFd> {
    // NONBLOCK because the path may be a FIFO nobody else has open, NOCTTY because it may be a
    // terminal; neither means anything to the regular files and directories that are kept open.
    // A lookup alone opens nothing, and the kernel refuses further flags with it.
    let extra = if access.contains(LOOKUP) && LOOKUP != OFlags::RDONLY {
        OFlags::CLOEXEC
    } else {
        OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY
    };
    let mode = Mode::from_raw_mode(mode as RawMode);
    match links {
        Links::Follow => open_through_links(path, access | extra, mode),
        Links::Refuse => nofollow::open(CWD, path, access | extra, mode),
    }
}

/// Follows links that are names, not those of `/proc/PID/fd`, `root`, `cwd` and `exe`: they lead to
/// what this process has open and nobody else may see, and to where no name leads.
#[cfg(target_os = "linux")]
fn open_through_links(path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let resolve = rustix::fs::ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(CWD, path, flags, mode, resolve) {
        // Too old a kernel, or a container's filter. Where EPERM meant the file, it comes again.
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::open(path, flags, mode),
        outcome => outcome,
    }
}
#[cfg(not(target_os = "linux"))]
fn open_through_links(path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, flags, mode)
}

fn facts_of(stat: &rustix::fs::Stat) -> Facts {
    // The widths of these fields differ between platforms; none of them is ever negative.
    #[expect(
        clippy::unnecessary_cast,
        reason = "the types differ between platforms"
    )]
    Facts {
        kind: kind_of(FileType::from_raw_mode(stat.st_mode as RawMode)),
        identity: Identity {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
        },
        size: stat.st_size as u64,
        allocated: stat.st_blocks as u64 * 512,
        mode: stat.st_mode as u32 & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        names: stat.st_nlink as u64,
    }
}

fn kind_of(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Unknown => Kind::Unknown,
        _ => Kind::Special,
    }
}

#[cfg(test)]
mod tests;
