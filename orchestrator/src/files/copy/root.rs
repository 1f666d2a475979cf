//! Where copies go: the directory a tree becomes, and the name a file gets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use farstep_environments::Executor;
use farstep_path_uri::PathUri;

use super::here::{self, Folder};
use super::name::Name;
use super::seal::Marks;
use super::spot::Spot;
use super::transfer::Target;
use super::{seal, tree};
use crate::files::error::{FileCause, FileError};
use crate::files::far::Far;

/// The directory a copied tree becomes.
pub(super) enum Root {
    Here {
        folder: Arc<Folder>,
        shown: PathBuf,
        is_new: bool,
    },
    There {
        far: Arc<Far>,
        path: PathUri,
        is_new: bool,
    },
}

impl Root {
    /// Makes it, unless it is there: `own` in the destination, or the destination itself.
    pub(super) async fn make(destination: &Spot, own: Option<Name>) -> Result<Root, FileCause> {
        match destination {
            Spot::Here { path, .. } => {
                let (parent, name) = match own {
                    Some(name) => (path.clone(), Some(name)),
                    None => split(path)?,
                };
                let folder = Folder::open(&parent)?;
                let Some(name) = name else {
                    return Ok(Root::Here {
                        folder: Arc::new(folder),
                        shown: path.clone(),
                        is_new: false,
                    });
                };
                let shown = parent.join(here::text(&name));
                // The person may have named a link to a directory.
                let is_theirs = shown == *path && shown.is_dir();
                let is_new = !is_theirs && folder.make(&name)?;
                let folder = match is_theirs {
                    true => Folder::open(&shown)?,
                    false => folder.descend(&[name])?,
                };
                Ok(Root::Here {
                    folder: Arc::new(folder),
                    shown,
                    is_new,
                })
            }
            Spot::There { far, path, .. } => {
                let path = match own {
                    Some(name) => name.below(path)?,
                    None => path.clone(),
                };
                let is_new = make_there(far, &path).await?;
                Ok(Root::There {
                    far: Arc::clone(far),
                    path,
                    is_new,
                })
            }
        }
    }

    pub(super) fn is_new(&self) -> bool {
        match self {
            Root::Here { is_new, .. } | Root::There { is_new, .. } => *is_new,
        }
    }

    pub(super) fn shown(&self) -> String {
        match self {
            Root::Here { shown, .. } => shown.display().to_string(),
            Root::There { far, path, .. } => far.show(path),
        }
    }

    pub(super) fn shown_below(&self, names: &[Name]) -> String {
        match self {
            Root::Here { shown, .. } => tree::path_here(shown, names).display().to_string(),
            Root::There { far, path, .. } => match tree::path_there(path, names) {
                Ok(path) => far.show(&path),
                Err(_) => far.show(path),
            },
        }
    }

    /// Makes a directory whose parent is there; tells whether it is new.
    pub(super) async fn make_below(&self, names: &[Name]) -> Result<bool, FileCause> {
        let Some((name, above)) = names.split_last() else {
            return Ok(false);
        };
        match self {
            Root::Here { folder, .. } => folder.descend(above)?.make(name),
            Root::There { far, path, .. } => make_there(far, &tree::path_there(path, names)?).await,
        }
    }

    pub(super) fn target(&self, names: &[Name]) -> Result<Target, FileError> {
        let failed = |cause: FileCause| cause.of("write", self.shown());
        let Some((name, above)) = names.split_last() else {
            return Err(failed(FileCause::IsDirectory));
        };
        Ok(match self {
            Root::Here { folder, shown, .. } => Target::Here {
                folder: Arc::clone(folder),
                below: above.to_vec(),
                name: name.clone(),
                shown: tree::path_here(shown, names),
            },
            Root::There { far, path, .. } => Target::There {
                far: Arc::clone(far),
                folder: tree::path_there(path, above).map_err(failed)?,
                name: name.clone(),
            },
        })
    }

    pub(super) async fn set_marks(&self, marks: Vec<(Vec<Name>, Marks)>) -> Result<(), FileCause> {
        match self {
            Root::Here { folder, .. } => marks.iter().try_for_each(|(names, marks)| {
                let folder = folder.descend(names)?;
                if let Some(mode) = marks.mode {
                    folder.set_mode(mode)?;
                }
                marks.modified.map_or(Ok(()), |at| folder.set_modified(at))
            }),
            Root::There { far, path, .. } => {
                let marks = marks.iter();
                let marks: Result<Vec<_>, FileCause> = marks
                    .map(|(names, marks)| Ok((tree::path_there(path, names)?, *marks)))
                    .collect();
                seal::set_marks(far, &marks?).await
            }
        }
    }
}

/// Makes a directory of an environment, unless it is there; tells whether it is new.
async fn make_there(far: &Far, path: &PathUri) -> Result<bool, FileCause> {
    let make = far.call_once(async |to: &Executor| to.create_directory(path, false).await);
    let refused = match make.await {
        Ok(()) => return Ok(true),
        Err(FileCause::Missing) => return Err(FileCause::Missing),
        Err(cause) => cause,
    };
    let there = far
        .call(async |to: &Executor| to.metadata(path).await)
        .await;
    match there {
        Ok(there) if there.is_directory => Ok(false),
        Ok(_) => Err(FileCause::InTheWay),
        // Nobody knows whether it was made; now it is.
        Err(FileCause::Missing) if refused.is_loss() => far
            .call(async |to: &Executor| to.create_directory(path, true).await)
            .await
            .map(|()| true),
        Err(_) => Err(refused),
    }
}

/// Where one file goes.
pub(super) async fn target(destination: &Spot, own: Option<Name>) -> Result<Target, FileCause> {
    match destination {
        Spot::Here { path, .. } => {
            let (parent, name) = match own {
                Some(name) => (path.clone(), name),
                None => {
                    let (parent, name) = split(path)?;
                    (parent, name.ok_or(FileCause::IsDirectory)?)
                }
            };
            Ok(Target::Here {
                folder: Arc::new(Folder::open(&parent)?),
                below: Vec::new(),
                shown: parent.join(here::text(&name)),
                name,
            })
        }
        Spot::There { far, path, .. } => {
            let (folder, name) = match own {
                Some(name) => (path.clone(), name),
                None => {
                    let parent = path.parent().ok_or(FileCause::IsDirectory)?;
                    (parent, Name::last_of(path)?)
                }
            };
            Ok(Target::There {
                far: Arc::clone(far),
                folder,
                name,
            })
        }
    }
}

/// The directory of a path, and its name in there unless it is `.`, `..` or a root.
fn split(path: &Path) -> Result<(PathBuf, Option<Name>), FileCause> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let name = Name::new(name.as_encoded_bytes())?;
            Ok((parent.to_owned(), Some(name)))
        }
        _ => Ok((path.to_owned(), None)),
    }
}
