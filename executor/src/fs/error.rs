//! Why a filesystem call failed, in the three kinds callers tell apart.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A filesystem call that failed: what was tried, on what, and why.
#[derive(Debug)]
pub struct FsError {
    operation: &'static str,
    path: PathBuf,
    cause: Cause,
}

/// What a peer may conclude from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsErrorKind {
    /// The path does not exist.
    NotFound,
    /// The request is at fault: refused, not permitted, over a limit.
    Invalid,
    /// The world failed.
    Other,
}

impl FsError {
    pub fn kind(&self) -> FsErrorKind {
        match &self.cause {
            Cause::System(error) => match error.kind() {
                io::ErrorKind::NotFound => FsErrorKind::NotFound,
                io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied => {
                    FsErrorKind::Invalid
                }
                _ => FsErrorKind::Other,
            },
            Cause::TooManyNames { .. } | Cause::RecursiveWithoutLinks => FsErrorKind::Other,
            _ => FsErrorKind::Invalid,
        }
    }

    /// The path that was in the way: for a tree, the one inside it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}",
            self.operation,
            self.path.display(),
            self.cause
        )
    }
}

impl std::error::Error for FsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::System(error) => Some(error),
            _ => None,
        }
    }
}

/// Why, without where. The text reads after "operation path:".
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("a symbolic link is in the way")]
    SymbolicLink,
    #[error("not a regular file")]
    NotRegular,
    #[error("larger than the limit of {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("more than {limit} entries")]
    TooManyNames { limit: usize },
    #[error("more than {limit} entries")]
    TooManyEntries { limit: u64 },
    #[error("took too long")]
    Overdue,
    #[error("cancelled")]
    Cancelled,
    #[error("a recursive removal that refuses symbolic links is not supported")]
    RecursiveWithoutLinks,
    #[error("the root directory cannot be removed")]
    Root,
    #[error("is a directory, which needs a recursive copy")]
    NeedsRecursive,
    #[error("source and destination are the same file")]
    SameFile,
    #[error("a directory cannot be copied into itself")]
    IntoItself,
    #[error("a mode has the nine permission bits and no others")]
    ModeBits,
    #[error(
        "the limits are at least one entry and directory, and at most depth {depth}, {directories} directories, {entries} entries"
    )]
    WalkLimits {
        depth: u64,
        directories: u64,
        entries: u64,
    },
}

impl Cause {
    pub(super) fn at(self, operation: &'static str, path: &Path) -> FsError {
        FsError {
            operation,
            path: path.to_path_buf(),
            cause: self,
        }
    }

    /// The failure of a lookup that may have been told to refuse links.
    pub(super) fn of_lookup(error: io::Error, links: crate::os::files::Links) -> Cause {
        match links {
            crate::os::files::Links::Refuse if crate::os::files::is_link_error(&error) => {
                Cause::SymbolicLink
            }
            _ => Cause::System(error),
        }
    }
}

/// Why, and where if it was not at the path that was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    path: Option<PathBuf>,
    cause: Cause,
}

impl Failure {
    pub(super) fn at(path: &Path, cause: impl Into<Cause>) -> Failure {
        Failure {
            // The root of a tree is "." to those who work in it; nobody else should see that.
            path: Some(path.components().collect()),
            cause: cause.into(),
        }
    }

    pub(super) fn of(self, operation: &'static str, path: &Path) -> FsError {
        self.cause
            .at(operation, self.path.as_deref().unwrap_or(path))
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(&self.cause, Cause::System(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl<C: Into<Cause>> From<C> for Failure {
    fn from(cause: C) -> Failure {
        Failure {
            path: None,
            cause: cause.into(),
        }
    }
}
