//! Copying files, links and trees. Inside a tree no link is ever followed, on either side.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::create::NEW_DIRECTORY_MODE;
use super::crew::{self, Task};
use super::error::{Cause, Failure, FsError};
use super::metadata::without_trailing_separator;
use super::names::Names;
use super::tree::{self, Bounds, Tally, Tree};
use crate::os::files::{self, Directory, Identity, Kind, Links, ListBuffer};

/// Copies what `source` is: a file with its content and mode, a link as a link, and, only if
/// `recursive`, a directory with everything in it, merged into one that exists.
pub fn copy(
    source: &Path,
    destination: &Path,
    recursive: bool,
    bounds: Bounds<'_>,
) -> Result<(), FsError> {
    let (source, destination) = (
        without_trailing_separator(source),
        without_trailing_separator(destination),
    );
    copy_path(source, destination, recursive, bounds).map_err(|failure| failure.of("copy", source))
}

fn copy_path(
    source: &Path,
    destination: &Path,
    recursive: bool,
    bounds: Bounds<'_>,
) -> Result<(), Failure> {
    // The root has no name in a parent, and is a directory.
    let Some(name) = source.file_name() else {
        return copy_directory(
            Directory::open(source, Links::Follow)?,
            source,
            destination,
            recursive,
            bounds,
        );
    };
    let parent = Directory::parent_of(source, Links::Follow)?;
    match parent.kind(name)? {
        Kind::File => {
            let from = parent.file_to_read(name)?;
            let to = || files::open_to_write(destination, creation_mode(&from)?, Links::Follow);
            let to = to().map_err(|error| Failure::at(destination, not_regular_or(error)))?;
            copy_file(&Tally::new(bounds), &mut Vec::new(), &from, &to)?;
            Ok(())
        }
        Kind::Symlink => copy_link(&parent, name, destination),
        Kind::Directory => {
            copy_directory(parent.child(name)?, source, destination, recursive, bounds)
        }
        Kind::Special | Kind::Unknown => Err(Cause::NotRegular.into()),
    }
}

fn copy_link(parent: &Directory, name: &OsStr, destination: &Path) -> Result<(), Failure> {
    let target = parent.read_link(name)?;
    // The root exists, and under this name too.
    let new_name = destination.file_name().unwrap_or(OsStr::new("."));
    let made = Directory::parent_of(destination, Links::Follow)
        .and_then(|parent| parent.make_link(&target, new_name));
    made.map_err(|error| Failure::at(destination, error))
}

fn copy_directory(
    from: Directory,
    source: &Path,
    destination: &Path,
    recursive: bool,
    bounds: Bounds<'_>,
) -> Result<(), Failure> {
    if !recursive {
        return Err(Cause::NeedsRecursive.into());
    }
    if is_inside(destination, from.facts()?.identity)? {
        return Err(Failure::at(destination, Cause::IntoItself));
    }
    let existed = destination.exists();
    std::fs::create_dir_all(destination).map_err(|error| Failure::at(destination, error))?;
    let to = Directory::open(destination, Links::Follow)
        .map_err(|error| Failure::at(destination, error))?;
    TreeCopy {
        source,
        destination,
        from,
        to,
        tally: Tally::new(bounds),
        sealed: Mutex::new(Vec::new()),
    }
    .run(!existed)
}

/// Whether a path, or what of it exists, is the given directory or below it. Decided by identity,
/// so links and bind mounts on the way change nothing.
fn is_inside(path: &Path, directory: Identity) -> io::Result<bool> {
    let Some(real) = path
        .ancestors()
        .find_map(|ancestor| std::fs::canonicalize(ancestor).ok())
    else {
        return Ok(false);
    };
    for ancestor in real.ancestors() {
        if files::facts(&files::locate(ancestor, Links::Follow)?)?.identity == directory {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A tree being copied, directory by directory from the top. Each is found anew from the two roots.
struct TreeCopy<'a> {
    source: &'a Path,
    destination: &'a Path,
    from: Directory,
    to: Directory,
    tally: Tally<'a>,
    /// Copies of directories that do not let their owner in, which they get back at the end. Parents
    /// before children.
    sealed: Mutex<Vec<(PathBuf, u32)>>,
}

/// What one worker reuses from directory to directory.
#[derive(Default)]
struct Room {
    buffer: ListBuffer,
    names: Names,
    scratch: Vec<u8>,
}

impl TreeCopy<'_> {
    fn run(self, root_is_new: bool) -> Result<(), Failure> {
        // Paths are relative to the two roots, whose own name is therefore ".".
        let mut tree = Tree::new(OsStr::new("."), root_is_new);
        crew::work_through(&mut tree, |room, task| self.copy_one(room, task))?;
        let sealed = self
            .sealed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        for (relative, mode) in sealed.iter().rev() {
            let sealed =
                tree::descend(&self.to, relative).and_then(|directory| directory.set_mode(*mode));
            sealed.map_err(|error| Failure::at(&self.destination.join(relative), error))?;
        }
        Ok(())
    }

    /// Copies what is in one directory, and makes the directories in it, which are noted.
    fn copy_one(&self, room: &mut Room, task: Task<'_>) -> Result<(), Failure> {
        let relative = task.path;
        let from = tree::descend(&self.from, relative)
            .map_err(|error| Failure::at(&self.source.join(relative), error))?;
        let to = tree::descend(&self.to, relative)
            .map_err(|error| Failure::at(&self.destination.join(relative), error))?;
        if task.new {
            self.restrict(&from, &to, relative)
                .map_err(|error| Failure::at(&self.destination.join(relative), error))?;
        }
        let Room {
            buffer,
            names,
            scratch,
        } = room;
        names.clear();
        let mut over = Ok(());
        from.list(buffer, |name, kind| {
            over = self.tally.count();
            names.push(name, kind);
            if over.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
        .map_err(|error| Failure::at(&self.source.join(relative), error))?;
        over?;
        for (index, (name, kind)) in names.iter().enumerate() {
            let proceed = match index % ENTRIES_BETWEEN_LOOKS {
                0 => self.tally.proceed(),
                _ => Ok(()),
            };
            match proceed.and_then(|()| copy_entry(&self.tally, scratch, &from, &to, name, kind)) {
                Ok(Copied::Whole) => {}
                Ok(Copied::Directory { new }) => task.found.add(name, new),
                Err(cause) => {
                    return Err(Failure::at(&self.source.join(relative).join(name), cause));
                }
            }
        }
        Ok(())
    }

    /// A new directory gets no more rights than its source has, before anything is in it.
    fn restrict(&self, from: &Directory, to: &Directory, relative: &Path) -> io::Result<()> {
        let (wanted, given) = (from.facts()?.mode, to.facts()?.mode);
        let mode = given & (wanted | !0o777);
        // Until the end the owner has to be let in.
        if mode | OWNER != given {
            to.set_mode(mode | OWNER)?;
        }
        if mode | OWNER != mode {
            self.sealed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((relative.to_path_buf(), mode));
        }
        Ok(())
    }
}

/// Names are listed before they are copied, so a copy looks up now and then from within a directory.
const ENTRIES_BETWEEN_LOOKS: usize = 64;

/// What the owner of a directory needs to fill it.
const OWNER: u32 = 0o700;

enum Copied {
    Whole,
    /// Only made, or found; its entries are still to come.
    Directory {
        new: bool,
    },
}

fn copy_entry(
    tally: &Tally<'_>,
    scratch: &mut Vec<u8>,
    from: &Directory,
    to: &Directory,
    name: &OsStr,
    kind: Kind,
) -> Result<Copied, Cause> {
    let kind = if kind == Kind::Unknown {
        from.kind(name)?
    } else {
        kind
    };
    match kind {
        Kind::File => {
            let source = from.file_to_read(name)?;
            let mode = creation_mode(&source)?;
            copy_file(
                tally,
                scratch,
                &source,
                &to.file_to_write(name, mode).map_err(not_regular_or)?,
            )?;
        }
        Kind::Symlink => to.make_link(&from.read_link(name)?, name)?,
        Kind::Directory => match to.make_directory(name, NEW_DIRECTORY_MODE) {
            Ok(()) => return Ok(Copied::Directory { new: true }),
            // If it is no directory, opening it will say so.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Copied::Directory { new: false });
            }
            Err(error) => return Err(error.into()),
        },
        Kind::Special | Kind::Unknown => return Err(Cause::NotRegular),
    }
    Ok(Copied::Whole)
}

/// Content and mode, from one open file to another.
fn copy_file(
    tally: &Tally<'_>,
    scratch: &mut Vec<u8>,
    from: &File,
    to: &File,
) -> Result<(), Cause> {
    let (source, target) = (files::facts(from)?, files::facts(to)?);
    if source.kind != Kind::File || target.kind != Kind::File {
        return Err(Cause::NotRegular);
    }
    if source.identity == target.identity {
        return Err(Cause::SameFile);
    }
    // A program must not gain the rights of another owner by being copied.
    let mode = if source.owner == target.owner {
        source.mode
    } else {
        source.mode & !SET_ID
    };
    // Rights that are taken away go before the new content comes, those that are given after
    // the old content has gone.
    let narrowed = mode & target.mode;
    if narrowed != target.mode {
        files::set_mode(to, narrowed)?;
    }
    let mut stopped = None;
    let mut proceed = || {
        tally.proceed().map_err(|cause| {
            stopped = Some(cause);
            io::ErrorKind::Interrupted.into()
        })
    };
    let copied = files::copy_contents(from, to, &source, target.size, scratch, &mut proceed);
    if let Some(cause) = stopped {
        return Err(cause);
    }
    copied?;
    if narrowed != mode {
        files::set_mode(to, mode)?;
    }
    Ok(())
}

const SET_ID: u32 = 0o6000;

/// The mode with which the copy of a file is created: never more than the file itself has.
fn creation_mode(from: &File) -> io::Result<u32> {
    Ok(files::facts(from)?.mode & 0o777)
}

fn not_regular_or(error: io::Error) -> Cause {
    if files::is_special_error(&error) {
        Cause::NotRegular
    } else {
        Cause::System(error)
    }
}

#[cfg(test)]
mod tests;
