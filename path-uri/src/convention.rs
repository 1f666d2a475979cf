//! The two families of path rules, and how a text betrays which one it follows.
//!
//! Inference is a fallback. Where the executor is known, the platform it declared wins.

use std::fmt;

/// The path rules of one family of platforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Convention {
    /// One root, `/` between names, names are bytes.
    Posix,
    /// Drives and shares, `\` or `/` between names, names are UTF-16.
    Windows,
}

impl Convention {
    /// The convention that native text shows by itself, if it does.
    ///
    /// `/…` is POSIX (a double slash too); a drive with a separator and a leading `\\` are Windows.
    /// `C:`, `C:x`, `\x`, `~/x` and relative text could be either and have none.
    pub fn infer_native(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [b'/', ..] => Some(Self::Posix),
            [b'\\', b'\\', ..] => Some(Self::Windows),
            [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic() => Some(Self::Windows),
            _ => None,
        }
    }

    /// The name in configuration and test vectors: `posix` or `windows`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Posix => "posix",
            Self::Windows => "windows",
        }
    }

    /// The separator that this convention writes.
    pub const fn separator(self) -> char {
        match self {
            Self::Posix => '/',
            Self::Windows => '\\',
        }
    }

    /// Whether `byte` ends a component when this convention reads.
    pub(crate) const fn separates(self, byte: u8) -> bool {
        match self {
            Self::Posix => byte == b'/',
            Self::Windows => byte == b'/' || byte == b'\\',
        }
    }
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The letter of a URI segment shaped like a drive: `C:`, `C%3A` or `C%3a`.
pub(crate) fn drive_letter(segment: &[u8]) -> Option<u8> {
    match segment {
        [letter, b':'] | [letter, b'%', b'3', b'A' | b'a'] if letter.is_ascii_alphabetic() => {
            Some(*letter)
        }
        _ => None,
    }
}
