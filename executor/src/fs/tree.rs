//! Trees of directories: which there are, and how far an operation on one may go.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::error::Cause;
use crate::os::files::{self, Directory};

/// The most entries one recursive call touches. Beyond it the call fails where it is, and may be
/// made again: a tree of this size is a mistake more often than a wish.
pub const TREE_ENTRIES_MAX: u64 = 1_000_000;

/// The longest one recursive call runs, for the same reason.
pub const TREE_TIME_MAX: Duration = Duration::from_secs(600);

/// How far a recursive operation may go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    pub entries: u64,
    pub deadline: Option<Instant>,
    /// Set by whoever no longer wants the outcome.
    pub cancelled: Option<&'a AtomicBool>,
}

impl<'a> Bounds<'a> {
    /// The limits of a call that starts now and ends early when `cancelled` is set.
    pub fn from_now(cancelled: &'a AtomicBool) -> Bounds<'a> {
        Bounds {
            entries: TREE_ENTRIES_MAX,
            deadline: Instant::now().checked_add(TREE_TIME_MAX),
            cancelled: Some(cancelled),
        }
    }
}

/// Counts entries against [`Bounds`].
///
/// Shared by all who work on one call.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    bounds: Bounds<'a>,
    counted: AtomicU64,
}

/// Asking the clock for every entry would cost more than some entries do.
const ENTRIES_BETWEEN_LOOKS: u64 = 64;

impl<'a> Tally<'a> {
    pub(super) fn new(bounds: Bounds<'a>) -> Tally<'a> {
        Tally {
            bounds,
            counted: AtomicU64::new(0),
        }
    }

    /// One entry more.
    pub(super) fn count(&self) -> Result<(), Cause> {
        let before = self.counted.fetch_add(1, Ordering::Relaxed);
        if before >= self.bounds.entries {
            return Err(Cause::TooManyEntries {
                limit: self.bounds.entries,
            });
        }
        if (before + 1).is_multiple_of(ENTRIES_BETWEEN_LOOKS) {
            self.proceed()
        } else {
            Ok(())
        }
    }

    /// Whether there is still time, and somebody who waits.
    pub(super) fn proceed(&self) -> Result<(), Cause> {
        if self
            .bounds
            .cancelled
            .is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
        {
            return Err(Cause::Cancelled);
        }
        match self.bounds.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Cause::Overdue),
            _ => Ok(()),
        }
    }
}

/// Directories by the order of their discovery: parents before children, siblings together.
///
/// A directory is its name and its parent, so a million of them fit into memory, and whoever works
/// on them needs no descriptor but that of the one in hand. Several may work on one tree.
#[derive(Debug, Default)]
pub(super) struct Tree {
    names: Vec<u8>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// The root is its own parent.
    parent: usize,
    start: usize,
    len: usize,
    new: bool,
}

impl Tree {
    /// A tree of one directory, known to the caller by this name.
    pub(super) fn new(root: &OsStr, new: bool) -> Tree {
        let mut tree = Tree::default();
        tree.add(0, root, new);
        tree
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a directory; `new` says whether the operation made it.
    pub(super) fn add(&mut self, parent: usize, name: &OsStr, new: bool) {
        let name = name.as_encoded_bytes();
        self.nodes.push(Node {
            parent,
            start: self.names.len(),
            len: name.len(),
            new,
        });
        self.names.extend_from_slice(name);
    }

    pub(super) fn is_new(&self, index: usize) -> bool {
        self.nodes.get(index).is_some_and(|node| node.new)
    }

    /// The parent, and the name in it.
    pub(super) fn entry(&self, index: usize) -> (usize, &OsStr) {
        self.nodes
            .get(index)
            .map_or((0, OsStr::new("")), |node| (node.parent, self.name(node)))
    }

    /// From the root's name to the directory's.
    pub(super) fn path(&self, index: usize) -> PathBuf {
        let mut names = Vec::new();
        let mut index = index;
        while let Some(node) = self.nodes.get(index) {
            names.push(self.name(node));
            if index == 0 {
                break;
            }
            index = node.parent;
        }
        names.iter().rev().collect()
    }

    fn name(&self, node: &Node) -> &OsStr {
        files::name_from_bytes(
            self.names
                .get(node.start..node.start + node.len)
                .unwrap_or_default(),
        )
    }
}

/// What one system call accepts as a path, with room to spare.
const PATH_BYTES_AT_ONCE: usize = 4000;

/// Opens a directory however far below `base` it is. No component may be a link.
pub(super) fn descend(base: &Directory, relative: &Path) -> io::Result<Directory> {
    if relative.as_os_str().len() <= PATH_BYTES_AT_ONCE {
        return base.descend(relative);
    }
    let mut reached: Option<Directory> = None;
    let mut hop = PathBuf::new();
    for name in relative {
        if hop.as_os_str().len() + name.len() >= PATH_BYTES_AT_ONCE {
            reached = Some(reached.as_ref().unwrap_or(base).descend(&hop)?);
            hop.clear();
        }
        hop.push(name);
    }
    reached.as_ref().unwrap_or(base).descend(&hop)
}
