//! The value itself: one shared string and what a single look at it revealed.
//!
//! Every `PathUri` is made by [`PathUri::seal`], so its invariants live in one place: canonical
//! ASCII text, bounded, no dot segments, no NUL outside the opaque namespace.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::convention::{Convention, drive_letter};
use crate::error::{PathUriError, PathUriErrorKind};
use crate::segment::{Segment, segments};
use crate::{opaque, parse, percent};

/// The longest URI we carry, in bytes. Linux paths end at 4 KiB and Windows paths at 32 Ki units,
/// so a longer one is a mistake or an attack; it is refused, never cut.
pub const MAX_URI_BYTES: usize = 32 * 1024;

/// The deepest path we carry. It bounds every walk along a path; deeper ones are refused.
pub const MAX_SEGMENTS: usize = 4096;

/// What every canonical URI starts with.
pub(crate) const PREFIX: &str = "file://";

/// An absolute location inside one executor, as a canonical `file:` URI.
///
/// Equality is what peers call equal: exact for POSIX and opaque URIs, ignoring ASCII case and
/// percent spelling for Windows ones. For "the same place" see [`PathUri::same_location`].
#[derive(Clone)]
pub struct PathUri {
    text: Arc<str>,
    /// Where the root (`file://`, the drive, or server and share) stops.
    root_end: u16,
    kind: Kind,
    flags: Flags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Posix,
    Drive,
    Unc,
    Opaque,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(u8);

impl Flags {
    pub(crate) const NONE: Flags = Flags(0);
    /// The text ends with a slash that is not the root's.
    pub(crate) const TRAILING_SLASH: Flags = Flags(1);
    /// Some segment decodes to something its convention reads as a separator.
    pub(crate) const ENCODED_SEPARATOR: Flags = Flags(2);
    /// Some segment does not decode to UTF-8.
    pub(crate) const NOT_UTF8: Flags = Flags(4);
    /// Some byte is escaped, so spelling and meaning differ.
    pub(crate) const ESCAPED: Flags = Flags(8);
    /// An opaque payload that is a POSIX path.
    pub(crate) const OPAQUE_POSIX: Flags = Flags(16);
    /// An opaque payload that is a Windows path.
    pub(crate) const OPAQUE_WINDOWS: Flags = Flags(32);

    pub(crate) fn set(&mut self, other: Flags) {
        self.0 |= other.0;
    }

    fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}

impl PathUri {
    /// Reads a URI from the wire, accepting every spelling a peer may send.
    pub fn parse(text: &str) -> Result<PathUri, PathUriError> {
        parse::parse(text, parse::Mode::Lenient)
    }

    /// Reads a URI that a person, a model or a configuration file wrote.
    ///
    /// Refuses what is almost certainly a mistake there: blanks around it, backslashes, broken
    /// escapes, encoded separators, opaque URIs. Both modes give the same value for the same text.
    pub fn parse_strict(text: &str) -> Result<PathUri, PathUriError> {
        parse::parse(text, parse::Mode::Strict)
    }

    /// The canonical URI.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path rules it follows; none for an opaque payload that shows neither.
    pub fn convention(&self) -> Option<Convention> {
        match self.kind {
            Kind::Posix => Some(Convention::Posix),
            Kind::Drive | Kind::Unc => Some(Convention::Windows),
            Kind::Opaque if self.flags.has(Flags::OPAQUE_POSIX) => Some(Convention::Posix),
            Kind::Opaque if self.flags.has(Flags::OPAQUE_WINDOWS) => Some(Convention::Windows),
            Kind::Opaque => None,
        }
    }

    /// Whether it wraps bytes that have no faithful URI spelling. Such a value is an atom.
    pub fn is_opaque(&self) -> bool {
        self.kind == Kind::Opaque
    }

    /// The server of a Windows share.
    pub fn host(&self) -> Option<&str> {
        let (host, _) = self.after_prefix().split_once('/')?;
        (!host.is_empty()).then_some(host)
    }

    /// The path in its URI spelling, from the first slash on.
    pub fn encoded_path(&self) -> &str {
        let after = self.after_prefix();
        after
            .find('/')
            .and_then(|slash| after.get(slash..))
            .unwrap_or_default()
    }

    /// The non-empty segments, drive or share first; none for opaque URIs.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = Segment<'_>> + Clone {
        segments(if self.is_opaque() {
            ""
        } else {
            self.encoded_path()
        })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn has(&self, flags: Flags) -> bool {
        self.flags.has(flags)
    }

    pub(crate) fn root_end(&self) -> usize {
        usize::from(self.root_end)
    }

    /// What follows the root: nothing, or a slash and more.
    pub(crate) fn below_root(&self) -> &str {
        self.text.get(self.root_end()..).unwrap_or_default()
    }

    /// Whether it names a server and no share, which no system call understands.
    pub(crate) fn is_shareless(&self) -> bool {
        self.kind == Kind::Unc && self.segments().next().is_none()
    }

    pub(crate) fn drive_letter(&self) -> Option<u8> {
        let first = self
            .segments()
            .next()
            .filter(|_| self.kind == Kind::Drive)?;
        first.drive_letter()
    }

    fn after_prefix(&self) -> &str {
        self.text.get(PREFIX.len()..).unwrap_or_default()
    }

    /// Turns nearly canonical text into a value.
    ///
    /// The caller has resolved dot segments and escaped what needs it, and promises ASCII that
    /// starts with `file://`. The last touches happen here: a drive letter is upper case, and a
    /// root that is not a share ends with a slash.
    pub(crate) fn seal(text: Cow<'_, str>) -> Result<PathUri, PathUriError> {
        let mut text = text;
        let after = text.get(PREFIX.len()..).unwrap_or_default();
        let host_end = PREFIX.len() + after.find('/').unwrap_or(after.len());
        if text.len() == host_end {
            text.to_mut().push('/');
        }
        let path = text.get(host_end..).unwrap_or_default();
        let first = segments(path).next().map_or("", Segment::encoded);
        let first_end = host_end + 1 + first.len();
        let drive = drive_letter(first.as_bytes());

        let (kind, root_end, mut flags) = if host_end > PREFIX.len() {
            if drive.is_some() && first.len() == 2 || is_bar_drive(first) {
                // Some parsers drop the server in front of a drive, which turns a remote path
                // into a local one.
                return Err(PathUriError::new(
                    PathUriErrorKind::InvalidUri,
                    "a drive cannot follow a server",
                )
                .at(host_end));
            }
            let root_end = if first.is_empty() {
                host_end
            } else {
                first_end
            };
            (Kind::Unc, root_end, Flags::NONE)
        } else if let Some(letter) = drive {
            if letter.is_ascii_lowercase() {
                let at = host_end + 1;
                let upper = char::from(letter.to_ascii_uppercase());
                text.to_mut()
                    .replace_range(at..=at, upper.encode_utf8(&mut [0; 4]));
            }
            if text.len() == first_end {
                text.to_mut().push('/');
            }
            (Kind::Drive, first_end, Flags::NONE)
        } else if let Some(payload) = path.strip_prefix(opaque::NAMESPACE) {
            let flags = opaque::classify(payload).ok_or_else(|| {
                PathUriError::new(
                    PathUriErrorKind::InvalidFileUriPath,
                    "the payload of an opaque path is not canonical base64",
                )
                .at(host_end)
            })?;
            (Kind::Opaque, text.len(), flags)
        } else {
            (Kind::Posix, host_end, Flags::NONE)
        };

        if text.len() > MAX_URI_BYTES {
            return Err(PathUriError::too_long("the URI is longer than 32 KiB"));
        }
        if kind != Kind::Opaque {
            let convention = match kind {
                Kind::Posix => Convention::Posix,
                _ => Convention::Windows,
            };
            survey(
                text.get(host_end..).unwrap_or_default(),
                convention,
                &mut flags,
            )
            .map_err(|error| match error.offset {
                Some(offset) => error.at(host_end + offset),
                None => error,
            })?;
            let below = text.get(root_end..).unwrap_or_default();
            if below.len() > 1 && below.ends_with('/')
                || kind == Kind::Unc && below == "/" && root_end > host_end
            {
                flags.set(Flags::TRAILING_SLASH);
            }
        }
        let root_end = u16::try_from(root_end)
            .map_err(|_| PathUriError::too_long("the root of the URI is too long"))?;
        Ok(PathUri {
            text: Arc::from(text),
            root_end,
            kind,
            flags,
        })
    }
}

/// Reads every segment once and notes what later operations must know.
fn survey(path: &str, convention: Convention, flags: &mut Flags) -> Result<(), PathUriError> {
    if path.bytes().filter(|&byte| byte == b'/').count() > MAX_SEGMENTS {
        return Err(PathUriError::too_long(
            "the path has more than 4096 segments",
        ));
    }
    if !path.contains('%') {
        return Ok(());
    }
    flags.set(Flags::ESCAPED);
    let mut start = 0;
    for piece in path.split('/') {
        if piece.contains('%') {
            let bytes = percent::decode(piece);
            if bytes.contains(&0) {
                return Err(PathUriError::new(
                    PathUriErrorKind::InvalidFileUriPath,
                    "the path contains a NUL byte",
                )
                .at(start));
            }
            if bytes.iter().any(|&byte| convention.separates(byte)) {
                flags.set(Flags::ENCODED_SEPARATOR);
            }
            if std::str::from_utf8(&bytes).is_err() {
                flags.set(Flags::NOT_UTF8);
            }
        }
        start += piece.len() + 1;
    }
    Ok(())
}

fn is_bar_drive(segment: &str) -> bool {
    matches!(segment.as_bytes(), [letter, b'|'] if letter.is_ascii_alphabetic())
}

impl fmt::Display for PathUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PathUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PathUri").field(&self.as_str()).finish()
    }
}

impl AsRef<str> for PathUri {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl FromStr for PathUri {
    type Err = PathUriError;

    /// As [`PathUri::parse`].
    fn from_str(text: &str) -> Result<Self, PathUriError> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for PathUri {
    type Error = PathUriError;

    /// As [`PathUri::parse`].
    fn try_from(text: &str) -> Result<Self, PathUriError> {
        Self::parse(text)
    }
}
