//! From URI text to the canonical form: the URL rules that matter for `file:`, and no others.
//!
//! One pass over the bytes, in two modes. Lenient is for the wire and accepts what peers accept;
//! strict is for what somebody typed. They differ in what they refuse, never in what they return.

use std::borrow::Cow;

use crate::convention::{Convention, drive_letter};
use crate::error::{PathUriError, PathUriErrorKind as Kind};
use crate::uri::{Flags, MAX_URI_BYTES, PREFIX, PathUri};
use crate::{authority, percent};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Lenient,
    Strict,
}

pub(crate) fn parse(text: &str, mode: Mode) -> Result<PathUri, PathUriError> {
    if text.len() > MAX_URI_BYTES {
        return Err(PathUriError::too_long("the URI is longer than 32 KiB"));
    }
    let uri = if is_canonical(text) {
        PathUri::seal(Cow::Borrowed(text))?
    } else {
        let input = Input::clean(text, mode)?;
        let canonical = canonicalise(&input.text, mode).map_err(|error| input.locate(error))?;
        // Offsets of the canonical text would point beside the trouble in the original.
        PathUri::seal(Cow::Owned(canonical)).map_err(|mut error| {
            error.offset = None;
            error
        })?
    };
    match mode {
        Mode::Lenient => Ok(uri),
        Mode::Strict => refuse_suspicious(uri),
    }
}

/// Whether `text` is what parsing it would give, drive letter and drive root aside. This is the
/// common case by far: peers send canonical URIs.
fn is_canonical(text: &str) -> bool {
    let Some(path) = text.strip_prefix("file:///") else {
        return false;
    };
    !path.starts_with('/')
        && path
            .split('/')
            .all(|piece| dots(piece) == Dots::None && is_spelled_well(piece))
}

fn is_spelled_well(piece: &str) -> bool {
    let mut rest = piece.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match tail {
            [high, low, tail @ ..]
                if byte == b'%' && percent::escape_value(*high, *low).is_some() =>
            {
                tail
            }
            _ if percent::is_literal(byte) => tail,
            _ => return false,
        };
    }
    true
}

/// The text with what URL parsers throw away thrown away, and the way back to the original.
struct Input<'a> {
    text: Cow<'a, str>,
    original: &'a str,
    lead: usize,
}

impl<'a> Input<'a> {
    fn clean(original: &'a str, mode: Mode) -> Result<Self, PathUriError> {
        let trimmed = original.trim_start_matches(is_blank);
        let lead = original.len() - trimmed.len();
        let trimmed = trimmed.trim_end_matches(is_blank);
        if mode == Mode::Strict {
            if trimmed.len() != original.len() {
                let at = if lead > 0 { 0 } else { trimmed.len() };
                return Err(PathUriError::new(Kind::InvalidUri, "blanks around the URI").at(at));
            }
            if let Some(at) = original.find(is_ignored) {
                return Err(PathUriError::new(Kind::InvalidUri, "a raw tab or line break").at(at));
            }
            if let Some(at) = original
                .find('\\')
                .filter(|_| Convention::infer_native(original).is_none())
            {
                let error = PathUriError::new(Kind::InvalidUri, "a raw backslash").at(at);
                return Err(error.hint("write / between names and %5C inside one"));
            }
        }
        let text = match trimmed.contains(is_ignored) {
            true => Cow::Owned(trimmed.replace(is_ignored, "")),
            false => Cow::Borrowed(trimmed),
        };
        Ok(Self {
            text,
            original,
            lead,
        })
    }

    /// Translates the offset of an error back to the text that the caller knows.
    fn locate(&self, mut error: PathUriError) -> PathUriError {
        let Some(cleaned) = error.offset else {
            return error;
        };
        let mut kept = 0;
        let original = self.original.get(self.lead..).unwrap_or_default();
        let found = original
            .char_indices()
            .filter(|(_, c)| !is_ignored(*c))
            .find(|(_, c)| {
                let here = kept;
                kept += c.len_utf8();
                here >= cleaned
            });
        error.offset = Some(found.map_or(self.original.len(), |(at, _)| self.lead + at));
        error
    }
}

fn is_blank(c: char) -> bool {
    c <= ' '
}

fn is_ignored(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r')
}

fn canonicalise(text: &str, mode: Mode) -> Result<String, PathUriError> {
    let scheme_len = scheme_len(text).ok_or_else(|| no_scheme(text))?;
    let (scheme, rest) = text.split_at_checked(scheme_len).unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("file") {
        return Err(wrong_scheme(text, scheme));
    }
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    // A query or fragment is refused wherever it starts; what is left is authority and path.
    if let Some((at, mark)) = rest.char_indices().find(|(_, c)| matches!(c, '?' | '#')) {
        let at = scheme_len + 1 + at;
        let hint = if mark == '?' {
            "write %3F for a question mark in a name"
        } else {
            "write %23 for a # in a name"
        };
        let (kind, detail) = match mark {
            '?' => (Kind::QueryNotAllowed, "a file URI has no query"),
            _ => (Kind::FragmentNotAllowed, "a file URI has no fragment"),
        };
        return Err(PathUriError::new(kind, detail).at(at).hint(hint));
    }

    let path_start = |path: &str| text.len() - path.len();
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(PREFIX);
    let path = match split_authority(rest) {
        None if mode == Mode::Strict && !rest.starts_with(is_slash) => {
            let error =
                PathUriError::new(Kind::InvalidUri, "no slash after file:").at(scheme_len + 1);
            return Err(error.hint("an absolute path starts with file:///"));
        }
        None => rest.strip_prefix(is_slash).unwrap_or(rest),
        // `file://C:/x`: URL rules take the drive for the start of the path.
        Some((host, _)) if drive_letter(host.as_bytes()).is_some() && host.len() == 2 => {
            if mode == Mode::Strict {
                let error = PathUriError::new(Kind::InvalidUri, "a drive where a server belongs");
                let error = error.at(scheme_len + 3);
                return Err(match PathUri::parse(text) {
                    Ok(meant) => error.hint(format!("did you mean {meant}?")),
                    Err(_) => error,
                });
            }
            rest.get(2..).unwrap_or_default()
        }
        Some((host, path)) => {
            let host_at = path_start(path) - host.len();
            out.push_str(&authority::parse(host).map_err(|error| {
                let within = error.offset.unwrap_or(0);
                error.at(host_at + within)
            })?);
            path.strip_prefix(is_slash).unwrap_or(path)
        }
    };
    let path_at = path_start(path);
    write_path(&mut out, path, mode).map_err(|error| {
        let within = error.offset.unwrap_or(0);
        error.at(path_at + within)
    })?;
    Ok(out)
}

/// Splits what follows `//` into authority and path; none when there is no `//`.
fn split_authority(rest: &str) -> Option<(&str, &str)> {
    let after = rest.strip_prefix(is_slash)?.strip_prefix(is_slash)?;
    Some(after.split_at(after.find(is_slash).unwrap_or(after.len())))
}

fn is_slash(c: char) -> bool {
    matches!(c, '/' | '\\')
}

/// Resolves dot segments, drops empty segments at the front, and escapes what needs it.
fn write_path(out: &mut String, path: &str, mode: Mode) -> Result<(), PathUriError> {
    let root = out.len();
    let local = root == PREFIX.len();
    let mut pieces = path.split(is_slash).peekable();
    let mut start = 0;
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none();
        match dots(piece) {
            Dots::None if piece.is_empty() && out.len() == root && !last => {}
            Dots::None => {
                out.push('/');
                write_piece(out, piece, mode).map_err(|error| {
                    let within = error.offset.unwrap_or(0);
                    error.at(start + within)
                })?;
            }
            dots => {
                if dots == Dots::Double {
                    pop(out, root, local);
                }
                if last {
                    out.push('/');
                }
            }
        }
        start += piece.len() + 1;
    }
    Ok(())
}

/// Removes the last segment, but never the drive that is the whole path.
fn pop(out: &mut String, root: usize, local: bool) {
    let path = out.get(root..).unwrap_or_default();
    let is_drive =
        local && matches!(path.as_bytes(), [b'/', letter, b':'] if letter.is_ascii_alphabetic());
    if let Some(slash) = path.rfind('/').filter(|_| !is_drive) {
        out.truncate(root + slash);
    }
}

fn write_piece(out: &mut String, piece: &str, mode: Mode) -> Result<(), PathUriError> {
    let mut rest = piece.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        match tail {
            [high, low, ..] if byte == b'%' && percent::escape_value(*high, *low).is_some() => {
                out.push('%')
            }
            _ if byte == b'%' && mode == Mode::Strict => {
                let error =
                    PathUriError::new(Kind::InvalidUri, "a percent sign without two hex digits");
                return Err(error
                    .at(piece.len() - rest.len())
                    .hint("write %25 for a percent sign"));
            }
            // Broken escapes become what they look like, so that one name has one spelling.
            _ if percent::is_literal(byte) => out.push(char::from(byte)),
            _ => percent::push_escape(out, byte),
        }
        rest = tail;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dots {
    None,
    Single,
    Double,
}

/// Whether a segment, escaped dots included, is `.` or `..`.
fn dots(piece: &str) -> Dots {
    fn strip(text: &[u8]) -> Option<&[u8]> {
        match text {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => Some(rest),
            _ => None,
        }
    }
    match strip(piece.as_bytes()) {
        None => Dots::None,
        Some([]) => Dots::Single,
        Some(rest) => match strip(rest) {
            Some([]) => Dots::Double,
            _ => Dots::None,
        },
    }
}

fn scheme_len(text: &str) -> Option<usize> {
    let colon = text.find(':')?;
    let (first, rest) = text.as_bytes().get(..colon)?.split_first()?;
    let valid = first.is_ascii_alphabetic()
        && rest
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    valid.then_some(colon)
}

fn no_scheme(text: &str) -> PathUriError {
    let error = PathUriError::new(Kind::InvalidUri, "relative URL without a base").at(0);
    native_hint(text, error)
}

fn wrong_scheme(text: &str, scheme: &str) -> PathUriError {
    let scheme = scheme.to_ascii_lowercase();
    let detail = format!("the scheme `{scheme}` is not `file`");
    let error = PathUriError::new(Kind::UnsupportedScheme, detail)
        .at(0)
        .scheme(scheme);
    native_hint(text, error)
}

/// Says which URI was probably meant. The URI is escaped text, so the hint is safe to print.
fn native_hint(text: &str, error: PathUriError) -> PathUriError {
    let meant = Convention::infer_native(text)
        .and_then(|convention| PathUri::from_native(text, convention).ok());
    match meant {
        Some(uri) => error.hint(format!(
            "this looks like a native path; did you mean {uri}?"
        )),
        None => error.hint("a path is written as an absolute URI, such as file:///srv/app"),
    }
}

/// The rest of the strict rules, which are easier to see on the finished value.
fn refuse_suspicious(uri: PathUri) -> Result<PathUri, PathUriError> {
    let fault = if uri.is_opaque() {
        "an opaque path is not something to write by hand"
    } else if uri.has(Flags::ENCODED_SEPARATOR) {
        "an encoded separator inside a name"
    } else if uri.host().is_some()
        && uri
            .segments()
            .any(|segment| segment.drive_letter().is_some())
    {
        "a drive below a server"
    } else {
        return Ok(uri);
    };
    Err(PathUriError::new(Kind::InvalidFileUriPath, fault))
}
