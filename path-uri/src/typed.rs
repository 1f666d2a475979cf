//! A path whose convention was checked once, so that code for one platform cannot meet the other.

use std::fmt;
use std::marker::PhantomData;

use crate::convention::Convention;
use crate::error::{PathUriError, PathUriErrorKind as Kind};
use crate::uri::PathUri;

/// The rules of POSIX paths, as a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Posix;

/// The rules of Windows paths, as a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Windows;

/// The two types that stand for a [`Convention`].
pub trait Rules: sealed::Sealed {
    /// The convention it stands for.
    const CONVENTION: Convention;
}

impl Rules for Posix {
    const CONVENTION: Convention = Convention::Posix;
}

impl Rules for Windows {
    const CONVENTION: Convention = Convention::Windows;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Posix {}
    impl Sealed for super::Windows {}
}

/// A [`PathUri`] that is known to follow the rules `R`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Typed<R> {
    uri: PathUri,
    rules: PhantomData<R>,
}

impl<R: Rules> Typed<R> {
    /// The path itself.
    pub fn as_uri(&self) -> &PathUri {
        &self.uri
    }

    /// Gives the proof up.
    pub fn into_uri(self) -> PathUri {
        self.uri
    }

    /// The native text, in the convention that was proven.
    pub fn to_native(&self) -> Result<String, PathUriError> {
        self.uri.to_native(R::CONVENTION)
    }
}

impl<R: Rules> TryFrom<PathUri> for Typed<R> {
    type Error = PathUriError;

    fn try_from(uri: PathUri) -> Result<Self, PathUriError> {
        if uri.convention() == Some(R::CONVENTION) {
            return Ok(Self {
                uri,
                rules: PhantomData,
            });
        }
        let detail = format!("'{uri}' is not a {} path", R::CONVENTION);
        Err(PathUriError::new(Kind::IncompatibleConvention, detail))
    }
}

impl<R> fmt::Debug for Typed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}
