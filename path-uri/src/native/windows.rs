//! Windows path text and UTF-16 units: drives, shares, and the namespaces that are neither.

use std::borrow::Cow;

use super::Trailing;
use crate::error::{PathUriError, PathUriErrorKind as Kind};
use crate::uri::{MAX_URI_BYTES, PREFIX, PathUri};
use crate::{authority, opaque, percent};

/// What the beginning of a Windows path says about the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape<'a> {
    /// `C:\rest`, also behind `\\?\` or `\\.\`.
    Drive { letter: u8, rest: &'a str },
    /// `\\server\share` and what follows, also behind `\\?\UNC\`.
    Share {
        server: &'a str,
        share: &'a str,
        rest: &'a str,
    },
    /// Any other device or verbatim name; `name` is what follows the namespace.
    Device { name: &'a str },
    /// Two separators, but no share; or a namespace with nothing in it; or `\??\`.
    Incomplete,
    /// `C:rest`: relative to wherever that drive stands.
    DriveRelative { letter: u8, rest: &'a str },
    /// `\rest`: relative to the current drive or share.
    RootRelative { rest: &'a str },
    /// Plain names.
    Relative,
}

fn is_separator(c: char) -> bool {
    matches!(c, '\\' | '/')
}

/// Cuts the first component off; the rest starts behind the separator.
fn component(text: &str) -> (&str, Option<&str>) {
    match text.split_once(is_separator) {
        Some((first, rest)) => (first, Some(rest)),
        None => (text, None),
    }
}

/// Reads the drive letter that `text` starts with.
fn drive(text: &str) -> Option<(u8, &str)> {
    let letter = *text.as_bytes().first()?;
    let rest = text.get(1..)?.strip_prefix(':')?;
    letter.is_ascii_alphabetic().then_some((letter, rest))
}

pub(crate) fn shape(text: &str) -> Shape<'_> {
    if let Some((letter, rest)) = drive(text) {
        return match rest.strip_prefix(is_separator) {
            Some(rest) => Shape::Drive { letter, rest },
            None => Shape::DriveRelative { letter, rest },
        };
    }
    let Some(rest) = text.strip_prefix(is_separator) else {
        return Shape::Relative;
    };
    let Some(after) = rest.strip_prefix(is_separator) else {
        // `\??\` is the kernel's own spelling of `\\?\`, not a folder called `??`.
        return match component(rest) {
            ("??", _) => Shape::Incomplete,
            _ => Shape::RootRelative { rest },
        };
    };
    match component(after) {
        ("?" | ".", Some(rest)) => namespace(rest),
        _ => share(after),
    }
}

/// What follows `\\?\` or `\\.\`.
fn namespace(rest: &str) -> Shape<'_> {
    // Without the separator, `\\.\C:` is the volume itself and not its root folder.
    if let Some((letter, rest)) = drive(rest)
        && let Some(rest) = rest.strip_prefix(is_separator)
    {
        return Shape::Drive { letter, rest };
    }
    match component(rest) {
        ("" | "." | "..", _) => Shape::Incomplete,
        (unc, Some(rest)) if unc.eq_ignore_ascii_case("UNC") => share(rest),
        _ => Shape::Device { name: rest },
    }
}

fn share(text: &str) -> Shape<'_> {
    let (server, rest) = component(text);
    let (share, rest) = component(rest.unwrap_or_default());
    match (server, share) {
        ("" | "." | "..", _) | (_, "" | "." | "..") => Shape::Incomplete,
        _ => Shape::Share {
            server,
            share,
            rest: rest.unwrap_or_default(),
        },
    }
}

/// Reads an absolute path.
pub(crate) fn absolute(text: &str, trailing: Trailing) -> Result<PathUri, PathUriError> {
    if text.len() > MAX_URI_BYTES {
        return Err(PathUriError::too_long("the path is longer than 32 KiB"));
    }
    match root(text)? {
        None => Err(relative(trailing)),
        Some(Root::Opaque) => wrap(text, trailing),
        Some(Root::Uri { root, rest }) => {
            let mut out = root;
            let end = out.len();
            out.reserve(rest.len() + rest.len() / 8 + 2);
            extend(&mut out, end, rest);
            let slashed = trailing == Trailing::Kept && text.ends_with(is_separator);
            if slashed && !out.ends_with('/') {
                out.push('/');
            }
            PathUri::seal(Cow::Owned(out))
        }
    }
}

pub(crate) enum Root<'a> {
    /// The URI of the root, without a slash at the end, and the text below it.
    Uri { root: String, rest: &'a str },
    /// Absolute, but only the opaque form carries it.
    Opaque,
}

/// The root that absolute text names; none for text that depends on a base.
fn root(text: &str) -> Result<Option<Root<'_>>, PathUriError> {
    let found = match shape(text) {
        Shape::DriveRelative { .. } | Shape::RootRelative { .. } | Shape::Relative => {
            return Ok(None);
        }
        Shape::Incomplete => {
            let error = PathUriError::new(
                Kind::InvalidNativePath,
                "an incomplete network or device path",
            );
            return Err(error.at(0).hint(r"a network path is \\server\share\..."));
        }
        Shape::Device { .. } => Root::Opaque,
        _ if text.contains('\0') => Root::Opaque,
        Shape::Drive { letter, rest } => {
            let root = format!("{PREFIX}/{}:", char::from(letter.to_ascii_uppercase()));
            Root::Uri { root, rest }
        }
        Shape::Share {
            server,
            share,
            rest,
        } => match authority::from_native(server) {
            // A share like `C:` would make URL parsers forget the server.
            Some(host) if !is_drive_like(share) => {
                let mut root = format!("{PREFIX}{host}/");
                percent::encode_into(&mut root, share.as_bytes());
                Root::Uri { root, rest }
            }
            _ => Root::Opaque,
        },
    };
    Ok(Some(found))
}

fn is_drive_like(share: &str) -> bool {
    matches!(share.as_bytes(), [letter, b':' | b'|'] if letter.is_ascii_alphabetic())
}

/// Walks the components of `text` below the root that ends at `end`.
fn extend(out: &mut String, end: usize, text: &str) {
    for name in text.split(is_separator) {
        match name {
            "" | "." => {}
            ".." => super::pop(out, end),
            name => {
                out.push('/');
                percent::encode_into(out, name.as_bytes());
            }
        }
    }
}

fn wrap(text: &str, trailing: Trailing) -> Result<PathUri, PathUriError> {
    let mut text = text.replace('/', "\\");
    // The system spells the device itself with a separator at its end. Not so where that would name
    // something else: `\\.\C:` is a volume and `\\.\C:\` its root folder.
    if trailing == Trailing::Dropped && is_bare_device(&text) {
        let spelled = format!("{text}\\");
        if matches!(shape(&spelled), Shape::Device { .. }) {
            text = spelled;
        }
    }
    opaque::wrap_windows(text.encode_utf16())
}

fn is_bare_device(text: &str) -> bool {
    matches!(shape(text), Shape::Device { name } if !name.contains('\\'))
}

fn relative(trailing: Trailing) -> PathUriError {
    let (kind, detail) = match trailing {
        Trailing::Kept => (Kind::InvalidNativePath, "not an absolute Windows path"),
        Trailing::Dropped => (Kind::NotAbsolute, "the path is not absolute"),
    };
    PathUriError::new(kind, detail)
        .at(0)
        .hint(r"an absolute Windows path starts with C:\ or \\server\share")
}

/// Joins text to a Windows base: absolute text replaces it, the rest goes below it.
pub(crate) fn join(base: &PathUri, text: &str) -> Result<PathUri, PathUriError> {
    let misfit = |detail| PathUriError::new(Kind::InvalidFileUriPath, detail).at(0);
    let (from, rest) = match shape(text) {
        Shape::Drive { .. } | Shape::Share { .. } | Shape::Device { .. } | Shape::Incomplete => {
            return absolute(text, Trailing::Kept);
        }
        _ if base.is_opaque() => return Err(misfit("nothing can be joined to an opaque path")),
        _ if base.is_shareless() => return Err(misfit("a server without a share has no folders")),
        Shape::DriveRelative { letter, rest } => {
            let same = base
                .drive_letter()
                .is_some_and(|drive| drive.eq_ignore_ascii_case(&letter));
            if !same {
                return Err(misfit("text relative to another drive"));
            }
            (base.trunk(), rest)
        }
        Shape::RootRelative { rest } => (base.root(), rest),
        Shape::Relative => (base.trunk(), text),
    };
    let mut out = String::with_capacity(from.len() + rest.len() + rest.len() / 8 + 2);
    out.push_str(from);
    extend(&mut out, base.root_end(), rest);
    PathUri::seal(Cow::Owned(out))
}

/// Reads a host path in its own units.
pub(crate) fn from_units(units: &[u16]) -> Result<PathUri, PathUriError> {
    if units.len() > MAX_URI_BYTES {
        return Err(PathUriError::too_long("the path is longer than 32 KiB"));
    }
    match String::from_utf16(units) {
        Ok(text) => absolute(&text, Trailing::Dropped),
        // Half a surrogate pair has no text, hence no URI; what the path is can still be told.
        Err(_) => match root(&String::from_utf16_lossy(units))? {
            None => Err(relative(Trailing::Dropped)),
            Some(_) => opaque::wrap_windows(units.iter().map(|&unit| match unit {
                0x2f => 0x5c,
                unit => unit,
            })),
        },
    }
}
