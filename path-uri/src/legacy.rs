//! Native path strings as an older client API still carries them.
//!
//! They are any text, believed only when they are used: on receipt nothing is checked, because a
//! string may be meant for another machine than the one that reads it.

use serde::{Deserialize, Serialize};

use crate::convention::Convention;
use crate::error::{PathUriError, PathUriErrorKind as Kind};
use crate::native::is_deceptive;
use crate::native::windows::{Shape, shape};
use crate::uri::PathUri;

/// Native path text of unknown convention, not validated until it is resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LegacyPath(String);

impl LegacyPath {
    /// Takes the text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The convention that the text shows by itself. A working directory has to show one:
    /// without, it is not absolute in either syntax.
    pub fn convention(&self) -> Option<Convention> {
        Convention::infer_native(&self.0)
    }

    /// The path it names, when it is absolute in the convention it shows.
    pub fn to_uri(&self) -> Option<PathUri> {
        PathUri::from_native(&self.0, self.convention()?).ok()
    }

    /// The spelling to show: normalised where it is absolute, else the text with every character
    /// escaped that would change how the text around it looks.
    pub fn render_for_ui(&self) -> String {
        match self.to_uri() {
            Some(uri) => uri.display_native(),
            None => self.0.chars().fold(String::new(), |mut out, c| {
                match is_deceptive(c) {
                    true => out.extend(c.escape_unicode()),
                    false => out.push(c),
                }
                out
            }),
        }
    }

    /// What the text means in `cwd`, for an executor whose home directory is `home`.
    pub fn resolve(&self, cwd: &PathUri, home: Option<&PathUri>) -> Result<PathUri, PathUriError> {
        let convention = cwd.convention().ok_or_else(|| {
            PathUriError::new(
                Kind::MissingBaseConvention,
                format!("the working directory '{cwd}' shows no convention"),
            )
        })?;
        if let Some(rest) = self.below_home(convention) {
            let home = home.ok_or_else(|| {
                PathUriError::new(
                    Kind::MissingHomeDirectory,
                    "the executor did not tell its home directory",
                )
                .at(0)
            })?;
            if home.convention() != Some(convention) {
                return Err(mismatch(convention));
            }
            if convention == Convention::Windows && shape(rest) != Shape::Relative {
                return Err(PathUriError::new(
                    Kind::InvalidNativePath,
                    "the text after ~ is not relative",
                )
                .at(1));
            }
            return home.join(rest);
        }
        if convention == Convention::Posix && self.convention() == Some(Convention::Windows) {
            return Err(mismatch(convention));
        }
        cwd.join(&self.0)
    }

    /// As [`LegacyPath::resolve`], for a path in a deny rule: a text that could be read in two
    /// ways is refused, because a rule that misses its file is worse than none.
    pub fn resolve_for_deny(
        &self,
        cwd: &PathUri,
        home: Option<&PathUri>,
    ) -> Result<PathUri, PathUriError> {
        let ambiguous = |why| Err(PathUriError::new(Kind::InvalidNativePath, why));
        if matches!(
            self.0.as_bytes(),
            [b'~', b'/', b'\\', ..] | [b'~', b'\\', b'/', ..]
        ) {
            return ambiguous("mixed separators after ~");
        }
        let windows = cwd.convention() == Some(Convention::Windows);
        if windows && matches!(shape(&self.0), Shape::DriveRelative { .. }) {
            return ambiguous("a drive without a separator depends on where that drive stands");
        }
        let uri = self.resolve(cwd, home)?;
        if !uri.has_components() {
            return ambiguous("the path has no faithful spelling");
        }
        let root = usize::from(uri.drive_letter().is_some());
        let coloned = uri
            .segments()
            .skip(root)
            .any(|name| name.decoded().contains(&b':'));
        if windows && coloned {
            return ambiguous("a colon in a name");
        }
        Ok(uri)
    }

    /// The text behind `~/`, without the separators in front; none when `~` is not the home.
    fn below_home(&self, convention: Convention) -> Option<&str> {
        let rest = self.0.strip_prefix('~')?;
        let separates = |c: char| u8::try_from(c).is_ok_and(|byte| convention.separates(byte));
        (rest.is_empty() || rest.starts_with(separates)).then(|| rest.trim_start_matches(separates))
    }
}

fn mismatch(wanted: Convention) -> PathUriError {
    PathUriError::new(
        Kind::MismatchedConvention,
        format!("the text is not a {wanted} path, but the working directory is"),
    )
}
