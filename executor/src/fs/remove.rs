//! Removing files and trees. No link is followed but on the way to the path itself.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::crew::{self, Task};
use super::error::{Cause, Failure, FsError};
use super::metadata::without_trailing_separator;
use super::tree::{self, Bounds, Tally, Tree};
use crate::os::files::{self, Directory, Kind, Links, ListBuffer};

/// What a removal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remove {
    /// A directory goes with everything in it; otherwise it has to be empty.
    pub recursive: bool,
    /// A missing path is fine.
    pub force: bool,
}

pub fn remove(path: &Path, how: Remove, links: Links, bounds: Bounds<'_>) -> Result<(), FsError> {
    let path = without_trailing_separator(path);
    match remove_path(path, how, links, bounds) {
        Err(failure) if how.force && failure.is_missing() => Ok(()),
        outcome => outcome.map_err(|failure| failure.of("remove", path)),
    }
}

fn remove_path(path: &Path, how: Remove, links: Links, bounds: Bounds<'_>) -> Result<(), Failure> {
    if links == Links::Refuse && how.recursive {
        return Err(Cause::RecursiveWithoutLinks.into());
    }
    let name = path.file_name().ok_or(Cause::Root)?;
    let parent =
        Directory::parent_of(path, links).map_err(|error| Cause::of_lookup(error, links))?;
    if links == Links::Refuse && parent.kind(name)? == Kind::Symlink {
        return Err(Cause::SymbolicLink.into());
    }
    match parent.remove_file(name) {
        Err(error) if files::is_directory_error(&error) && is_directory(&parent, name) => {}
        outcome => return Ok(outcome?),
    }
    if !how.recursive {
        return Ok(parent.remove_directory(name)?);
    }
    let above = path.parent().unwrap_or(path).to_path_buf();
    Removal {
        above,
        tally: Tally::new(bounds),
        retries: RETRIES,
    }
    .run(&parent, name)
}

/// A refusal to unlink may have other reasons where the system does not name this one.
fn is_directory(parent: &Directory, name: &OsStr) -> bool {
    parent.kind(name).is_ok_and(|kind| kind == Kind::Directory)
}

/// How often directories may turn out not to be empty after they were emptied, because somebody
/// adds to them or a file system lists badly while names go away.
const RETRIES: u32 = 16;

/// A tree being emptied: first every directory of what is no directory, from the top; then the
/// directories themselves, from the bottom.
struct Removal<'a> {
    /// Where the tree is, for messages.
    above: PathBuf,
    tally: Tally<'a>,
    retries: u32,
}

impl Removal<'_> {
    fn run(&mut self, base: &Directory, root: &OsStr) -> Result<(), Failure> {
        let mut tree = Tree::new(root, false);
        let this = &*self;
        crew::work_through(&mut tree, |buffer, task| this.sweep(base, buffer, task))?;
        // Siblings follow each other, so their parent is opened once for all of them.
        let mut parent: Option<(usize, Directory)> = None;
        for index in (1..tree.len()).rev() {
            let (above, name) = tree.entry(index);
            if parent.as_ref().is_none_or(|(open, _)| *open != above) {
                parent = match tree::descend(base, &tree.path(above)) {
                    Ok(directory) => Some((above, directory)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(self.failure(&tree.path(above), error)),
                };
            }
            if let Some((_, directory)) = &parent {
                self.remove_emptied(directory, name, &tree.path(index))?;
            }
        }
        self.remove_emptied(base, root, Path::new(root))
    }

    /// Removes what is no directory in one that is, and notes the directories.
    fn sweep(
        &self,
        base: &Directory,
        buffer: &mut ListBuffer,
        task: Task<'_>,
    ) -> Result<(), Failure> {
        let Task { path, found, .. } = task;
        let directory = match tree::descend(base, path) {
            Ok(directory) => directory,
            Err(error) => return self.remove_unopened(base, path, error),
        };
        let mut failed = None;
        let listed = directory.list(buffer, |name, kind| {
            let removed = self.tally.count().and_then(|()| match kind {
                Kind::Directory => Ok(false),
                _ => remove_non_directory(&directory, name),
            });
            match removed {
                Ok(true) => {}
                Ok(false) => found.add(name, false),
                Err(cause) => {
                    failed = Some((name.to_os_string(), cause));
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        match failed {
            Some((name, cause)) => Err(self.failure(&path.join(name), cause)),
            None => listed.map_err(|error| self.failure(path, error)),
        }
    }

    /// What cannot be opened may be empty, or gone, or no directory any more.
    fn remove_unopened(
        &self,
        base: &Directory,
        path: &Path,
        error: io::Error,
    ) -> Result<(), Failure> {
        if error.kind() == io::ErrorKind::NotFound {
            return Ok(());
        }
        let name = path.file_name().unwrap_or_default();
        let remove = |parent: &Directory| {
            parent
                .remove_directory(name)
                .or_else(|_| parent.remove_file(name))
        };
        let removed = match path.parent().filter(|above| !above.as_os_str().is_empty()) {
            None => remove(base),
            Some(above) => tree::descend(base, above).and_then(|parent| remove(&parent)),
        };
        removed.map_err(|_| self.failure(path, error))
    }

    fn remove_emptied(
        &mut self,
        parent: &Directory,
        name: &OsStr,
        path: &Path,
    ) -> Result<(), Failure> {
        match parent.remove_directory(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && self.retries > 0 => {
                self.retries -= 1;
                let inside = self.above.join(path.parent().unwrap_or(path));
                let outside = std::mem::replace(&mut self.above, inside);
                let again = self.run(parent, name);
                self.above = outside;
                again
            }
            outcome => outcome.map_err(|error| self.failure(path, error)),
        }
    }

    fn failure(&self, within: &Path, cause: impl Into<Cause>) -> Failure {
        Failure::at(&self.above.join(within), cause)
    }
}

/// False if it is a directory after all.
fn remove_non_directory(directory: &Directory, name: &OsStr) -> Result<bool, Cause> {
    match directory.remove_file(name) {
        Ok(()) => Ok(true),
        // Somebody else removed it, which is as good.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if files::is_directory_error(&error) && is_directory(directory, name) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
