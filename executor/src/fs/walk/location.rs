//! The URI of a directory, as the beginning of its entries' URIs.
//!
//! A walk has thousands of entries in few directories, so the part they share is made once and the
//! rest is the escaped name. That this yields what `PathUri` would say is a property test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use farstep_path_uri::PathUri;

use crate::os::files;

/// Where a directory is.
#[derive(Debug)]
pub(super) enum Location {
    /// The URI without a slash at its end; the escaped name of an entry follows after one.
    Ordinary(String),
    /// No ordinary URI spells this path, nor any below it. Each needs one of its own.
    Opaque(PathBuf),
}

/// Whether what was appended follows the directory's URI or stands for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    Name,
    WholeUri,
}

/// The URI of the root directory without its slash.
const ROOT: &str = "file://";

impl Location {
    pub(super) fn of(path: &Path) -> Location {
        match PathUri::from_host(path) {
            Ok(uri) if !uri.is_opaque() => {
                Location::Ordinary(without_slash(uri.as_str()).to_owned())
            }
            _ => Location::Opaque(path.to_path_buf()),
        }
    }

    /// Appends the directory's own URI.
    pub(super) fn push_uri(&self, out: &mut String) {
        match self {
            Location::Ordinary(uri) => {
                out.push_str(uri);
                // Of a root the slash is a part.
                if uri == ROOT || is_drive(uri) {
                    out.push('/');
                }
            }
            Location::Opaque(path) => push_whole(out, path),
        }
    }

    /// Appends what tells an entry of this directory from the others.
    pub(super) fn push_entry(&self, name: &OsStr, out: &mut String) -> Spelling {
        match self {
            Location::Ordinary(uri) if !self.spells(name) => {
                push_whole(out, &path_of(uri).join(name));
                Spelling::WholeUri
            }
            Location::Ordinary(_) => {
                push_escaped(out, name.as_encoded_bytes());
                Spelling::Name
            }
            Location::Opaque(path) => {
                push_whole(out, &path.join(name));
                Spelling::WholeUri
            }
        }
    }

    /// Whether the escaped name says what the name is.
    fn spells(&self, name: &OsStr) -> bool {
        let is_text = files::NAMES_ARE_BYTES || name.to_str().is_some();
        let at_root = matches!(self, Location::Ordinary(uri) if uri == ROOT);
        is_text && !(at_root && looks_like_a_drive(name))
    }

    /// The location of a directory in this one.
    pub(super) fn child(&self, name: &OsStr) -> Location {
        match self {
            Location::Ordinary(uri) if !self.spells(name) => {
                Location::Opaque(path_of(uri).join(name))
            }
            Location::Ordinary(uri) => {
                let mut uri = format!("{uri}/");
                push_escaped(&mut uri, name.as_encoded_bytes());
                Location::Ordinary(uri)
            }
            Location::Opaque(path) => Location::Opaque(path.join(name)),
        }
    }
}

/// The path that has this URI, without a slash at its end.
fn path_of(uri: &str) -> PathBuf {
    let whole = if uri == ROOT || is_drive(uri) {
        PathUri::parse(&format!("{uri}/"))
    } else {
        PathUri::parse(uri)
    };
    // It was made of a path of this machine.
    whole
        .ok()
        .and_then(|uri| uri.to_host().ok())
        .unwrap_or_default()
}

fn is_drive(uri: &str) -> bool {
    uri.strip_prefix("file:///")
        .is_some_and(|name| looks_like_a_drive(OsStr::new(name)))
}

fn without_slash(uri: &str) -> &str {
    uri.strip_suffix('/').unwrap_or(uri)
}

fn push_whole(out: &mut String, path: &Path) {
    match PathUri::from_host(path) {
        Ok(uri) => out.push_str(uri.as_str()),
        // Only a path longer than any that can be opened; the nearest that can be said of it.
        Err(_) => push_escaped(out, path.as_os_str().as_encoded_bytes()),
    }
}

/// A first segment like this makes a URI a Windows path.
fn looks_like_a_drive(name: &OsStr) -> bool {
    matches!(name.as_encoded_bytes(), [letter, b':'] if letter.is_ascii_alphabetic())
}

fn push_escaped(out: &mut String, name: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    for piece in name.chunk_by(|&a, &b| is_literal(a) && is_literal(b)) {
        match (piece, std::str::from_utf8(piece)) {
            (&[first, ..], Ok(literal)) if is_literal(first) => out.push_str(literal),
            _ => {
                for &byte in piece {
                    out.push('%');
                    out.push(digit(byte >> 4));
                    out.push(digit(byte));
                }
            }
        }
    }
}

/// Whether a byte stands for itself in a segment.
fn is_literal(byte: u8) -> bool {
    const LITERAL: [bool; 256] = literal_bytes();
    LITERAL[usize::from(byte)]
}

const fn literal_bytes() -> [bool; 256] {
    let mut literal = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        literal[byte as usize] = !matches!(
            byte,
            b'"' | b'#' | b'%' | b'/' | b'<' | b'>' | b'?' | b'\\' | b'`' | b'{' | b'}'
        );
        byte += 1;
    }
    literal
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    fn uri_of_entry(directory: &Path, name: &OsStr) -> String {
        let location = Location::of(directory);
        let mut text = String::new();
        let spelling = location.push_entry(name, &mut text);
        let mut whole = String::new();
        location.child(name).push_uri(&mut whole);
        match (&location, spelling) {
            (Location::Ordinary(uri), Spelling::Name) => assert_eq!(format!("{uri}/{text}"), whole),
            _ => assert_eq!(text, whole),
        }
        whole
    }

    fn segment() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            any::<u8>(),
            prop::sample::select(b"aC:%/\\\t\n .#?|".to_vec())
        ];
        prop::collection::vec(byte, 1..6).prop_filter("a name", |name| {
            !name.contains(&0) && !name.contains(&b'/') && name != b"." && name != b".."
        })
    }

    proptest! {
        #[test]
        fn an_entry_is_spelled_as_a_path_uri_would_be(
            directory in prop::collection::vec(segment(), 0..3),
            name in segment(),
        ) {
            let directory = Path::new("/").join(OsStr::from_bytes(&directory.join(&b'/')));
            let name = OsStr::from_bytes(&name);
            let expected = PathUri::from_host(&directory.join(name)).unwrap();
            prop_assert_eq!(uri_of_entry(&directory, name), expected.as_str());
        }
    }

    #[test]
    fn a_drive_at_the_root_is_opaque_and_so_is_all_below_it() {
        let below = uri_of_entry(Path::new("/C:"), "zz".as_ref());
        assert_eq!(below, "file:///%00/bad/path/L0M6L3p6");
        assert!(uri_of_entry(Path::new("/"), "C:".as_ref()).starts_with("file:///%00/bad/path/"));
        assert_eq!(uri_of_entry(Path::new("/a"), "C:".as_ref()), "file:///a/C:");
    }
}
