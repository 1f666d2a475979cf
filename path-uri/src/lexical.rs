//! Moving about: joining, parents, names. No step here looks at a file system.

use crate::convention::Convention;
use crate::error::{PathUriError, PathUriErrorKind as Kind};
use crate::native::{posix, windows};
use crate::uri::{self, Flags, MAX_URI_BYTES, PathUri};

impl PathUri {
    /// Joins native text in this path's convention; percent signs and the like are plain text.
    ///
    /// Absolute text replaces the base. Relative text goes below it, with `..` stopping at the
    /// root. On Windows `\x` keeps drive or share and `C:x` works on the drive it names only.
    pub fn join(&self, native_text: &str) -> Result<PathUri, PathUriError> {
        if native_text.is_empty() {
            return Ok(self.clone());
        }
        if native_text.len() > MAX_URI_BYTES {
            return Err(PathUriError::too_long("the text is longer than 32 KiB"));
        }
        if let Some(at) = native_text.find('\0') {
            return Err(PathUriError::new(
                Kind::InvalidFileUriPath,
                "the text contains a NUL byte",
            )
            .at(at));
        }
        match self.convention() {
            Some(Convention::Windows) => windows::join(self, native_text),
            Some(Convention::Posix) if native_text.starts_with('/') => {
                Self::from_native(native_text, Convention::Posix)
            }
            Some(Convention::Posix) if !self.is_opaque() => posix::join_relative(self, native_text),
            _ => Err(PathUriError::new(
                Kind::InvalidFileUriPath,
                "nothing can be joined to an opaque path",
            )),
        }
    }

    /// Joins text that must stay below this path.
    ///
    /// Refuses rooted text, drives and alternate streams even when they would lead back here.
    /// Inner `..` is fine as long as the result is inside.
    pub fn join_descendant(&self, native_text: &str) -> Result<PathUri, PathUriError> {
        let escapes = || {
            PathUriError::new(
                Kind::JoinPathMustBeDescendant,
                format!("the path must stay below '{self}'"),
            )
        };
        let windows = self.convention() == Some(Convention::Windows);
        let rooted = native_text.starts_with('/') || windows && native_text.starts_with('\\');
        if rooted || windows && native_text.contains(':') {
            return Err(escapes());
        }
        let joined = self.join(native_text)?;
        if self.contains(&joined) {
            Ok(joined)
        } else {
            Err(escapes())
        }
    }

    /// The path one level up; none at a root and for opaque paths. Extra slashes are no level.
    pub fn parent(&self) -> Option<PathUri> {
        if self.is_opaque() {
            return None;
        }
        let mut out = self.trunk().to_owned();
        if out.len() <= self.root_end() {
            return None;
        }
        crate::native::pop(&mut out, self.root_end());
        PathUri::seal(out.into()).ok()
    }

    /// This path, its parent, and so on up to the root.
    pub fn ancestors(&self) -> impl Iterator<Item = PathUri> {
        std::iter::successors(Some(self.clone()), PathUri::parent)
    }

    /// The last name, decoded; none at a root and for opaque paths.
    ///
    /// This is the name itself, to compare and to join. A name that is not UTF-8 or hides a
    /// separator is returned in its URI spelling. To show it, see [`PathUri::display_name`].
    pub fn file_name(&self) -> Option<String> {
        let convention = self.convention()?;
        Some(self.last()?.text(convention).into_owned())
    }

    /// The last name as people and models should see it: in URI spelling when it contains
    /// characters that would change how the text around it looks.
    pub fn display_name(&self) -> Option<String> {
        let name = self.file_name()?;
        match name.contains(crate::native::is_deceptive) {
            true => self.last().map(|segment| segment.encoded().to_owned()),
            false => Some(name),
        }
    }

    /// What follows the last dot of the name; none for `.hidden` and `plain`.
    pub fn extension(&self) -> Option<String> {
        let name = self.file_name()?;
        split_extension(&name).1.map(str::to_owned)
    }

    /// The name without its extension.
    pub fn stem(&self) -> Option<String> {
        let name = self.file_name()?;
        Some(split_extension(&name).0.to_owned())
    }

    /// How many names lie between the top and here, drive and share included; none when that
    /// cannot be told (opaque paths, encoded separators).
    pub fn depth(&self) -> Option<usize> {
        (!self.is_opaque() && !self.has(Flags::ENCODED_SEPARATOR)).then(|| self.segments().count())
    }

    fn last(&self) -> Option<crate::Segment<'_>> {
        crate::segment::segments(self.below_root()).next_back()
    }

    /// The URI up to the end of its root, without a slash after it.
    pub(crate) fn root(&self) -> &str {
        self.as_str().get(..self.root_end()).unwrap_or_default()
    }

    /// The URI without the slashes at its end, down to its bare root.
    pub(crate) fn trunk(&self) -> &str {
        let below = self.below_root().trim_end_matches('/').len();
        self.as_str()
            .get(..self.root_end() + below)
            .unwrap_or_default()
    }

    pub(crate) fn is_windows(&self) -> bool {
        matches!(self.kind(), uri::Kind::Drive | uri::Kind::Unc)
    }
}

/// Splits at the last dot that is neither first nor alone, as `std::path` does.
fn split_extension(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, Some(extension)),
        _ => (name, None),
    }
}
