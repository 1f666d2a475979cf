//! A tree's entries, breadth first.
//!
//! The kind of an entry comes from the listing, so nothing is looked up but what is entered. Within
//! a directory the order is that of the names' bytes, which makes a truncated walk repeatable.

mod location;
mod result;

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::error::{Cause, FsError};
use super::metadata::without_trailing_separator;
use super::names::Names;
use crate::os::files::{self, Directory, Identity, Kind, ListBuffer};
pub use result::{WALK_BYTES_MAX, Walk, WalkEntry, WalkFailure};

/// What a walk may cost, and what it enters.
#[derive(Clone, Copy, Debug)]
pub struct WalkOptions {
    /// 0 lists the root's entries and enters none.
    pub max_depth: u64,
    /// How many are entered, the root included.
    pub max_directories: u64,
    /// How many are examined, those left out included.
    pub max_entries: u64,
    pub follow_directory_symlinks: bool,
    pub prune_hidden_directories: bool,
}

/// What a request may ask for at most.
pub const WALK_DEPTH_MAX: u64 = 64;
pub const WALK_DIRECTORIES_MAX: u64 = 10_000;
pub const WALK_ENTRIES_MAX: u64 = 50_000;

/// What is below a directory.
///
/// A root that is none, or a link that is not to be followed, is an empty walk; a missing one is an
/// error. What cannot be inspected on the way is reported beside the entries, and the walk goes on.
pub fn walk(path: &Path, options: &WalkOptions) -> Result<Walk, FsError> {
    let path = without_trailing_separator(path);
    let run = || {
        check(options)?;
        Ok(match open_root(path, options)? {
            Root::Open(root) => Walker::new(path, root, options).run(),
            Root::Nothing => Walk::default(),
            Root::Unreadable(error) => Walk::of_unreadable(path, &error),
        })
    };
    run().map_err(|cause: Cause| cause.at("walk", path))
}

fn check(options: &WalkOptions) -> Result<(), Cause> {
    let allowed = options.max_depth <= WALK_DEPTH_MAX
        && (1..=WALK_DIRECTORIES_MAX).contains(&options.max_directories)
        && (1..=WALK_ENTRIES_MAX).contains(&options.max_entries);
    let (depth, directories, entries) = (WALK_DEPTH_MAX, WALK_DIRECTORIES_MAX, WALK_ENTRIES_MAX);
    if allowed {
        Ok(())
    } else {
        Err(Cause::WalkLimits {
            depth,
            directories,
            entries,
        })
    }
}

enum Root {
    Open(Directory),
    Nothing,
    Unreadable(io::Error),
}

fn open_root(path: &Path, options: &WalkOptions) -> Result<Root, Cause> {
    let error = match Directory::open_itself(path, options.follow_directory_symlinks) {
        Ok(root) => return Ok(Root::Open(root)),
        Err(error) => error,
    };
    // What it is decides between a failure, nothing, and a directory that may not be read.
    let itself = path.symlink_metadata()?;
    let walkable =
        itself.is_dir() || (options.follow_directory_symlinks && path.metadata()?.is_dir());
    Ok(if walkable {
        Root::Unreadable(error)
    } else {
        Root::Nothing
    })
}

struct Walker<'a> {
    options: &'a WalkOptions,
    root: Directory,
    found: Walk,
    /// Directories listed and still to be entered, in the order they were listed.
    queue: VecDeque<Pending>,
    /// The real directories entered, needed where links may lead to one twice.
    entered: HashSet<Identity>,
    directories: u64,
    examined: u64,
}

/// A directory to enter.
struct Pending {
    relative: PathBuf,
    /// Which of the result's directories it is.
    index: usize,
    /// How deep its entries are.
    depth: u64,
}

/// Breaks at a limit of the whole walk.
type Step = ControlFlow<()>;

impl<'a> Walker<'a> {
    fn new(path: &Path, root: Directory, options: &'a WalkOptions) -> Walker<'a> {
        let mut found = Walk::default();
        let index = found.add_root(path);
        let queue = VecDeque::from([Pending {
            relative: PathBuf::from("."),
            index,
            depth: 0,
        }]);
        Walker {
            options,
            root,
            found,
            queue,
            entered: HashSet::new(),
            directories: 0,
            examined: 0,
        }
    }

    fn run(mut self) -> Walk {
        let (mut buffer, mut names) = (ListBuffer::new(), Names::default());
        while let Some(pending) = self.queue.pop_front() {
            let over = self.directories == self.options.max_directories;
            if over || self.enter(&pending, &mut buffer, &mut names).is_break() {
                self.found.truncated = true;
                break;
            }
        }
        self.found
    }

    fn enter(&mut self, pending: &Pending, buffer: &mut ListBuffer, names: &mut Names) -> Step {
        let directory = match self.open(pending) {
            Ok(Some(directory)) => directory,
            Ok(None) => return Step::Continue(()),
            Err(error) => return self.found.add_failure(pending.index, None, &error),
        };
        self.directories += 1;
        // One name more than may be examined shows that there are more.
        let allowed =
            usize::try_from(self.options.max_entries - self.examined).unwrap_or(usize::MAX);
        names.clear();
        let listed = directory.list(buffer, |name, kind| {
            names.push_smallest(name, kind, allowed.saturating_add(1));
            ControlFlow::Continue(())
        });
        names.sort();
        for (name, kind) in names.iter() {
            if self.examined == self.options.max_entries {
                return Step::Break(());
            }
            self.examined += 1;
            self.examine(pending, &directory, name, kind)?;
        }
        match listed {
            Ok(()) => Step::Continue(()),
            Err(error) => self.found.add_failure(pending.index, None, &error),
        }
    }

    /// Opens a directory, unless a link led to one that was entered before.
    fn open(&mut self, pending: &Pending) -> io::Result<Option<Directory>> {
        if !self.options.follow_directory_symlinks {
            return self.root.descend(&pending.relative).map(Some);
        }
        let directory = self.root.descend_through_links(&pending.relative)?;
        let is_new = self.entered.insert(directory.facts()?.identity);
        Ok(is_new.then_some(directory))
    }

    fn examine(
        &mut self,
        pending: &Pending,
        directory: &Directory,
        name: &OsStr,
        kind: Kind,
    ) -> Step {
        match self.resolve(directory, name, kind) {
            Ok(Kind::File) => self.found.add_file(pending.index, name),
            Ok(Kind::Directory) if self.is_entered(pending, name) => {
                self.found.add_directory(pending.index, name)?;
                let index = self.found.will_enter(pending.index, name);
                // The root is called "." and nothing else is relative to that name.
                let relative = if pending.depth == 0 {
                    name.into()
                } else {
                    pending.relative.join(name)
                };
                self.queue.push_back(Pending {
                    relative,
                    index,
                    depth: pending.depth + 1,
                });
                Step::Continue(())
            }
            Ok(Kind::Directory) => self.found.add_directory(pending.index, name),
            Ok(_) => Step::Continue(()),
            Err(error) => self.found.add_failure(pending.index, Some(name), &error),
        }
    }

    /// What an entry counts as.
    fn resolve(&self, directory: &Directory, name: &OsStr, kind: Kind) -> io::Result<Kind> {
        let kind = if kind == Kind::Unknown {
            directory.kind(name)?
        } else {
            kind
        };
        if kind != Kind::Symlink || !self.options.follow_directory_symlinks {
            return Ok(kind);
        }
        Ok(match directory.target_kind(name) {
            Ok(Kind::Directory) => Kind::Directory,
            // A link that leads nowhere, or in circles, is nothing to complain about.
            Ok(_) => Kind::Symlink,
            Err(error)
                if error.kind() == io::ErrorKind::NotFound || files::is_link_error(&error) =>
            {
                Kind::Symlink
            }
            Err(error) => return Err(error),
        })
    }

    fn is_entered(&self, pending: &Pending, name: &OsStr) -> bool {
        let pruned =
            self.options.prune_hidden_directories && name.as_encoded_bytes().starts_with(b".");
        pending.depth < self.options.max_depth && !pruned
    }
}

#[cfg(test)]
mod tests;
