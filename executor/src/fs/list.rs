//! One directory's entries.

use std::ops::ControlFlow;
use std::path::Path;

use super::error::{Cause, FsError};
use super::json;
use crate::os::files::{Directory, Kind, Links, ListBuffer};

/// The most entries a listing may have; a directory with more cannot be listed.
pub const DIRECTORY_ENTRIES_MAX: usize = 50_000;

/// The entries of one directory, packed.
#[derive(Debug, Default)]
pub struct Listing {
    names: String,
    entries: Vec<Packed>,
}

#[derive(Clone, Copy, Debug)]
struct Packed {
    /// Where the name ends in `names`; it begins where the one before ends.
    end: usize,
    is_directory: bool,
    is_file: bool,
}

/// One name and what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry<'a> {
    /// Bytes that are not UTF-8 are replaced: the wire has no other place for them.
    pub file_name: &'a str,
    pub is_directory: bool,
    pub is_file: bool,
}

/// Everything in a directory, in no particular order. Links are described by what they lead to and
/// left out when that cannot be seen.
pub fn read_directory(path: &Path) -> Result<Listing, FsError> {
    list(path, DIRECTORY_ENTRIES_MAX).map_err(|cause| cause.at("list", path))
}

fn list(path: &Path, limit: usize) -> Result<Listing, Cause> {
    let directory = Directory::open(path, Links::Follow)?;
    let mut listing = Listing::default();
    directory.list(&mut ListBuffer::new(), |name, kind| {
        let kind = match kind {
            // The listing itself says what most entries are; only these need a look.
            Kind::Symlink | Kind::Unknown => match directory.target_kind(name) {
                Ok(kind) => kind,
                Err(_) => return ControlFlow::Continue(()),
            },
            kind => kind,
        };
        listing.push(&name.to_string_lossy(), kind);
        if listing.len() > limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    if listing.len() > limit {
        Err(Cause::TooManyNames { limit })
    } else {
        Ok(listing)
    }
}

impl Listing {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = DirectoryEntry<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let file_name = self.names.get(start..entry.end).unwrap_or_default();
            start = entry.end;
            DirectoryEntry {
                file_name,
                is_directory: entry.is_directory,
                is_file: entry.is_file,
            }
        })
    }

    /// Appends the result object of `fs/readDirectory`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.reserve(32 + self.names.len() + self.entries.len() * ENTRY_FRAME_BYTES);
        out.extend_from_slice(b"{\"entries\":[");
        for entry in self.iter() {
            out.extend_from_slice(b"{\"fileName\":");
            json::push_string(out, entry.file_name);
            out.extend_from_slice(match (entry.is_directory, entry.is_file) {
                (true, _) => b",\"isDirectory\":true,\"isFile\":false},",
                (false, true) => b",\"isDirectory\":false,\"isFile\":true},",
                (false, false) => b",\"isDirectory\":false,\"isFile\":false},".as_slice(),
            });
        }
        json::end_list(out);
        out.push(b'}');
    }

    fn push(&mut self, name: &str, kind: Kind) {
        self.names.push_str(name);
        let (is_directory, is_file) = (kind == Kind::Directory, kind == Kind::File);
        self.entries.push(Packed {
            end: self.names.len(),
            is_directory,
            is_file,
        });
    }
}

/// What surrounds a name in a reply.
const ENTRY_FRAME_BYTES: usize = 56;

#[cfg(test)]
mod tests;
