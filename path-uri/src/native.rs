//! Between URIs and the native text of either convention, whatever this machine is.
//!
//! Text is for people, models and shells. What a system call gets is made in `host`, by stricter
//! rules.

pub(crate) mod posix;
pub(crate) mod windows;

use crate::convention::Convention;
use crate::error::{PathUriError, PathUriErrorKind as Kind};
use crate::opaque;
use crate::uri::{self, PathUri};

impl PathUri {
    /// Reads an absolute native path of the given convention.
    ///
    /// Dot segments are resolved lexically and doubled separators vanish; a trailing separator is
    /// kept. Paths without a faithful URI become opaque.
    pub fn from_native(text: &str, convention: Convention) -> Result<PathUri, PathUriError> {
        match convention {
            Convention::Posix => posix::absolute(text.as_bytes(), Trailing::Kept),
            Convention::Windows => windows::absolute(text, Trailing::Kept),
        }
    }

    /// The native text in the given convention.
    ///
    /// A name that would mislead (bytes that are not UTF-8, an encoded separator) stays in its
    /// URI spelling. The result is text to read; [`PathUri::to_host`] is what to open.
    pub fn to_native(&self, convention: Convention) -> Result<String, PathUriError> {
        if self.is_opaque() {
            return self.opaque_text(convention);
        }
        let mut out = match convention {
            Convention::Posix => self.posix_root(),
            Convention::Windows => self.windows_root(),
        }
        .ok_or_else(|| {
            let detail = format!("'{self}' has no spelling as a {convention} path");
            PathUriError::new(Kind::IncompatibleConvention, detail)
        })?;
        let roots = match convention {
            Convention::Posix => 0,
            Convention::Windows => 1,
        };
        let separator = convention.separator();
        for segment in self.segments().skip(roots) {
            if !out.ends_with(separator) {
                out.push(separator);
            }
            out.push_str(&segment.text(convention));
        }
        if self.as_str().ends_with('/') && !out.ends_with(separator) {
            out.push(separator);
        }
        Ok(out)
    }

    /// The spelling for people and models.
    ///
    /// Native text where it is safe to look at and reads back as this very value; the URI, in
    /// which everything odd is escaped, where it is not: control and direction-changing
    /// characters, bytes that are not UTF-8, hidden separators, a second spelling of one path.
    pub fn display_native(&self) -> String {
        let text = self.convention().and_then(|convention| {
            let text = self.to_native(convention).ok()?;
            let same = PathUri::from_native(&text, convention).is_ok_and(|back| back == *self);
            (same && !text.contains(is_deceptive)).then_some(text)
        });
        text.unwrap_or_else(|| self.as_str().to_owned())
    }

    fn posix_root(&self) -> Option<String> {
        self.host().is_none().then(|| "/".to_owned())
    }

    fn windows_root(&self) -> Option<String> {
        match self.kind() {
            uri::Kind::Drive => {
                let letter = self.drive_letter()?;
                Some(format!("{}:\\", char::from(letter)))
            }
            // An IPv6 literal has no place in a share's name.
            uri::Kind::Unc => {
                let host = self.host().filter(|host| !host.starts_with('['))?;
                let share = self.segments().next()?;
                Some(format!("\\\\{host}\\{}", share.text(Convention::Windows)))
            }
            uri::Kind::Posix | uri::Kind::Opaque => None,
        }
    }

    fn opaque_text(&self, convention: Convention) -> Result<String, PathUriError> {
        let text = match convention {
            _ if self.convention() != Some(convention) => None,
            Convention::Posix => {
                opaque::payload(self).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            }
            Convention::Windows => {
                opaque::units(self).map(|units| String::from_utf16_lossy(&units))
            }
        };
        text.ok_or_else(|| {
            let detail = format!("'{self}' does not hold an absolute {convention} path");
            PathUriError::new(Kind::OpaqueFallback, detail)
        })
    }
}

/// What becomes of a separator at the end of absolute text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trailing {
    /// Text keeps it, as peers do.
    Kept,
    /// A host path names the same thing without it.
    Dropped,
}

/// Removes the last name below `root`, and the slashes before it; at the root it does nothing.
pub(crate) fn pop(out: &mut String, root: usize) {
    let below = out.get(root..).unwrap_or_default();
    let kept = below.rfind('/').map_or(0, |slash| {
        below
            .get(..slash)
            .unwrap_or_default()
            .trim_end_matches('/')
            .len()
    });
    out.truncate(root + kept);
}

/// Characters that change how the text around them looks.
pub(crate) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}
