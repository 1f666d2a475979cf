//! The units of a Windows host path, and the names that Windows reads as something else.

use super::{WINDOWS, foreign, unusable};
use crate::error::PathUriError;
use crate::native::Trailing;
use crate::native::windows::{self, Shape};
use crate::opaque;
use crate::uri::{Flags, Kind, PathUri};

const BACKSLASH: u16 = 0x5c;

pub(super) fn to_units(uri: &PathUri) -> Result<Vec<u16>, PathUriError> {
    match uri.kind() {
        Kind::Posix => Err(foreign(uri, WINDOWS)),
        Kind::Opaque => opaque_units(uri),
        Kind::Drive | Kind::Unc => spelled_units(uri),
    }
}

fn spelled_units(uri: &PathUri) -> Result<Vec<u16>, PathUriError> {
    if uri.has(Flags::ENCODED_SEPARATOR) {
        return Err(unusable(
            uri,
            WINDOWS,
            "a name contains an encoded separator",
        ));
    }
    let (mut out, names) = match (uri.drive_letter(), uri.host()) {
        (Some(letter), _) => (format!("{}:", char::from(letter)), 1),
        // An IPv6 literal has no place in a share's name.
        (None, Some(host)) if !host.starts_with('[') && !uri.is_shareless() => {
            (format!(r"\\{host}"), 0)
        }
        _ => return Err(foreign(uri, WINDOWS)),
    };
    let root = out.len();
    for segment in uri.segments().skip(names) {
        let Some(name) = segment.utf8() else {
            return Err(unusable(uri, WINDOWS, "a name is not text"));
        };
        if let Some(fault) = fault(&name) {
            return Err(unusable(uri, WINDOWS, fault));
        }
        out.push('\\');
        out.push_str(&name);
    }
    if out.len() == root {
        out.push('\\');
    }
    Ok(out.encode_utf16().collect())
}

fn opaque_units(uri: &PathUri) -> Result<Vec<u16>, PathUriError> {
    let units = opaque::units(uri)
        // A wrapper around a path that has a URI of its own would walk around every rule on it.
        .filter(|units| gives_back(units, uri))
        .ok_or_else(|| foreign(uri, WINDOWS))?;
    let text = String::from_utf16_lossy(&units);
    let skipped = match windows::shape(&text) {
        Shape::Device { .. } => return Ok(units),
        Shape::Drive { .. } => 1,
        _ => 0,
    };
    let mut names = units
        .split(|&unit| unit == BACKSLASH)
        .filter(|name| !name.is_empty())
        .skip(skipped);
    match names.find_map(|name| fault(&String::from_utf16_lossy(name))) {
        Some(fault) => Err(unusable(uri, WINDOWS, fault)),
        None => Ok(units),
    }
}

/// Whether the path, read as host path or as text, is this very URI again. The two differ for a
/// bare device, which the system spells with a separator at its end and people do not.
fn gives_back(units: &[u16], uri: &PathUri) -> bool {
    let as_text = || {
        let text = String::from_utf16(units).ok()?;
        windows::absolute(&text, Trailing::Kept).ok()
    };
    windows::from_units(units).is_ok_and(|back| back == *uri)
        || as_text().is_some_and(|back| back == *uri)
}

/// Why Windows would not take the name for what it says.
fn fault(name: &str) -> Option<&'static str> {
    if name.contains(['\\', '/', '\0']) {
        Some("a name contains a separator or NUL")
    } else if name.contains(':') {
        Some("a colon after the root names a stream or another drive")
    } else if name.contains(['*', '?', '"', '<', '>', '|']) {
        Some("a name contains a character that Windows reserves")
    } else if name.contains(|c: char| c.is_ascii_control()) {
        Some("a name contains a control character")
    } else if name.ends_with(['.', ' ']) {
        Some("Windows drops the dot or blank at the end of a name")
    } else if is_reserved(name) {
        Some("a name is reserved for a device")
    } else {
        None
    }
}

/// Whether the name, with any extension, is one of the old device names.
fn is_reserved(name: &str) -> bool {
    let stem = name
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end_matches(' ');
    let upper = stem.to_ascii_uppercase();
    let port = upper
        .strip_prefix("COM")
        .or_else(|| upper.strip_prefix("LPT"));
    let is_port = port.is_some_and(|number| {
        let mut digits = number.chars();
        digits
            .next()
            .is_some_and(|digit| digit.is_ascii_digit() || "¹²³".contains(digit))
            && digits.next().is_none()
    });
    is_port
        || matches!(
            upper.as_str(),
            "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$"
        )
}
