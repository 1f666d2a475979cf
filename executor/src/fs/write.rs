//! Replacing what a file holds, at once where that can be.
//!
//! ```text
//!   nothing there ─▶ draft ─────────▶ appears whole
//!   a file ────────▶ draft like it ─▶ takes its place
//!      └─ small, or more than a content hangs on it ─▶ written in place
//! ```
//!
//! A draft is a file nobody sees; a crash of the executor leaves the old or the new, never half of
//! it. After a loss of power the file system decides: nothing is forced to the disk, as no command
//! that a peer could run instead would, and a thousand small writes would take seconds.
//!
//! What is written in place keeps its inode, and everything that hangs on it:
//! - a file and a content that both fit into a page, which the kernel fills in one go. Peers that
//!   edit small files find the inode they knew. Only cutting off a longer rest is a second call;
//! - a file with several names, with set-id bits, or in a directory, with an owner or attributes
//!   that we may not write or give;
//! - a file that is a mount point.

use std::fs::File;
use std::io;
use std::path::Path;

use super::error::{Cause, FsError};
use crate::os::files::{self, Draft, Facts, Kind, Links, Place};

/// The new content of a file. It may be asked for again.
pub trait Content {
    /// In bytes.
    fn size(&self) -> u64;

    /// Shows all of it, piece by piece, until `visit` fails. If it is not sound, some of it, and
    /// then fails.
    fn visit(&self, visit: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;

    /// Whether all of it can be shown. Finding out may take as long as showing it.
    fn is_sound(&self) -> bool {
        true
    }
}

impl Content for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn visit(&self, visit: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        visit(self)
    }
}

/// Makes `content` the whole content of a file, created if it is missing.
///
/// An existing file keeps its mode, owner and attributes, and a link is written through: that is
/// what peers observe.
///
/// Returns the file that was there if it has no name any more: its pages go when it is closed, which
/// takes a while for many.
pub fn write(
    path: &Path,
    content: &(impl Content + ?Sized),
    links: Links,
) -> Result<Option<File>, FsError> {
    write_file(path, content, links).map_err(|cause| cause.at("write", path))
}

fn write_file(
    path: &Path,
    content: &(impl Content + ?Sized),
    links: Links,
) -> Result<Option<File>, Cause> {
    match files::open_existing_to_write(path, links) {
        Ok(file) => {
            let facts = regular(&file)?;
            let small = facts.size.max(content.size()) <= IN_PLACE_BYTES_MAX;
            if small
                || facts.names != 1
                || facts.mode & SET_ID != 0
                || !replaced(path, &file, &facts, content, links)?
            {
                check(content)?;
                write_in_place(&file, facts.size, content)?;
                return Ok(None);
            }
            Ok(files::LOST_NAMES_ARE_FREE.then_some(file))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !appeared(path, content, links)? {
                check(content)?;
                let (file, old_size) = open_to_write(path, links)?;
                write_in_place(&file, old_size, content)?;
            }
            Ok(None)
        }
        Err(error) => Err(refused(error, links)),
    }
}

/// A draft finds out by itself, and is gone then. What is written in place must not.
fn check(content: &(impl Content + ?Sized)) -> io::Result<()> {
    match content.is_sound() {
        true => Ok(()),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A page on every machine we know.
const IN_PLACE_BYTES_MAX: u64 = 4096;

/// Whose file it is matters more than its content.
const SET_ID: u32 = 0o6000;

/// Puts the content in the place of an open file. False if that cannot be; nothing is changed then.
fn replaced(
    path: &Path,
    old: &File,
    facts: &Facts,
    content: &(impl Content + ?Sized),
    links: Links,
) -> Result<bool, Cause> {
    let place = Place::of(path, links).map_err(|error| Cause::of_lookup(error, links))?;
    if place.occupant()? != Some(facts.identity) {
        return Ok(false);
    }
    // Nobody gets to see more of it than of the old one, however early they look.
    let Some(draft) = available(place.draft(0o600))? else {
        return Ok(false);
    };
    if !draft.resemble(old, facts)? {
        return Ok(false);
    }
    fill(&draft, content)?;
    Ok(available(draft.replace())?.is_some())
}

/// Puts the content where nothing is. False if that cannot be, or something is there by now.
fn appeared(path: &Path, content: &(impl Content + ?Sized), links: Links) -> Result<bool, Cause> {
    let place = Place::of(path, links).map_err(|error| Cause::of_lookup(error, links))?;
    let Some(draft) = available(place.draft(NEW_FILE_MODE))? else {
        return Ok(false);
    };
    fill(&draft, content)?;
    Ok(available(draft.appear())?.is_some())
}

/// `None` for what only means that drafts are not possible here. A full disk is none of that: the
/// old content is worth more than half of the new.
fn available<T>(made: io::Result<T>) -> io::Result<Option<T>> {
    use io::ErrorKind::{
        AlreadyExists, NotFound, PermissionDenied, ReadOnlyFilesystem, ResourceBusy, Unsupported,
    };
    match made {
        Ok(made) => Ok(Some(made)),
        Err(error) => match error.kind() {
            AlreadyExists | NotFound | PermissionDenied | ReadOnlyFilesystem | ResourceBusy
            | Unsupported => Ok(None),
            _ => Err(error),
        },
    }
}

fn fill(draft: &Draft<'_>, content: &(impl Content + ?Sized)) -> io::Result<()> {
    let mut offset = 0;
    content.visit(&mut |piece| {
        files::write_at(draft.file(), offset, piece)?;
        offset += piece.len() as u64;
        Ok(())
    })
}

fn write_in_place(file: &File, old_size: u64, content: &(impl Content + ?Sized)) -> io::Result<()> {
    let mut size = 0;
    content.visit(&mut |piece| {
        files::write_at(file, size, piece)?;
        size += piece.len() as u64;
        Ok(())
    })?;
    // What is left of the old is cut off last. Emptying first would make some file systems
    // write everything to the disk at once, for fear of a crash: a thousand times slower.
    if old_size > size || size == 0 {
        file.set_len(size)?;
    }
    Ok(())
}

/// Opens a regular file for writing, created or emptied.
pub(super) fn open_emptied(path: &Path, links: Links) -> Result<File, Cause> {
    let (file, old_size) = open_to_write(path, links)?;
    // Not by the opening call: it would have emptied before anybody could look.
    if old_size > 0 {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Opens a regular file for writing, created if missing, and makes it `length` bytes long if that
/// is wanted. What it holds up to there stays.
pub(super) fn open_as_it_is(path: &Path, length: Option<u64>, links: Links) -> Result<File, Cause> {
    let (file, size) = open_to_write(path, links)?;
    if let Some(length) = length.filter(|length| *length != size) {
        file.set_len(length)?;
    }
    Ok(file)
}

/// Opens a regular file for writing, created if missing, with the size it has.
fn open_to_write(path: &Path, links: Links) -> Result<(File, u64), Cause> {
    let file =
        files::open_to_write(path, NEW_FILE_MODE, links).map_err(|error| refused(error, links))?;
    let size = regular(&file)?.size;
    Ok((file, size))
}

fn regular(file: &File) -> Result<Facts, Cause> {
    let facts = files::facts(file)?;
    match facts.kind {
        Kind::File => Ok(facts),
        _ => Err(Cause::NotRegular),
    }
}

fn refused(error: io::Error, links: Links) -> Cause {
    if files::is_special_error(&error) {
        Cause::NotRegular
    } else {
        Cause::of_lookup(error, links)
    }
}

/// What the umask leaves of this is the mode of a new file.
const NEW_FILE_MODE: u32 = 0o666;

#[cfg(test)]
mod tests;
