//! Paths that no URI spells faithfully, wrapped so that nothing is lost.
//!
//! ```text
//! file:///%00/bad/path/<base64url of the raw bytes, no padding>
//! ```
//!
//! The encoded NUL keeps the namespace out of reach of every real path. POSIX payloads are bytes,
//! Windows payloads are UTF-16LE units.

use std::borrow::Cow;

use base64_simd::URL_SAFE_NO_PAD as BASE64;

use crate::convention::Convention;
use crate::error::PathUriError;
use crate::uri::{Flags, PREFIX, PathUri};

/// What follows the empty authority.
pub(crate) const NAMESPACE: &str = "/%00/bad/path/";

/// Wraps the bytes of an absolute POSIX path.
pub(crate) fn wrap_posix(bytes: &[u8]) -> Result<PathUri, PathUriError> {
    wrap(bytes)
}

/// Wraps the units of an absolute Windows path.
pub(crate) fn wrap_windows(units: impl Iterator<Item = u16>) -> Result<PathUri, PathUriError> {
    wrap(&units.flat_map(u16::to_le_bytes).collect::<Vec<_>>())
}

fn wrap(payload: &[u8]) -> Result<PathUri, PathUriError> {
    // Measured first, so that a huge path is refused before it is copied.
    if payload.len() > crate::MAX_URI_BYTES {
        return Err(PathUriError::too_long(
            "the path is longer than a 32 KiB URI can carry",
        ));
    }
    let text = format!("{PREFIX}{NAMESPACE}{}", BASE64.encode_to_string(payload));
    PathUri::seal(Cow::Owned(text))
}

/// What an encoded payload holds, or none when it is not the canonical encoding of anything.
pub(crate) fn classify(encoded: &str) -> Option<Flags> {
    let bytes = decode(encoded)?;
    let mut flags = Flags::NONE;
    match convention(&bytes) {
        Some(Convention::Posix) => flags.set(Flags::OPAQUE_POSIX),
        Some(Convention::Windows) => flags.set(Flags::OPAQUE_WINDOWS),
        None => {}
    }
    Some(flags)
}

/// The payload of an opaque URI; none for any other.
pub(crate) fn payload(uri: &PathUri) -> Option<Vec<u8>> {
    decode(uri.encoded_path().strip_prefix(NAMESPACE)?)
}

/// The payload as UTF-16 units, when it is a Windows path.
pub(crate) fn units(uri: &PathUri) -> Option<Vec<u16>> {
    uri.has(Flags::OPAQUE_WINDOWS)
        .then(|| payload(uri).map(|bytes| to_units(&bytes)))?
}

fn to_units(bytes: &[u8]) -> Vec<u16> {
    bytes
        .chunks_exact(2)
        .map(|pair| {
            pair.iter()
                .rev()
                .fold(0, |unit, &byte| (unit << 8) | u16::from(byte))
        })
        .collect()
}

fn decode(encoded: &str) -> Option<Vec<u8>> {
    if encoded.is_empty() {
        return None;
    }
    let bytes = BASE64.decode_to_vec(encoded).ok()?;
    // One path, one spelling: leftover bits and the like are refused by comparing.
    (BASE64.encode_to_string(&bytes) == encoded).then_some(bytes)
}

fn convention(payload: &[u8]) -> Option<Convention> {
    match payload {
        [b'/', ..] => Some(Convention::Posix),
        [b'\\', 0, b'\\', 0, ..] if payload.len().is_multiple_of(2) => Some(Convention::Windows),
        [letter, 0, b':', 0, ..]
            if payload.len().is_multiple_of(2) && letter.is_ascii_alphabetic() =>
        {
            Some(Convention::Windows)
        }
        _ => None,
    }
}
