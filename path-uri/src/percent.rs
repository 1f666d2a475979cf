//! Percent encoding as this crate writes it, and decoding as everybody must read it.
//!
//! It knows bytes, not paths. Escapes are decoded once and only once.

use std::borrow::Cow;

/// Whether a byte stands for itself in the path of a canonical URI. The separator does not count:
/// inside a segment it has to be escaped.
pub(crate) const fn is_literal(byte: u8) -> bool {
    match byte {
        b'"' | b'#' | b'%' | b'/' | b'<' | b'>' | b'?' | b'`' | b'{' | b'}' | b'\\' => false,
        _ => byte > b' ' && byte < 0x7f,
    }
}

/// Appends `bytes` as the spelling of one segment.
pub(crate) fn encode_into(out: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if is_literal(byte) {
            out.push(char::from(byte));
        } else {
            push_escape(out, byte);
        }
    }
}

/// Appends `%XX`, in upper case.
pub(crate) fn push_escape(out: &mut String, byte: u8) {
    out.push('%');
    for nibble in [byte >> 4, byte & 0xf] {
        let digit = if nibble < 10 {
            b'0' + nibble
        } else {
            b'A' + nibble - 10
        };
        out.push(char::from(digit));
    }
}

/// The value of the two digits after a `%`, if they are two digits.
pub(crate) fn escape_value(high: u8, low: u8) -> Option<u8> {
    Some((digit(high)? << 4) | digit(low)?)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// The decoded bytes of a canonical spelling, without a buffer.
#[derive(Debug, Clone)]
pub(crate) struct Decoded<'a> {
    rest: &'a [u8],
}

impl<'a> Decoded<'a> {
    pub(crate) fn new(encoded: &'a str) -> Self {
        Self {
            rest: encoded.as_bytes(),
        }
    }
}

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let [b'%', high, low, rest @ ..] = self.rest
            && let Some(value) = escape_value(*high, *low)
        {
            self.rest = rest;
            return Some(value);
        }
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }
}

/// The decoded bytes, borrowed when nothing is escaped.
pub(crate) fn decode(encoded: &str) -> Cow<'_, [u8]> {
    if encoded.contains('%') {
        Cow::Owned(Decoded::new(encoded).collect())
    } else {
        Cow::Borrowed(encoded.as_bytes())
    }
}
