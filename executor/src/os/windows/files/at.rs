//! Looking up one name below an open directory.
//!
//! The upper layer of the system takes whole paths only; the lower one takes a directory and a name.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::{
    AsHandle as _, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle,
};
use std::path::{Component, Path, PathBuf};
use std::ptr;

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_DIRECTORY_FILE, FILE_DISPOSITION_DELETE,
    FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE, FILE_DISPOSITION_INFORMATION,
    FILE_DISPOSITION_INFORMATION_EX, FILE_DISPOSITION_POSIX_SEMANTICS, FILE_OPEN,
    FILE_OPEN_FOR_BACKUP_INTENT, FILE_OPEN_IF, FILE_OPEN_REPARSE_POINT,
    FILE_SYNCHRONOUS_IO_NONALERT, FileDispositionInformation, FileDispositionInformationEx,
    NtCreateFile, NtSetInformationFile,
};
use windows_sys::Win32::Foundation::{
    ERROR_STOPPED_ON_SYMLINK, OBJ_CASE_INSENSITIVE, UNICODE_STRING,
};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_FLAG_BACKUP_SEMANTICS, FILE_GENERIC_READ, FILE_GENERIC_WRITE,
    FILE_READ_ATTRIBUTES, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE,
    FILE_WRITE_ATTRIBUTES, GetFinalPathNameByHandleW, MAXIMUM_REPARSE_DATA_BUFFER_SIZE,
    SYNCHRONIZE,
};
use windows_sys::Win32::System::IO::{DeviceIoControl, IO_STATUS_BLOCK};
use windows_sys::Win32::System::Ioctl::{FSCTL_GET_REPARSE_POINT, FSCTL_SET_REPARSE_POINT};

use super::{ENTER, Kind, kind_and_attributes};
use crate::os::windows::call::{check, check_status, len_u32};

/// What a lookup does with the link it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reparse {
    Open,
    Follow,
}

/// What a name is opened for.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    access: u32,
    disposition: u32,
    options: u32,
    attributes: u32,
    share: u32,
    reparse: Reparse,
}

const SHARE_ALL: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

impl How {
    const fn existing(access: u32) -> How {
        How {
            access,
            disposition: FILE_OPEN,
            options: 0,
            attributes: 0,
            share: SHARE_ALL,
            reparse: Reparse::Open,
        }
    }

    pub(super) fn to_look() -> How {
        How::existing(FILE_READ_ATTRIBUTES)
    }

    pub(super) fn to_enter() -> How {
        How {
            options: FILE_DIRECTORY_FILE,
            ..How::existing(ENTER)
        }
    }

    pub(super) fn to_read() -> How {
        How::existing(FILE_GENERIC_READ)
    }

    pub(super) fn to_write_existing() -> How {
        How::existing(FILE_GENERIC_READ | FILE_GENERIC_WRITE)
    }

    pub(super) fn to_write(attributes: u32) -> How {
        How {
            disposition: FILE_OPEN_IF,
            attributes,
            ..How::to_write_existing()
        }
    }

    /// A new file nobody else may open for writing meanwhile.
    pub(super) fn to_draft() -> How {
        How {
            disposition: FILE_CREATE,
            share: FILE_SHARE_READ,
            ..How::existing(FILE_GENERIC_READ | FILE_GENERIC_WRITE | DELETE)
        }
    }

    pub(super) fn to_remove() -> How {
        How::existing(DELETE | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES)
    }

    /// As [`How::to_remove`], if nobody has it open.
    pub(super) fn to_remove_unused() -> How {
        How {
            share: 0,
            ..How::to_remove()
        }
    }

    pub(super) fn to_make_directory() -> How {
        How {
            disposition: FILE_CREATE,
            options: FILE_DIRECTORY_FILE,
            ..How::existing(ENTER | FILE_WRITE_ATTRIBUTES | DELETE)
        }
    }

    fn to_make_file() -> How {
        How {
            disposition: FILE_CREATE,
            ..How::existing(FILE_GENERIC_WRITE | DELETE)
        }
    }

    pub(super) fn through_links(self) -> How {
        How {
            reparse: Reparse::Follow,
            ..self
        }
    }
}

/// Opens what has this name, which is one component.
pub(super) fn open(
    directory: BorrowedHandle<'_>,
    name: &OsStr,
    how: &How,
) -> io::Result<OwnedHandle> {
    let mut units: Vec<u16> = name.encode_wide().collect();
    // A separator would lead elsewhere, a colon to another stream of the file.
    let rooted = |unit: &u16| matches!(u8::try_from(*unit), Ok(0 | b'\\' | b'/' | b':'));
    let bytes = u16::try_from(units.len() * 2);
    let Ok(bytes) = bytes else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    if units.is_empty() || units.iter().any(rooted) || name == "." || name == ".." {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let name = UNICODE_STRING {
        Length: bytes,
        MaximumLength: bytes,
        Buffer: units.as_mut_ptr(),
    };
    let object = OBJECT_ATTRIBUTES {
        Length: len_u32(size_of::<OBJECT_ATTRIBUTES>()),
        RootDirectory: directory.as_raw_handle(),
        ObjectName: &raw const name,
        Attributes: OBJ_CASE_INSENSITIVE,
        ..OBJECT_ATTRIBUTES::default()
    };
    let reparse = match how.reparse {
        Reparse::Open => FILE_OPEN_REPARSE_POINT,
        Reparse::Follow => 0,
    };
    let options =
        how.options | reparse | FILE_SYNCHRONOUS_IO_NONALERT | FILE_OPEN_FOR_BACKUP_INTENT;
    let mut opened = ptr::null_mut();
    let mut status = IO_STATUS_BLOCK::default();
    // Why at all: the upper layer has no lookup below a handle. Why sound: name and directory
    // outlive the call, and the handle is owned only if the call says that it is there.
    #[expect(unsafe_code, reason = "a lookup below an open directory")]
    unsafe {
        check_status(NtCreateFile(
            &raw mut opened,
            how.access | SYNCHRONIZE,
            &raw const object,
            &raw mut status,
            ptr::null(),
            how.attributes,
            how.share,
            how.disposition,
            options,
            ptr::null(),
            0,
        ))?;
        Ok(OwnedHandle::from_raw_handle(opened))
    }
}

/// Opens a whole path component by component. A link anywhere in it is an error.
pub(super) fn open_path(path: &Path, how: &How) -> io::Result<OwnedHandle> {
    let (root, names) = split(path)?;
    let mut directory = open_root(&root)?;
    let Some((last, above)) = names.split_last() else {
        return Ok(directory);
    };
    for name in above {
        directory = open(directory.as_handle(), name, &How::to_enter())?;
        refuse_link(directory.as_handle())?;
    }
    let opened = open(directory.as_handle(), last, how)?;
    refuse_link(opened.as_handle())?;
    Ok(opened)
}

/// The drive or share with its root, and the names below it.
pub(super) fn split(path: &Path) -> io::Result<(PathBuf, Vec<&OsStr>)> {
    let (mut root, mut names) = (PathBuf::new(), Vec::new());
    for component in path.components() {
        match component {
            Component::Prefix(_) | Component::RootDir => root.push(component),
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    if root.has_root() {
        Ok((root, names))
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

pub(super) fn open_root(root: &Path) -> io::Result<OwnedHandle> {
    let opened = OpenOptions::new()
        .access_mode(ENTER)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
        .open(root)?;
    Ok(opened.into())
}

/// Fails for a link that was opened itself.
pub(super) fn refuse_link(opened: BorrowedHandle<'_>) -> io::Result<()> {
    match kind_and_attributes(opened)?.0 {
        Kind::Symlink => Err(io::Error::from_raw_os_error(
            ERROR_STOPPED_ON_SYMLINK.cast_signed(),
        )),
        _ => Ok(()),
    }
}

/// Removes what is open, even if it is read-only. Its name is free at once where the file system can
/// do that, else when everybody has closed it.
pub(super) fn remove(opened: &OwnedHandle) -> io::Result<()> {
    let flags = FILE_DISPOSITION_DELETE
        | FILE_DISPOSITION_POSIX_SEMANTICS
        | FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE;
    let modern = FILE_DISPOSITION_INFORMATION_EX { Flags: flags };
    match set(opened, FileDispositionInformationEx, &modern) {
        Err(error) if is_unknown(&error) => {}
        outcome => return outcome,
    }
    // As the bit would stand in the way.
    super::set_mode(opened, 0o666)?;
    let plain = FILE_DISPOSITION_INFORMATION { DeleteFile: true };
    set(opened, FileDispositionInformation, &plain)
}

/// Whether the file system does not know what it was asked for.
pub(super) fn is_unknown(error: &io::Error) -> bool {
    use windows_sys::Win32::Foundation::{
        ERROR_CALL_NOT_IMPLEMENTED, ERROR_INVALID_FUNCTION, ERROR_INVALID_PARAMETER,
        ERROR_NOT_SUPPORTED,
    };
    let codes = [
        ERROR_CALL_NOT_IMPLEMENTED,
        ERROR_INVALID_FUNCTION,
        ERROR_INVALID_PARAMETER,
        ERROR_NOT_SUPPORTED,
    ];
    codes
        .into_iter()
        .any(|code| crate::os::windows::call::is(error, code))
}

/// Tells the system something about an open file. `T` is the record of this class.
fn set<T>(opened: &OwnedHandle, class: i32, record: &T) -> io::Result<()> {
    set_bytes(opened, class, ptr::from_ref(record).cast(), size_of::<T>())
}

/// As [`set`], for a record with a tail.
pub(super) fn set_bytes(
    opened: &OwnedHandle,
    class: i32,
    record: *const std::ffi::c_void,
    bytes: usize,
) -> io::Result<()> {
    let mut status = IO_STATUS_BLOCK::default();
    // Why at all: the upper layer does not know all classes, nor directories by handle. Why sound:
    // the callers, all in this folder, give a record of the class with its length.
    #[expect(unsafe_code, reason = "a change of an open file")]
    let status = unsafe {
        NtSetInformationFile(
            opened.as_raw_handle(),
            &raw mut status,
            record,
            len_u32(bytes),
            class,
        )
    };
    check_status(status)
}

/// Where a link leads, as the file system keeps it.
#[derive(Clone, Debug)]
pub struct LinkTarget {
    data: Vec<u8>,
    of_directory: bool,
}

impl LinkTarget {
    pub(super) fn of(link: &OwnedHandle) -> io::Result<LinkTarget> {
        let (kind, attributes) = kind_and_attributes(link.as_handle())?;
        if kind != Kind::Symlink {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut data = vec![0_u8; MAXIMUM_REPARSE_DATA_BUFFER_SIZE as usize];
        let mut len = 0;
        // Why at all: the standard library shows a path made of it. Why sound: the buffer is as
        // long as is said.
        #[expect(unsafe_code, reason = "the data of a link")]
        let done = unsafe {
            DeviceIoControl(
                link.as_raw_handle(),
                FSCTL_GET_REPARSE_POINT,
                ptr::null(),
                0,
                data.as_mut_ptr().cast(),
                len_u32(data.len()),
                &raw mut len,
                ptr::null_mut(),
            )
        };
        check(done)?;
        data.truncate(len as usize);
        Ok(LinkTarget {
            data,
            of_directory: attributes
                & windows_sys::Win32::Storage::FileSystem::FILE_ATTRIBUTE_DIRECTORY
                != 0,
        })
    }

    pub(super) fn make(&self, directory: BorrowedHandle<'_>, name: &OsStr) -> io::Result<()> {
        let how = if self.of_directory {
            How {
                access: FILE_GENERIC_WRITE | DELETE,
                ..How::to_make_directory()
            }
        } else {
            How::to_make_file()
        };
        let made = open(directory, name, &how)?;
        let mut len = 0;
        // Why at all: nothing else makes a link that is like another. Why sound: the buffer is as
        // long as is said, and the system checks what is in it.
        #[expect(unsafe_code, reason = "a link like another")]
        let done = unsafe {
            DeviceIoControl(
                made.as_raw_handle(),
                FSCTL_SET_REPARSE_POINT,
                self.data.as_ptr().cast(),
                len_u32(self.data.len()),
                ptr::null_mut(),
                0,
                &raw mut len,
                ptr::null_mut(),
            )
        };
        check(done).inspect_err(|_| {
            // It would be an empty file or directory where a link was wanted.
            let _: io::Result<()> = remove(&made);
        })
    }
}

/// Where an open file is, links resolved.
pub(super) fn final_path(file: BorrowedHandle<'_>) -> io::Result<PathBuf> {
    let mut path = vec![0_u16; 512];
    loop {
        // Why at all: the standard library does it by name only. Why sound: the buffer is as long
        // as is said.
        #[expect(unsafe_code, reason = "the path of an open file")]
        let len = unsafe {
            GetFinalPathNameByHandleW(
                file.as_raw_handle(),
                path.as_mut_ptr(),
                len_u32(path.len()),
                0,
            )
        };
        match len as usize {
            0 => return Err(io::Error::last_os_error()),
            len if len < path.len() => {
                return Ok(OsString::from_wide(path.get(..len).unwrap_or_default()).into());
            }
            // The length that is needed.
            len => path.resize(len, 0),
        }
    }
}
