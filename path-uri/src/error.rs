//! What can be wrong with a path, and what to try instead.
//!
//! One type for all operations, because the wire has one vocabulary for them; it knows nothing
//! of JSON-RPC codes, which the caller chooses by [`PathUriErrorKind`].

use std::borrow::Cow;
use std::fmt;

/// Why a path was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}{}{}", At(*offset), Hint(hint.as_deref()))]
#[non_exhaustive]
pub struct PathUriError {
    /// What went wrong, to match on.
    pub kind: PathUriErrorKind,
    /// Where in the text that was given the trouble starts, in bytes.
    pub offset: Option<usize>,
    /// What the author of the text probably meant.
    pub hint: Option<Box<str>>,
    /// The scheme that was found, when the kind is [`PathUriErrorKind::UnsupportedScheme`].
    pub scheme: Option<Box<str>>,
    detail: Cow<'static, str>,
}

/// The kinds of refusal, named as on the wire and in the test vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathUriErrorKind {
    /// The text is not a URI, or its authority is not one we would carry unchanged.
    InvalidUri,
    /// A URI, but not a `file:` one.
    UnsupportedScheme,
    /// `user@` before the server.
    CredentialsNotAllowed,
    /// `:port` after the server.
    PortNotAllowed,
    /// A `?`, even with nothing behind it.
    QueryNotAllowed,
    /// A `#`, even with nothing behind it.
    FragmentNotAllowed,
    /// The path holds NUL, a broken opaque payload, or text that does not fit its base.
    InvalidFileUriPath,
    /// The joined path would leave its base.
    JoinPathMustBeDescendant,
    /// The URI has no spelling in the convention asked for.
    IncompatibleConvention,
    /// The opaque payload is not an absolute path of the convention asked for.
    OpaqueFallback,
    /// The native text is not an absolute path of its convention.
    InvalidNativePath,
    /// The working directory is opaque and says nothing about its convention.
    MissingBaseConvention,
    /// `~` was used and the home directory is not known.
    MissingHomeDirectory,
    /// Text of one convention was given where the other applies.
    MismatchedConvention,
    /// A host path that depends on a working directory.
    NotAbsolute,
    /// A good URI that no system call of this host may see.
    NotHostNative,
    /// Longer than [`MAX_URI_BYTES`](crate::MAX_URI_BYTES) or deeper than
    /// [`MAX_SEGMENTS`](crate::MAX_SEGMENTS).
    TooLong,
}

impl PathUriErrorKind {
    /// The name used in the specification's vectors, such as `invalid_uri`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidUri => "invalid_uri",
            Self::UnsupportedScheme => "unsupported_scheme",
            Self::CredentialsNotAllowed => "credentials_not_allowed",
            Self::PortNotAllowed => "port_not_allowed",
            Self::QueryNotAllowed => "query_not_allowed",
            Self::FragmentNotAllowed => "fragment_not_allowed",
            Self::InvalidFileUriPath => "invalid_file_uri_path",
            Self::JoinPathMustBeDescendant => "join_path_must_be_descendant",
            Self::IncompatibleConvention => "incompatible_convention",
            Self::OpaqueFallback => "opaque_fallback",
            Self::InvalidNativePath => "invalid_native_path",
            Self::MissingBaseConvention => "missing_base_convention",
            Self::MissingHomeDirectory => "missing_home_directory",
            Self::MismatchedConvention => "mismatched_convention",
            Self::NotAbsolute => "not_absolute",
            Self::NotHostNative => "not_host_native",
            Self::TooLong => "too_long",
        }
    }
}

impl fmt::Display for PathUriErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PathUriError {
    pub(crate) fn new(kind: PathUriErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            offset: None,
            hint: None,
            scheme: None,
            detail: detail.into(),
        }
    }

    pub(crate) fn at(mut self, offset: usize) -> Self {
        self.offset = Some(offset);
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<Box<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn scheme(mut self, scheme: impl Into<Box<str>>) -> Self {
        self.scheme = Some(scheme.into());
        self
    }

    pub(crate) fn too_long(detail: &'static str) -> Self {
        Self::new(PathUriErrorKind::TooLong, detail)
    }
}

struct At(Option<usize>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, " at byte {offset}"),
            None => Ok(()),
        }
    }
}

struct Hint<'a>(Option<&'a str>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}
