//! The two ends of a copy, as a person named them.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use farstep_environments::Executor;
use farstep_path_uri::PathUri;

use super::name::Name;
use super::transfer::Source;
use crate::files::World;
use crate::files::error::FileCause;
use crate::files::far::Far;
use crate::files::place::Place;
use crate::render::Failure;

/// One end of a copy, as it was typed.
pub(super) enum Spot {
    Here {
        path: PathBuf,
        typed: PathBuf,
    },
    There {
        far: Arc<Far>,
        path: PathUri,
        /// Whether it must be a directory, and means what is in it: `dir/.`, `..`, nothing.
        contents: bool,
        /// Whether it ends with a separator.
        ends_open: bool,
    },
}

/// What is at a place, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    File,
    Directory,
    Special,
}

impl Spot {
    pub(super) async fn find(
        world: &World<'_>,
        operation: &'static str,
        text: &OsStr,
    ) -> Result<Spot, Failure> {
        match Place::parse(text) {
            Place::Here(typed) => Ok(Spot::Here {
                path: typed.clone(),
                typed,
            }),
            Place::There { environment, path } => {
                let far = world.far(Some(&environment)).await?;
                let found = far.resolve(&path);
                let found = found.map_err(|cause| cause.of(operation, far.show_text(&path)))?;
                let last = path.rsplit(['/', '\\']).next().unwrap_or_default();
                Ok(Spot::There {
                    far,
                    path: found,
                    contents: matches!(path.as_str(), "") || matches!(last, "." | ".."),
                    ends_open: path.ends_with(['/', '\\']),
                })
            }
        }
    }

    pub(super) fn shown(&self) -> String {
        match self {
            Spot::Here { typed, .. } => typed.display().to_string(),
            Spot::There { far, path, .. } => far.show(path),
        }
    }

    pub(super) async fn look(&self) -> Result<Option<What>, FileCause> {
        let of = |is_directory: bool, is_file: bool| match (is_directory, is_file) {
            (true, _) => What::Directory,
            (_, true) => What::File,
            _ => What::Special,
        };
        let found = match self {
            Spot::Here { path, .. } => match std::fs::metadata(path) {
                Ok(found) => Ok(of(found.is_dir(), found.is_file())),
                Err(error) => Err(error.into()),
            },
            Spot::There { far, path, .. } => far
                .call(async |to: &Executor| to.metadata(path).await)
                .await
                .map(|found| of(found.is_directory, found.is_file)),
        };
        match found {
            Ok(what) => Ok(Some(what)),
            Err(FileCause::Missing) => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Its own name; none when what is in it is meant.
    pub(super) fn name(&self) -> Result<Option<Name>, FileCause> {
        match self {
            Spot::Here { typed, .. } => {
                let text = typed.as_os_str().as_encoded_bytes();
                let means_contents = text.is_empty() || text == b"." || text.ends_with(b"/.");
                match typed.file_name() {
                    Some(name) if !means_contents => Ok(Some(Name::new(name.as_encoded_bytes())?)),
                    _ => Ok(None),
                }
            }
            Spot::There { contents: true, .. } => Ok(None),
            Spot::There { path, .. } if path.parent().is_none() => Ok(None),
            Spot::There { path, .. } => Ok(Some(Name::last_of(path)?)),
        }
    }

    pub(super) fn must_be_directory(&self) -> bool {
        match self {
            Spot::Here { typed, .. } => {
                let text = typed.as_os_str().as_encoded_bytes();
                text.ends_with(b"/") || text.ends_with(b"/.")
            }
            Spot::There {
                contents,
                ends_open,
                ..
            } => *contents || *ends_open,
        }
    }

    /// It, to be copied.
    pub(super) fn source(&self) -> Source {
        match self {
            Spot::Here { path, .. } => Source::Here(path.clone()),
            Spot::There { far, path, .. } => Source::There(Arc::clone(far), path.clone()),
        }
    }
}
