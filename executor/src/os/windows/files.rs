//! Opening, listing and copying files the way the filesystem methods need it.
//!
//! Everything here works on handles: a name is looked up once, below a directory that is open, and
//! what was found is judged and used through its handle, so that nobody can exchange it in between.
//! It knows nothing of requests, of URIs, or of which answer a failure becomes.
//!
//! Symbolic links and junctions are links. Other reparse points (files that live in a cloud, or
//! deduplicated ones) are what they stand for.

mod at;
mod contents;
mod replace;

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::windows::ffi::OsStringExt as _;
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::path::{Component, Path};
use std::time::SystemTime;

use windows_sys::Win32::Foundation::{
    ERROR_CANT_RESOLVE_FILENAME, ERROR_DIRECTORY, ERROR_NO_MORE_FILES, ERROR_STOPPED_ON_SYMLINK,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_READONLY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_ATTRIBUTE_TAG_INFO,
    FILE_BASIC_INFO, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_FULL_DIR_INFO,
    FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_ID_INFO, FILE_INFO_BY_HANDLE_CLASS,
    FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES, FILE_STANDARD_INFO, FILE_TRAVERSE, FILE_TYPE_DISK,
    FILE_WRITE_ATTRIBUTES, FileAttributeTagInfo, FileBasicInfo, FileFullDirectoryInfo,
    FileFullDirectoryRestartInfo, FileIdInfo, FileStandardInfo, GetFileInformationByHandle,
    GetFileInformationByHandleEx, GetFileType, SYNCHRONIZE, SetFileInformationByHandle,
};
use windows_sys::Win32::System::SystemServices::{
    IO_REPARSE_TAG_MOUNT_POINT, IO_REPARSE_TAG_SYMLINK,
};

use self::at::How;
pub use self::at::LinkTarget;
use super::call::{ERROR_DIRECTORY_NOT_SUPPORTED, check, is, len_u32};
pub use crate::os::shared::{Kind, Links};
pub use contents::{copy_contents, read_at, read_once, write_at};
pub use replace::{Draft, Place};

/// Whether a file that has lost its name may be closed whenever there is time: until then its folder
/// cannot be removed.
pub const LOST_NAMES_ARE_FREE: bool = false;

/// One file, whatever its name: the volume and the number on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    volume: u64,
    file: u128,
}

/// What the handle of an open file says about it.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub kind: Kind,
    pub identity: Identity,
    pub size: u64,
    /// Bytes that really occupy space: less than `size` in a file with holes.
    pub allocated: u64,
    /// What the attribute "read-only" makes of the permission bits of other systems.
    pub mode: u32,
    /// Always the same: nothing here depends on who owns what.
    pub owner: (u32, u32),
    /// How many names it has.
    pub names: u64,
}

/// Whether names are bytes, or text that may be broken.
pub const NAMES_ARE_BYTES: bool = false;

const WRITABLE: u32 = 0o666;
const READ_ONLY: u32 = 0o444;
const DIRECTORY: u32 = 0o777;
const OWNER_WRITES: u32 = 0o200;

/// Opens for reading. Judge by [`facts`].
pub fn open_to_read(path: &Path, links: Links) -> io::Result<File> {
    match links {
        Links::Follow => OpenOptions::new()
            .read(true)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
            .open(path),
        Links::Refuse => at::open_path(path, &How::to_read()).map(File::from),
    }
}

/// Opens for writing, creating the file if need be, and truncates nothing: judge by [`facts`] first.
pub fn open_to_write(path: &Path, mode: u32, links: Links) -> io::Result<File> {
    let how = How::to_write(attributes_of(mode));
    match links {
        Links::Follow => OpenOptions::new()
            .access_mode(FILE_GENERIC_READ | FILE_GENERIC_WRITE)
            .create(true)
            .write(true)
            .truncate(false)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
            .open(path),
        Links::Refuse => at::open_path(path, &how).map(File::from),
    }
}

/// Opens an existing file for writing and truncates nothing.
pub fn open_existing_to_write(path: &Path, links: Links) -> io::Result<File> {
    match links {
        Links::Follow => OpenOptions::new()
            .access_mode(FILE_GENERIC_READ | FILE_GENERIC_WRITE)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
            .open(path),
        Links::Refuse => at::open_path(path, &How::to_write_existing()).map(File::from),
    }
}

/// What an open file is.
pub fn facts(file: &impl AsHandle) -> io::Result<Facts> {
    let handle = file.as_handle();
    // Why at all: the standard library says it only after it has asked for more. Why sound: the
    // handle is open.
    #[expect(unsafe_code, reason = "the kind of a handle")]
    let file_type = unsafe { GetFileType(handle.as_raw_handle()) };
    if file_type != FILE_TYPE_DISK {
        return Ok(Facts {
            kind: Kind::Special,
            identity: Identity { volume: 0, file: 0 },
            size: 0,
            allocated: 0,
            mode: WRITABLE,
            owner: (0, 0),
            names: 1,
        });
    }
    let standard: FILE_STANDARD_INFO = query(handle, FileStandardInfo)?;
    let (kind, attributes) = kind_and_attributes(handle)?;
    let mode = match kind {
        Kind::Directory => DIRECTORY,
        _ if attributes & FILE_ATTRIBUTE_READONLY != 0 => READ_ONLY,
        _ => WRITABLE,
    };
    Ok(Facts {
        kind,
        identity: identity(handle)?,
        size: standard.EndOfFile.cast_unsigned(),
        allocated: standard.AllocationSize.cast_unsigned(),
        mode,
        owner: (0, 0),
        names: u64::from(standard.NumberOfLinks),
    })
}

/// Finds a path without opening it for reading or writing, for its metadata.
pub fn locate(path: &Path, links: Links) -> io::Result<File> {
    match links {
        Links::Follow => OpenOptions::new()
            .access_mode(FILE_READ_ATTRIBUTES)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
            .open(path),
        Links::Refuse => at::open_path(path, &How::to_look()).map(File::from),
    }
}

/// Sets or clears "read-only". The handle has to be open for writing.
pub fn set_mode(file: &impl AsHandle, mode: u32) -> io::Result<()> {
    let handle = file.as_handle();
    let before: FILE_BASIC_INFO = query(handle, FileBasicInfo)?;
    let kept = before.FileAttributes & !(FILE_ATTRIBUTE_READONLY | FILE_ATTRIBUTE_NORMAL);
    let attributes = match kept | attributes_of(mode) {
        0 => FILE_ATTRIBUTE_NORMAL,
        attributes => attributes,
    };
    // A time of 0 is left as it is.
    let after = FILE_BASIC_INFO {
        FileAttributes: attributes,
        ..FILE_BASIC_INFO::default()
    };
    // Why at all: the standard library sets them by name. Why sound: the record is of the class
    // that is named, and its size is its own.
    #[expect(unsafe_code, reason = "the attributes of an open file")]
    let done = unsafe {
        SetFileInformationByHandle(
            handle.as_raw_handle(),
            FileBasicInfo,
            (&raw const after).cast(),
            len_u32(size_of_val(&after)),
        )
    };
    check(done)
}

/// As [`set_mode`], for what a path leads to.
pub fn set_mode_at(path: &Path, mode: u32) -> io::Result<()> {
    let found = OpenOptions::new()
        .access_mode(FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
        .open(path)?;
    match facts(&found)?.kind {
        // The bit does not keep anybody from writing to a directory.
        Kind::Directory => Ok(()),
        _ => set_mode(&found, mode),
    }
}

/// Sets when what a path leads to was changed last.
pub fn set_modified_at(path: &Path, modified: SystemTime) -> io::Result<()> {
    let found = OpenOptions::new()
        .access_mode(FILE_WRITE_ATTRIBUTES)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
        .open(path)?;
    found.set_modified(modified)
}

/// The nine permission bits, where the system has such: it does not.
pub fn mode_of(_metadata: &std::fs::Metadata) -> Option<u32> {
    None
}

/// Makes `path` and its missing parents; fine if it is a directory already.
pub fn make_directories_without_links(path: &Path, _mode: u32) -> io::Result<()> {
    let (root, names) = at::split(path)?;
    let mut directory = at::open_root(&root)?;
    for name in names {
        directory = match at::open(directory.as_handle(), name, &How::to_enter()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match at::open(directory.as_handle(), name, &How::to_make_directory()) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        // Somebody else was faster; what it is shows when it is opened.
                        at::open(directory.as_handle(), name, &How::to_enter())?
                    }
                    made => made?,
                }
            }
            found => found?,
        };
        at::refuse_link(directory.as_handle())?;
    }
    Ok(())
}

/// The name whose bytes a listing gave.
pub fn name_from_bytes(bytes: &[u8]) -> &OsStr {
    // Why at all: names are kept packed, by the thousand. Why sound: the bytes are those of whole
    // names that `OsStr::as_encoded_bytes` gave, in this process.
    #[expect(unsafe_code, reason = "a name that was packed")]
    unsafe {
        OsStr::from_encoded_bytes_unchecked(bytes)
    }
}

/// Whether a removal failed because the name belongs to a directory.
pub fn is_directory_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ERROR_DIRECTORY_NOT_SUPPORTED)
}

/// Whether a lookup that refuses links found one, or one that follows them went in circles.
pub fn is_link_error(error: &io::Error) -> bool {
    is(error, ERROR_STOPPED_ON_SYMLINK) || is(error, ERROR_CANT_RESOLVE_FILENAME)
}

/// Never: what is no file opens all the same, and is judged then.
pub fn is_special_error(_error: &io::Error) -> bool {
    false
}

/// An open directory.
#[derive(Debug)]
pub struct Directory(OwnedHandle);

impl Directory {
    pub fn open(path: &Path, links: Links) -> io::Result<Directory> {
        match links {
            Links::Follow => Directory::open_itself(path, true),
            Links::Refuse => Directory::judged(at::open_path(path, &How::to_enter())?),
        }
    }

    /// The directory a path names; through a link in its last component only if that is wanted.
    pub fn open_itself(path: &Path, through_link: bool) -> io::Result<Directory> {
        let flags = if through_link {
            FILE_FLAG_BACKUP_SEMANTICS
        } else {
            FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT
        };
        let opened = OpenOptions::new()
            .access_mode(ENTER)
            .custom_flags(flags)
            .open(path)?;
        Directory::judged(opened.into())
    }

    /// The directory that holds the last component, for calls that create or remove names in it.
    pub fn parent_of(path: &Path, links: Links) -> io::Result<Directory> {
        Directory::open(path.parent().unwrap_or(path), links)
    }

    /// A directory below this one. No component of `relative` may be a link.
    pub fn descend(&self, relative: &Path) -> io::Result<Directory> {
        self.walk_down(relative, &How::to_enter())
    }

    /// As [`Directory::descend`], through whatever links there are.
    pub fn descend_through_links(&self, relative: &Path) -> io::Result<Directory> {
        self.walk_down(relative, &How::to_enter().through_links())
    }

    fn walk_down(&self, relative: &Path, how: &How) -> io::Result<Directory> {
        let mut reached: Option<Directory> = None;
        for component in relative.components() {
            let name = match component {
                Component::CurDir => continue,
                Component::Normal(name) => name,
                _ => return Err(io::ErrorKind::InvalidInput.into()),
            };
            let from = reached.as_ref().unwrap_or(self).0.as_handle();
            reached = Some(Directory::judged(at::open(from, name, how)?)?);
        }
        match reached {
            Some(directory) => Ok(directory),
            None => Ok(Directory(self.0.try_clone()?)),
        }
    }

    /// A directory of this name that is no link.
    pub fn child(&self, name: &OsStr) -> io::Result<Directory> {
        Directory::judged(at::open(self.0.as_handle(), name, &How::to_enter())?)
    }

    /// A file of this name that is no link, for reading.
    pub fn file_to_read(&self, name: &OsStr) -> io::Result<File> {
        self.file(name, &How::to_read())
    }

    /// A file of this name that is no link, for writing; created if missing, never truncated.
    pub fn file_to_write(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        self.file(name, &How::to_write(attributes_of(mode)))
    }

    fn file(&self, name: &OsStr, how: &How) -> io::Result<File> {
        let file = at::open(self.0.as_handle(), name, how)?;
        at::refuse_link(file.as_handle())?;
        Ok(file.into())
    }

    pub fn facts(&self) -> io::Result<Facts> {
        facts(&self.0)
    }

    /// What a name is itself.
    pub fn kind(&self, name: &OsStr) -> io::Result<Kind> {
        let found = at::open(self.0.as_handle(), name, &How::to_look())?;
        Ok(kind_and_attributes(found.as_handle())?.0)
    }

    /// What a name leads to.
    pub fn target_kind(&self, name: &OsStr) -> io::Result<Kind> {
        let found = at::open(self.0.as_handle(), name, &How::to_look().through_links())?;
        Ok(kind_and_attributes(found.as_handle())?.0)
    }

    /// Directories have no such bits: whoever may write to one is said by its access list.
    pub fn set_mode(&self, _mode: u32) -> io::Result<()> {
        Ok(())
    }

    pub fn make_directory(&self, name: &OsStr, _mode: u32) -> io::Result<()> {
        at::open(self.0.as_handle(), name, &How::to_make_directory()).map(drop)
    }

    pub fn read_link(&self, name: &OsStr) -> io::Result<LinkTarget> {
        LinkTarget::of(&at::open(self.0.as_handle(), name, &How::to_look())?)
    }

    /// Makes a link like the one that was read. Most users may make junctions only.
    pub fn make_link(&self, target: &LinkTarget, name: &OsStr) -> io::Result<()> {
        target.make(self.0.as_handle(), name)
    }

    pub fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        let found = at::open(self.0.as_handle(), name, &How::to_remove())?;
        match kind_and_attributes(found.as_handle())?.0 {
            Kind::Directory => Err(io::Error::from_raw_os_error(ERROR_DIRECTORY_NOT_SUPPORTED)),
            _ => at::remove(&found),
        }
    }

    pub fn remove_directory(&self, name: &OsStr) -> io::Result<()> {
        let found = at::open(self.0.as_handle(), name, &How::to_remove())?;
        match kind_and_attributes(found.as_handle())?.0 {
            Kind::Directory => at::remove(&found),
            _ => Err(not_a_directory()),
        }
    }

    /// Shows every name from the beginning, `.` and `..` aside, until `visit` breaks off.
    ///
    /// Removing names meanwhile is fine: those not yet shown will be.
    pub fn list(
        &self,
        buffer: &mut ListBuffer,
        mut visit: impl FnMut(&OsStr, Kind) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut class = FileFullDirectoryRestartInfo;
        loop {
            match buffer.fill(&self.0, class) {
                Err(error) if is(&error, ERROR_NO_MORE_FILES) => return Ok(()),
                filled => filled?,
            }
            class = FileFullDirectoryInfo;
            for (name, kind) in buffer.entries() {
                if name != "." && name != ".." && visit(&name, kind).is_break() {
                    return Ok(());
                }
            }
        }
    }

    fn judged(opened: OwnedHandle) -> io::Result<Directory> {
        at::refuse_link(opened.as_handle())?;
        match kind_and_attributes(opened.as_handle())?.0 {
            Kind::Directory => Ok(Directory(opened)),
            _ => Err(not_a_directory()),
        }
    }
}

/// What is done with a directory: look things up in it, list it.
const ENTER: u32 = FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_READ_ATTRIBUTES | SYNCHRONIZE;

/// The room one listing call fills; reused from directory to directory.
#[derive(Debug)]
pub struct ListBuffer {
    /// In words, so that records are aligned.
    words: Vec<u64>,
}

/// Some hundred names per system call.
const LIST_BUFFER_BYTES: usize = 64 * 1024;

impl ListBuffer {
    pub fn new() -> ListBuffer {
        ListBuffer {
            words: vec![0; LIST_BUFFER_BYTES / size_of::<u64>()],
        }
    }

    fn fill(
        &mut self,
        directory: &OwnedHandle,
        class: FILE_INFO_BY_HANDLE_CLASS,
    ) -> io::Result<()> {
        // Why at all: the standard library lists by name only. Why sound: the buffer is as long as
        // is said, and aligned for the records that are put there.
        #[expect(unsafe_code, reason = "the entries of an open directory")]
        let done = unsafe {
            GetFileInformationByHandleEx(
                directory.as_raw_handle(),
                class,
                self.words.as_mut_ptr().cast(),
                len_u32(size_of_val(self.words.as_slice())),
            )
        };
        check(done)
    }

    /// What the last call brought.
    fn entries(&self) -> impl Iterator<Item = (OsString, Kind)> {
        const HEAD: usize = std::mem::offset_of!(FILE_FULL_DIR_INFO, FileName);
        let bytes = size_of_val(self.words.as_slice());
        let start = self.words.as_ptr().cast::<u8>();
        let mut next = Some(0_usize);
        std::iter::from_fn(move || {
            let at = next?;
            if at.checked_add(size_of::<FILE_FULL_DIR_INFO>())? > bytes {
                return None;
            }
            // Why at all: records of different lengths follow each other. Why sound: this one
            // begins inside the buffer with room for its fixed part; every number in it is of a
            // plain type, and it is copied, so its alignment does not matter.
            #[expect(unsafe_code, reason = "one record of a listing")]
            let entry = unsafe { start.add(at).cast::<FILE_FULL_DIR_INFO>().read_unaligned() };
            let len = entry.FileNameLength as usize;
            if at + HEAD + len > bytes {
                return None;
            }
            let units: Vec<u16> = (0..len / 2)
                .map(|unit| {
                    // Why at all: as above. Why sound: the whole name lies inside the buffer.
                    #[expect(unsafe_code, reason = "one unit of a name")]
                    unsafe {
                        start
                            .add(at + HEAD + 2 * unit)
                            .cast::<u16>()
                            .read_unaligned()
                    }
                })
                .collect();
            next = match entry.NextEntryOffset {
                0 => None,
                offset => at.checked_add(offset as usize),
            };
            // In listings the field of extended attributes holds the tag of a reparse point.
            let kind = kind_of(entry.FileAttributes, entry.EaSize);
            Some((OsString::from_wide(&units), kind))
        })
    }
}

impl Default for ListBuffer {
    fn default() -> ListBuffer {
        ListBuffer::new()
    }
}

fn kind_and_attributes(handle: BorrowedHandle<'_>) -> io::Result<(Kind, u32)> {
    let found: FILE_ATTRIBUTE_TAG_INFO = query(handle, FileAttributeTagInfo)?;
    let kind = kind_of(found.FileAttributes, found.ReparseTag);
    Ok((kind, found.FileAttributes))
}

fn kind_of(attributes: u32, tag: u32) -> Kind {
    let is_link = attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0
        && [IO_REPARSE_TAG_SYMLINK, IO_REPARSE_TAG_MOUNT_POINT].contains(&tag);
    if is_link {
        Kind::Symlink
    } else if attributes & FILE_ATTRIBUTE_DIRECTORY != 0 {
        Kind::Directory
    } else {
        Kind::File
    }
}

fn identity(handle: BorrowedHandle<'_>) -> io::Result<Identity> {
    if let Ok(found) = query::<FILE_ID_INFO>(handle, FileIdInfo) {
        return Ok(Identity {
            volume: found.VolumeSerialNumber,
            file: u128::from_le_bytes(found.FileId.Identifier),
        });
    }
    // File systems with short numbers only.
    let mut found = BY_HANDLE_FILE_INFORMATION::default();
    // Why at all: the standard library keeps it to itself. Why sound: the handle is open, and the
    // record is ours.
    #[expect(unsafe_code, reason = "the number of an open file")]
    let done = unsafe { GetFileInformationByHandle(handle.as_raw_handle(), &raw mut found) };
    check(done)?;
    Ok(Identity {
        volume: u64::from(found.dwVolumeSerialNumber),
        file: u128::from(u64::from(found.nFileIndexHigh) << 32 | u64::from(found.nFileIndexLow)),
    })
}

/// One record about an open file. `T` is the record of this class, which is all numbers.
fn query<T: Default + Copy>(
    handle: BorrowedHandle<'_>,
    class: FILE_INFO_BY_HANDLE_CLASS,
) -> io::Result<T> {
    let mut found = T::default();
    // Why at all: the standard library asks for less. Why sound: the record is as long as is said,
    // and the callers in this file name the class that belongs to it.
    #[expect(unsafe_code, reason = "a record about an open file")]
    let done = unsafe {
        GetFileInformationByHandleEx(
            handle.as_raw_handle(),
            class,
            (&raw mut found).cast(),
            len_u32(size_of::<T>()),
        )
    };
    check(done)?;
    Ok(found)
}

fn attributes_of(mode: u32) -> u32 {
    if mode & OWNER_WRITES == 0 {
        FILE_ATTRIBUTE_READONLY
    } else {
        0
    }
}

fn not_a_directory() -> io::Error {
    io::Error::from_raw_os_error(ERROR_DIRECTORY.cast_signed())
}
