//! What a walk found, packed: an entry is a name in a directory, and directories know their URI.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::super::json;
use super::location::{Location, Spelling};

/// A reply beyond this is cut; the peer's own bound, counted the way it counts.
pub const WALK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What every item of a reply counts for beside its texts.
const ITEM_BYTES: usize = 64;

#[derive(Debug, Default)]
pub struct Walk {
    directories: Vec<Location>,
    /// The escaped names of all entries, one after the other.
    names: String,
    entries: Vec<Packed>,
    failures: Vec<WalkFailure>,
    /// A limit ended the walk before the tree did.
    pub truncated: bool,
    reply_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Packed {
    directory: usize,
    /// Where the name ends in `names`; it begins where the one before ends.
    end: usize,
    spelling: Spelling,
    kind: EntryKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkEntry {
    pub uri: String,
    pub kind: EntryKind,
}

/// What an entry is listed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    Directory,
    File,
    Link,
    Other,
}

/// What could not be inspected, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkFailure {
    pub uri: String,
    pub message: String,
}

impl Walk {
    /// A walk that could not even begin.
    pub(super) fn of_unreadable(root: &Path, error: &io::Error) -> Walk {
        let mut walk = Walk::default();
        let root = walk.add_root(root);
        // One failure is far from the bound of a reply.
        let _fits = walk.add_failure(root, None, error);
        walk
    }

    pub fn entries(&self) -> impl Iterator<Item = WalkEntry> {
        self.pieces().map(|(prefix, name, entry)| WalkEntry {
            uri: match prefix {
                Some(prefix) => format!("{prefix}/{name}"),
                None => name.to_owned(),
            },
            kind: entry.kind,
        })
    }

    pub fn failures(&self) -> &[WalkFailure] {
        &self.failures
    }

    /// Appends the result object of `fs/walk`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.reserve(self.reply_bytes + FRAME_BYTES);
        out.extend_from_slice(b"{\"entries\":[");
        for (prefix, name, entry) in self.pieces() {
            // URIs hold nothing that JSON escapes.
            out.extend_from_slice(b"{\"path\":\"");
            if let Some(prefix) = prefix {
                out.extend_from_slice(prefix.as_bytes());
                out.push(b'/');
            }
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(match entry.kind {
                EntryKind::Directory => b"\",\"kind\":\"directory\"},".as_slice(),
                EntryKind::File => b"\",\"kind\":\"file\"},",
                EntryKind::Link => b"\",\"kind\":\"farstepLink\"},",
                EntryKind::Other => b"\",\"kind\":\"farstepOther\"},",
            });
        }
        json::end_list(out);
        out.extend_from_slice(b",\"errors\":[");
        for failure in &self.failures {
            out.extend_from_slice(b"{\"path\":");
            json::push_string(out, &failure.uri);
            out.extend_from_slice(b",\"message\":");
            json::push_string(out, &failure.message);
            out.extend_from_slice(b"},");
        }
        json::end_list(out);
        out.extend_from_slice(if self.truncated {
            b",\"truncated\":true}".as_slice()
        } else {
            b",\"truncated\":false}"
        });
    }

    /// The directory's URI if the name follows it, the name, and the rest.
    fn pieces(&self) -> impl Iterator<Item = (Option<&str>, &str, &Packed)> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let name = self.names.get(start..entry.end).unwrap_or_default();
            start = entry.end;
            let prefix = match (self.directories.get(entry.directory), entry.spelling) {
                (Some(Location::Ordinary(uri)), Spelling::Name) => Some(uri.as_str()),
                _ => None,
            };
            (prefix, name, entry)
        })
    }

    /// The index under which the entries of the root are added.
    pub(super) fn add_root(&mut self, path: &Path) -> usize {
        self.directories.push(Location::of(path));
        self.directories.len() - 1
    }

    /// The index under which the entries of a directory are added that is to be entered.
    pub(super) fn will_enter(&mut self, directory: usize, name: &OsStr) -> usize {
        let child = self
            .directories
            .get(directory)
            .map(|location| location.child(name));
        self.directories.extend(child);
        self.directories.len() - 1
    }

    /// What went wrong with an entry, or with the directory itself.
    pub(super) fn add_failure(
        &mut self,
        directory: usize,
        name: Option<&OsStr>,
        error: &io::Error,
    ) -> ControlFlow<()> {
        let mut uri = String::new();
        match (self.directories.get(directory), name) {
            (Some(location), Some(name)) => location.child(name).push_uri(&mut uri),
            (Some(location), None) => location.push_uri(&mut uri),
            (None, _) => {}
        }
        let message = error.to_string();
        self.charge(uri.len() + message.len())?;
        self.failures.push(WalkFailure { uri, message });
        ControlFlow::Continue(())
    }

    pub(super) fn add(
        &mut self,
        directory: usize,
        name: &OsStr,
        kind: EntryKind,
    ) -> ControlFlow<()> {
        let Some(location) = self.directories.get(directory) else {
            return ControlFlow::Continue(());
        };
        let start = self.names.len();
        let spelling = location.push_entry(name, &mut self.names);
        let prefix = match (location, spelling) {
            (Location::Ordinary(uri), Spelling::Name) => uri.len() + 1,
            _ => 0,
        };
        let end = self.names.len();
        let charged = self.charge(prefix + end - start);
        if charged.is_break() {
            self.names.truncate(start);
            return charged;
        }
        self.entries.push(Packed {
            directory,
            end,
            spelling,
            kind,
        });
        ControlFlow::Continue(())
    }

    /// Breaks when an item with this much text no longer fits.
    fn charge(&mut self, text_bytes: usize) -> ControlFlow<()> {
        let with_it = self.reply_bytes + text_bytes + ITEM_BYTES;
        if with_it > WALK_BYTES_MAX {
            return ControlFlow::Break(());
        }
        self.reply_bytes = with_it;
        ControlFlow::Continue(())
    }
}

/// What surrounds the items of a reply.
const FRAME_BYTES: usize = 64;
