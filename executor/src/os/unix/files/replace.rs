//! Making a new content appear under a name at once: it is written where nobody sees it, and put
//! into place by one call of the kernel.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, RawMode, Uid, XattrFlags};
use rustix::io::Errno;

use super::{Directory, Facts, Identity, Links, facts, set_mode};

/// A directory, and a name in it that is no link: where a path ends when all links are followed.
#[derive(Debug)]
pub struct Place {
    directory: Directory,
    name: OsString,
}

/// As many links in a row as the kernel follows.
const LINKS_MAX: usize = 40;

impl Place {
    /// Where a path ends, whether there is a file or not.
    pub fn of(path: &Path, links: Links) -> io::Result<Place> {
        let mut place = Place {
            directory: Directory::parent_of(path, links)?,
            name: file_name(path)?,
        };
        if links == Links::Refuse {
            return Ok(place);
        }
        for _ in 0..LINKS_MAX {
            let stat =
                rustix::fs::statat(&place.directory.0, &place.name, AtFlags::SYMLINK_NOFOLLOW);
            match stat {
                Ok(stat)
                    if FileType::from_raw_mode(stat.st_mode as RawMode) == FileType::Symlink => {}
                Ok(_) | Err(Errno::NOENT) => return Ok(place),
                Err(error) => return Err(error.into()),
            }
            let target = PathBuf::from(OsString::from_vec(
                place.directory.read_link(&place.name)?.into_bytes(),
            ));
            let above = match target.parent() {
                Some(above) if !above.as_os_str().is_empty() => above,
                _ => Path::new("."),
            };
            let flags = super::LOOKUP | OFlags::DIRECTORY | OFlags::CLOEXEC;
            place = Place {
                // An absolute target leaves the directory by itself.
                directory: Directory(rustix::fs::openat(
                    &place.directory.0,
                    above,
                    flags,
                    Mode::empty(),
                )?),
                name: file_name(&target)?,
            };
        }
        Err(Errno::LOOP.into())
    }

    /// Which file has the name now, if any.
    pub fn occupant(&self) -> io::Result<Option<Identity>> {
        match rustix::fs::statat(&self.directory.0, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(super::facts_of(&stat).identity)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A file that nobody sees, on the same file system.
    pub fn draft(&self, mode: u32) -> io::Result<Draft<'_>> {
        let mode = Mode::from_raw_mode(mode as RawMode);
        #[cfg(target_os = "linux")]
        {
            let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
            match rustix::fs::openat(&self.directory.0, ".", flags, mode) {
                Ok(file) => {
                    return Ok(Draft {
                        place: self,
                        file: file.into(),
                        name: None,
                    });
                }
                // This file system has no files without a name.
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let (file, name) =
            self.under_spare_name(|name| rustix::fs::openat(&self.directory.0, name, flags, mode))?;
        let file = File::from(file);
        // Says that somebody is at work on it. A file system without locks loses only the tidying.
        let _: rustix::io::Result<()> =
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(Draft {
            place: self,
            file,
            name: Some(name),
        })
    }

    /// Tries names that are kept for drafts until one is free. One that a crash has left is freed.
    fn under_spare_name<T>(
        &self,
        make: impl Fn(&OsStr) -> rustix::io::Result<T>,
    ) -> io::Result<(T, OsString)> {
        let first = NEXT_SPARE.fetch_add(1, Ordering::Relaxed);
        for attempt in 0..2 * SPARE_NAMES {
            let number = first.wrapping_add(attempt) % SPARE_NAMES;
            let name = OsString::from(format!(".farstep-{number}.tmp"));
            match make(&name) {
                Err(Errno::EXIST) => self.free_if_left_over(&name),
                outcome => return Ok((outcome?, name)),
            }
        }
        Err(Errno::BUSY.into())
    }

    fn free_if_left_over(&self, name: &OsStr) {
        let Ok(file) = self.directory.file_to_read(name) else {
            return;
        };
        let is_file = facts(&file).is_ok_and(|facts| facts.kind == super::Kind::File);
        // Whoever is at work on it holds the lock, and a crash lets go of it.
        if is_file && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _: io::Result<()> = self.directory.remove_file(name);
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
    /// If it has one already.
    name: Option<OsString>,
}

impl Draft<'_> {
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives it owner, extended attributes and mode of the file it is to replace. False if it may
    /// not have all of them.
    pub fn resemble(&self, old: &File, old_facts: &Facts) -> io::Result<bool> {
        let own = facts(&self.file)?;
        if own.owner != old_facts.owner {
            let (uid, gid) = old_facts.owner;
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            if rustix::fs::fchown(&self.file, Some(uid), Some(gid)).is_err() {
                return Ok(false);
            }
        }
        if !self.take_attributes(old) {
            return Ok(false);
        }
        if own.mode != old_facts.mode {
            set_mode(&self.file, old_facts.mode)?;
        }
        Ok(true)
    }

    /// Access lists are attributes too.
    fn take_attributes(&self, old: &File) -> bool {
        let mut names = [0; ATTRIBUTES_BYTES];
        let len = match rustix::fs::flistxattr(old, &mut names[..]) {
            Ok(0) | Err(Errno::NOTSUP) => return true,
            Ok(len) => len,
            Err(_) => return false,
        };
        let mut value = [0; ATTRIBUTES_BYTES];
        let names = names.get(..len).unwrap_or_default();
        names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .all(|name| {
                let copied = rustix::fs::fgetxattr(old, name, &mut value[..]).and_then(|len| {
                    let value = value.get(..len).unwrap_or_default();
                    rustix::fs::fsetxattr(&self.file, name, value, XattrFlags::empty())
                });
                copied.is_ok()
            })
    }

    /// Puts it where nothing is yet; an error of the kind `AlreadyExists` if something is.
    pub fn appear(mut self) -> io::Result<()> {
        let place = self.place;
        match self.name.take() {
            None => Ok(self.link(&place.name)?),
            Some(name) => {
                let (directory, flags) = (&place.directory.0, AtFlags::empty());
                let linked = rustix::fs::linkat(directory, &name, directory, &place.name, flags);
                self.name = Some(name);
                Ok(linked?)
            }
        }
    }

    /// Puts it in the place of what is there.
    pub fn replace(mut self) -> io::Result<()> {
        let place = self.place;
        let name = match self.name.take() {
            Some(name) => name,
            None => {
                let _: rustix::io::Result<()> =
                    rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive);
                place.under_spare_name(|name| self.link(name))?.1
            }
        };
        let directory = &place.directory.0;
        let moved = rustix::fs::renameat(directory, &name, directory, &place.name);
        if moved.is_err() {
            self.name = Some(name);
        }
        Ok(moved?)
    }

    /// Gives the nameless file a name.
    fn link(&self, name: &OsStr) -> rustix::io::Result<()> {
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        rustix::fs::linkat(
            rustix::fs::CWD,
            own,
            &self.place.directory.0,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // If it stays, the next draft in this directory takes its name.
            let _: io::Result<()> = self.place.directory.remove_file(name);
        }
    }
}

/// Room for the names of a file's attributes, and for one value. Access lists take some hundred
/// bytes; a file with more is not replaced but written.
const ATTRIBUTES_BYTES: usize = 4096;

fn file_name(path: &Path) -> io::Result<OsString> {
    match path.file_name() {
        Some(name) => Ok(name.to_owned()),
        None => Err(Errno::ISDIR.into()),
    }
}
