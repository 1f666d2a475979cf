//! Making a new content appear under a name at once: it is written where nobody looks for it, and
//! put into place by one call of the system.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::windows::ffi::OsStrExt as _;
use std::os::windows::io::{AsHandle as _, AsRawHandle, OwnedHandle};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_RENAME_INFORMATION, FILE_RENAME_INFORMATION_0, FILE_RENAME_POSIX_SEMANTICS,
    FILE_RENAME_REPLACE_IF_EXISTS, FileRenameInformation, FileRenameInformationEx,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_ARCHIVE, FILE_ATTRIBUTE_NORMAL, FILE_STREAM_INFO, FileStreamInfo,
    GetFileInformationByHandleEx,
};

use super::at::{self, How};
use super::{Directory, Facts, Identity, Kind, Links, facts, kind_and_attributes};
use crate::os::windows::call::len_u32;
use crate::os::windows::security::access_list;

/// A directory, and a name in it that is no link: where a path ends when all links are followed.
#[derive(Debug)]
pub struct Place {
    directory: Directory,
    name: OsString,
}

impl Place {
    /// Where a path ends. A link that leads nowhere is an error.
    pub fn of(path: &Path, links: Links) -> io::Result<Place> {
        let place = Place {
            directory: Directory::parent_of(path, links)?,
            name: file_name(path)?,
        };
        let is_link = match place.directory.kind(&place.name) {
            Ok(kind) => kind == Kind::Symlink,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !is_link || links == Links::Refuse {
            return Ok(place);
        }
        let how = How::to_look().through_links();
        let target = at::open(place.directory.0.as_handle(), &place.name, &how)?;
        let path = at::final_path(target.as_handle())?;
        Ok(Place {
            directory: Directory::parent_of(&path, Links::Follow)?,
            name: file_name(&path)?,
        })
    }

    /// Which file has the name now, if any.
    pub fn occupant(&self) -> io::Result<Option<Identity>> {
        match at::open(self.directory.0.as_handle(), &self.name, &How::to_look()) {
            Ok(found) => Ok(Some(facts(&found)?.identity)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A file that nobody looks for, on the same file system.
    pub fn draft(&self, _mode: u32) -> io::Result<Draft<'_>> {
        let first = NEXT_SPARE.fetch_add(1, Ordering::Relaxed);
        for attempt in 0..2 * SPARE_NAMES {
            let number = first.wrapping_add(attempt) % SPARE_NAMES;
            let name = OsString::from(format!(".farstep-{number}.tmp"));
            match at::open(self.directory.0.as_handle(), &name, &How::to_draft()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.free_if_left_over(&name);
                }
                made => {
                    return Ok(Draft {
                        place: self,
                        file: made?.into(),
                        placed: false,
                    });
                }
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Whoever is at work on one has it open, and a crash closes it.
    fn free_if_left_over(&self, name: &OsStr) {
        let unused = at::open(self.directory.0.as_handle(), name, &How::to_remove_unused());
        if let Ok(file) = unused
            && kind_and_attributes(file.as_handle()).is_ok_and(|(kind, _)| kind == Kind::File)
        {
            let _: io::Result<()> = at::remove(&file);
        }
    }
}

/// Names for drafts in one directory: as many may be left there by crashes, and as many may be put
/// into place there at once.
const SPARE_NAMES: usize = 16;

/// Neighbours in time do not try the same name first.
static NEXT_SPARE: AtomicUsize = AtomicUsize::new(0);

/// The new content of a place. Gone without a trace unless it is put there.
#[derive(Debug)]
pub struct Draft<'a> {
    place: &'a Place,
    file: File,
    placed: bool,
}

impl Draft<'_> {
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether it is like the file it is to replace in all that is not content: access list,
    /// attributes, no further streams. Nothing is given to it; a file with more is written in place.
    pub fn resemble(&self, old: &File, _old_facts: &Facts) -> io::Result<bool> {
        let ordinary = |file: &File| {
            let (_, attributes) = kind_and_attributes(file.as_handle())?;
            Ok::<_, io::Error>(attributes & !(FILE_ATTRIBUTE_ARCHIVE | FILE_ATTRIBUTE_NORMAL) == 0)
        };
        Ok(ordinary(old)?
            && !has_streams(old)
            && access_list(old.as_handle())? == access_list(self.file.as_handle())?)
    }

    /// Puts it where nothing is yet; an error of the kind `AlreadyExists` if something is.
    pub fn appear(self) -> io::Result<()> {
        self.rename(false)
    }

    /// Puts it in the place of what is there.
    pub fn replace(self) -> io::Result<()> {
        self.rename(true)
    }

    fn rename(mut self, replace: bool) -> io::Result<()> {
        let flags = if replace {
            FILE_RENAME_REPLACE_IF_EXISTS | FILE_RENAME_POSIX_SEMANTICS
        } else {
            FILE_RENAME_POSIX_SEMANTICS
        };
        let modern = FILE_RENAME_INFORMATION_0 { Flags: flags };
        let plain = FILE_RENAME_INFORMATION_0 {
            ReplaceIfExists: replace,
        };
        let renamed = match self.rename_as(FileRenameInformationEx, modern) {
            Err(error) if at::is_unknown(&error) => self.rename_as(FileRenameInformation, plain),
            outcome => outcome,
        };
        self.placed = renamed.is_ok();
        renamed
    }

    fn rename_as(&self, class: i32, how: FILE_RENAME_INFORMATION_0) -> io::Result<()> {
        const HEAD: usize = std::mem::offset_of!(FILE_RENAME_INFORMATION, FileName);
        let units: Vec<u16> = self.place.name.encode_wide().collect();
        let bytes = HEAD + 2 * units.len();
        let bytes = bytes.max(size_of::<FILE_RENAME_INFORMATION>());
        // In words, so that the record is aligned.
        let mut record = vec![0_u64; bytes.div_ceil(size_of::<u64>())];
        let head = FILE_RENAME_INFORMATION {
            Anonymous: how,
            RootDirectory: self.place.directory.0.as_raw_handle(),
            FileNameLength: len_u32(2 * units.len()),
            FileName: [0],
        };
        let start = record.as_mut_ptr();
        // Why at all: the name follows the record. Why sound: there is room for both, aligned, and
        // neither overlaps what it is copied from.
        #[expect(unsafe_code, reason = "a record with a name behind it")]
        unsafe {
            start.cast::<FILE_RENAME_INFORMATION>().write(head);
            let name = start.cast::<u8>().add(HEAD).cast::<u16>();
            name.copy_from_nonoverlapping(units.as_ptr(), units.len());
        }
        let handle: OwnedHandle = self.file.as_handle().try_clone_to_owned()?;
        at::set_bytes(&handle, class, record.as_ptr().cast(), bytes)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.placed
            && let Ok(handle) = self.file.as_handle().try_clone_to_owned()
        {
            // If it stays, the next draft in this directory takes its name.
            let _: io::Result<()> = at::remove(&handle);
        }
    }
}

/// Whether something hangs on a file beside its content. File systems without streams say nothing.
fn has_streams(file: &File) -> bool {
    // Room for two; who needs more has more.
    let mut found = [0_u64; 64];
    // Why at all: there is no safe call for streams. Why sound: the buffer is as long as is said,
    // and aligned; the record is read only if the call says that it is there.
    #[expect(unsafe_code, reason = "the streams of an open file")]
    unsafe {
        let done = GetFileInformationByHandleEx(
            file.as_raw_handle(),
            FileStreamInfo,
            found.as_mut_ptr().cast(),
            len_u32(size_of_val(&found)),
        );
        if done == 0 {
            return crate::os::windows::call::is(
                &io::Error::last_os_error(),
                windows_sys::Win32::Foundation::ERROR_MORE_DATA,
            );
        }
        (*found.as_ptr().cast::<FILE_STREAM_INFO>()).NextEntryOffset != 0
    }
}

fn file_name(path: &Path) -> io::Result<OsString> {
    match path.file_name() {
        Some(name) => Ok(name.to_owned()),
        None => Err(io::ErrorKind::IsADirectory.into()),
    }
}
