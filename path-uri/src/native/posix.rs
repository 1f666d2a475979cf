//! POSIX path bytes. Names are bytes, the separator is `/`, and a tilde is an ordinary name.

use std::borrow::Cow;

use super::Trailing;
use crate::convention::drive_letter;
use crate::error::{PathUriError, PathUriErrorKind as Kind};
use crate::uri::{MAX_URI_BYTES, PREFIX, PathUri};
use crate::{opaque, percent};

/// Reads an absolute path.
pub(crate) fn absolute(bytes: &[u8], trailing: Trailing) -> Result<PathUri, PathUriError> {
    if bytes.first() != Some(&b'/') {
        let error = match trailing {
            Trailing::Kept => {
                PathUriError::new(Kind::InvalidNativePath, "not an absolute POSIX path")
            }
            Trailing::Dropped => PathUriError::new(Kind::NotAbsolute, "the path is not absolute"),
        };
        return Err(error.at(0).hint("an absolute POSIX path starts with /"));
    }
    if bytes.len() > MAX_URI_BYTES {
        return Err(PathUriError::too_long("the path is longer than 32 KiB"));
    }
    let mut names = Vec::new();
    apply(&mut names, bytes);
    let slash = trailing == Trailing::Kept && bytes.ends_with(b"/");
    build(&names, slash)
}

/// Walks the components of `text` from where `names` stand; `..` stops at the root.
fn apply<'a>(names: &mut Vec<&'a [u8]>, text: &'a [u8]) {
    for name in text.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
}

fn build(names: &[&[u8]], slash: bool) -> Result<PathUri, PathUriError> {
    // A name like `C:` at the root would be read as a drive, and no URI carries NUL.
    let misread = names
        .first()
        .is_some_and(|first| drive_letter(first).is_some() && first.len() == 2);
    if misread || names.iter().any(|name| name.contains(&0)) {
        let mut bytes = Vec::new();
        for name in names {
            bytes.push(b'/');
            bytes.extend_from_slice(name);
        }
        return opaque::wrap_posix(&bytes);
    }
    let len: usize = names.iter().map(|name| name.len() + 1).sum();
    let mut out = String::with_capacity(PREFIX.len() + len + len / 8 + 1);
    out.push_str(PREFIX);
    for name in names {
        out.push('/');
        percent::encode_into(&mut out, name);
    }
    if slash || names.is_empty() {
        out.push('/');
    }
    PathUri::seal(Cow::Owned(out))
}

/// Joins relative text; the base is a plain POSIX URI.
pub(crate) fn join_relative(base: &PathUri, text: &str) -> Result<PathUri, PathUriError> {
    let mut out = String::with_capacity(base.as_str().len() + text.len() + text.len() / 8 + 1);
    out.push_str(base.trunk());
    let root = base.root_end();
    for name in text.split('/') {
        match name {
            "" | "." => {}
            ".." => super::pop(&mut out, root),
            name => {
                out.push('/');
                percent::encode_into(&mut out, name.as_bytes());
            }
        }
    }
    let below = out.get(root..).unwrap_or_default();
    let first = below.split('/').nth(1).unwrap_or_default();
    if drive_letter(first.as_bytes()).is_some() {
        // At the root a drive-shaped name has no URI of its own.
        return opaque::wrap_posix(&percent::decode(below));
    }
    PathUri::seal(Cow::Owned(out))
}
