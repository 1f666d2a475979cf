//! What is to be copied of a tree: its directories and regular files, parents first.
//!
//! Links and special files are left out, and told. With [`Links::Follow`] a link counts as what it
//! leads to, as long as that is in the tree: nothing else was asked for, and nobody knows what it
//! would be. Names that came through a link are names like any other.

mod here;
mod there;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use farstep_environments::Executor;
use farstep_path_uri::PathUri;
use serde::Serialize;

use super::name::Name;
use super::seal::Marks;
use super::transfer::{Source, known};
use crate::files::error::{FileCause, FileError};
pub(super) use here::here;
pub(super) use there::there;

/// The most entries one copy takes on. A tree of this size is a mistake more often than a wish.
const ENTRIES_MAX: usize = 1_000_000;

/// Directories inside each other. No system makes use of so many, but who lists them may be hostile.
const DEPTH_MAX: usize = 256;

/// Names of all entries together, those of the directories they are in included: what a tree costs.
const NAMES_MAX: usize = 16 * ENTRIES_MAX;

/// One directory or file below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) names: Vec<Name>,
    pub(super) is_directory: bool,
}

/// Something that is not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// As a person would type it.
    pub(super) place: String,
    pub(super) why: Why,
}

/// Why something is not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Why {
    /// It is a link, and links are not followed.
    Link,
    /// It is a link that leads out of the tree.
    Outside,
    /// It is a link that leads nowhere.
    Dangling,
    /// It is a link to a directory that it is in itself.
    Loop,
    /// It is neither a file nor a directory nor a link.
    Special,
}

/// A tree, as far as it could be seen.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) items: Vec<Item>,
    /// What could not be looked at, or has no usable name.
    pub(super) troubles: Vec<FileError>,
    pub(super) left_out: Vec<LeftOut>,
    names: usize,
}

impl Tree {
    fn push(&mut self, item: Item) -> Result<(), FileCause> {
        self.names += item.names.len();
        if self.items.len() >= ENTRIES_MAX || self.names > NAMES_MAX {
            return Err(FileCause::TooMany(ENTRIES_MAX));
        }
        if item.names.len() > DEPTH_MAX {
            return Err(FileCause::TooDeep(DEPTH_MAX));
        }
        self.items.push(item);
        Ok(())
    }

    fn leave_out(&mut self, place: String, why: Why) -> Result<(), FileCause> {
        if self.left_out.len() >= ENTRIES_MAX {
            return Err(FileCause::TooMany(ENTRIES_MAX));
        }
        self.left_out.push(LeftOut { place, why });
        Ok(())
    }
}

/// The path of an item of this machine.
pub(super) fn path_here(root: &Path, names: &[Name]) -> PathBuf {
    let mut path = root.to_owned();
    for name in names {
        // As it was listed.
        path.push(super::here::text(name));
    }
    path
}

/// The path of an item of an environment.
pub(super) fn path_there(root: &PathUri, names: &[Name]) -> Result<PathUri, FileCause> {
    let mut path = root.clone();
    for name in names {
        path = name.below(&path)?;
    }
    Ok(path)
}

impl Source {
    /// What is so many names below.
    pub(super) fn below(&self, names: &[Name]) -> Result<Source, FileError> {
        match self {
            Source::Here(path) => Ok(Source::Here(path_here(path, names))),
            Source::There(far, path) => match path_there(path, names) {
                Ok(path) => Ok(Source::There(Arc::clone(far), path)),
                Err(cause) => Err(cause.of("read", self.shown())),
            },
        }
    }

    /// What a directory is like.
    pub(super) async fn marks_of_directory(&self) -> Option<Marks> {
        match self {
            Source::Here(path) => {
                let found = std::fs::metadata(path).ok()?;
                Some(Marks {
                    mode: super::here::mode_of(&found),
                    modified: super::here::modified(&found),
                })
            }
            Source::There(far, path) => {
                let look = far.call(async |to: &Executor| to.metadata(path).await);
                let found = look.await.ok()?;
                let mode = match found.mode {
                    Some(mode) => Some(mode & 0o777),
                    None => super::seal::mode_there(far, path).await.ok()?,
                };
                Some(Marks {
                    mode,
                    modified: known(found.modified_at_ms),
                })
            }
        }
    }
}
