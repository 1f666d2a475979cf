//! A tree's entries, breadth first.
//!
//! A walk that takes long is helped: others list directories before it comes to them, and it finds
//! what it would have found alone. The kind of an entry comes from the listing, so nothing is looked up but what is entered. Within
//! a directory the order is that of the names' bytes, which makes a truncated walk repeatable.

mod ahead;
mod location;
mod result;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::error::{Cause, FsError};
use super::metadata::without_trailing_separator;
use crate::os::files::{self, Directory, Identity, Kind, ListBuffer};
use ahead::{Ahead, End, Listed, Pending};
pub use result::{EntryKind, WALK_BYTES_MAX, Walk, WalkEntry, WalkFailure};

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
    /// Whether links and special files are listed too.
    pub everything: bool,
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
            Root::Open(root) => walk_below(path, &root, options, WORTH_HELP),
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
    root: &'a Directory,
    found: Walk,
    /// Directories listed and still to be entered, in the order they were listed.
    queue: &'a Ahead,
    /// The real directories entered, needed where links may lead to one twice.
    entered: HashSet<Identity>,
    directories: u64,
    examined: u64,
}

/// Breaks at a limit of the whole walk.
type Step = ControlFlow<()>;

/// What starting a helper may cost twice over: who walks for longer gets some.
const WORTH_HELP: Duration = Duration::from_micros(150);

/// What is below a root that is open. Whoever takes longer than `worth_help` gets helpers.
fn walk_below(path: &Path, root: &Directory, options: &WalkOptions, worth_help: Duration) -> Walk {
    let mut found = Walk::default();
    let queue = Ahead::new(Pending {
        relative: PathBuf::from("."),
        index: found.add_root(path),
        depth: 0,
    });
    let began = Instant::now();
    // Through links a directory may be reached twice, and is entered by whoever comes first.
    let alone = options.follow_directory_symlinks;
    thread::scope(|scope| {
        let _end = End(&queue);
        Walker::new(root, found, &queue, options).run(|| {
            if !alone && began.elapsed() >= worth_help {
                queue.call_help(scope, root);
            }
        })
    })
}

impl<'a> Walker<'a> {
    fn new(
        root: &'a Directory,
        found: Walk,
        queue: &'a Ahead,
        options: &'a WalkOptions,
    ) -> Walker<'a> {
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

    /// Asks for help after each directory.
    fn run(mut self, mut call_help: impl FnMut()) -> Walk {
        let mut buffer = ListBuffer::new();
        while let Some((pending, listed)) = self.queue.next(self.allowed()) {
            let over = self.directories == self.options.max_directories;
            if over || self.enter(&pending, listed, &mut buffer).is_break() {
                self.found.truncated = true;
                break;
            }
            call_help();
        }
        self.found
    }

    /// How many names may still be examined.
    fn allowed(&self) -> usize {
        usize::try_from(self.options.max_entries - self.examined).unwrap_or(usize::MAX)
    }

    fn enter(
        &mut self,
        pending: &Pending,
        listed: Option<io::Result<Listed>>,
        buffer: &mut ListBuffer,
    ) -> Step {
        let listed = match listed {
            Some(listed) => listed.map(Some),
            None => self.list(pending, buffer),
        };
        let listed = match listed {
            Ok(Some(listed)) => listed,
            Ok(None) => return Step::Continue(()),
            Err(error) => return self.found.add_failure(pending.index, None, &error),
        };
        self.directories += 1;
        let mut entered = Vec::new();
        for (name, kind) in listed.names.iter() {
            if self.examined == self.options.max_entries {
                return Step::Break(());
            }
            self.examined += 1;
            self.examine(pending, listed.directory.as_ref(), name, kind, &mut entered)?;
        }
        self.queue.push(entered);
        self.queue.give_back(listed.names);
        match listed.end {
            Ok(()) => Step::Continue(()),
            Err(error) => self.found.add_failure(pending.index, None, &error),
        }
    }

    /// Lists a directory, unless a link led to one that was entered before.
    fn list(&mut self, pending: &Pending, buffer: &mut ListBuffer) -> io::Result<Option<Listed>> {
        let (names, allowed) = (self.queue.room(), self.allowed());
        if !self.options.follow_directory_symlinks {
            let directory = self.root.descend(&pending.relative)?;
            return Ok(Some(ahead::list(directory, buffer, names, allowed, false)));
        }
        let directory = self.root.descend_through_links(&pending.relative)?;
        let is_new = self.entered.insert(directory.facts()?.identity);
        Ok(is_new.then(|| ahead::list(directory, buffer, names, allowed, true)))
    }

    fn examine(
        &mut self,
        pending: &Pending,
        directory: Option<&Directory>,
        name: &OsStr,
        kind: Kind,
        entered: &mut Vec<Pending>,
    ) -> Step {
        match self.resolve(directory, name, kind) {
            Ok(Kind::File) => self.found.add(pending.index, name, EntryKind::File),
            Ok(Kind::Directory) if self.is_entered(pending, name) => {
                self.found.add(pending.index, name, EntryKind::Directory)?;
                let index = self.found.will_enter(pending.index, name);
                // The root is called "." and nothing else is relative to that name.
                let relative = if pending.depth == 0 {
                    name.into()
                } else {
                    pending.relative.join(name)
                };
                entered.push(Pending {
                    relative,
                    index,
                    depth: pending.depth + 1,
                });
                Step::Continue(())
            }
            Ok(Kind::Directory) => self.found.add(pending.index, name, EntryKind::Directory),
            Ok(Kind::Symlink) if self.options.everything => {
                self.found.add(pending.index, name, EntryKind::Link)
            }
            Ok(_) if self.options.everything => {
                self.found.add(pending.index, name, EntryKind::Other)
            }
            Ok(_) => Step::Continue(()),
            Err(error) => self.found.add_failure(pending.index, Some(name), &error),
        }
    }

    /// What an entry counts as.
    fn resolve(&self, directory: Option<&Directory>, name: &OsStr, kind: Kind) -> io::Result<Kind> {
        // It is still open wherever that is needed.
        let Some(directory) = directory else {
            return Ok(kind);
        };
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
