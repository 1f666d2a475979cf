//! One name on the way from the root to a location, still in its URI spelling.

use std::borrow::Cow;

use crate::convention::{Convention, drive_letter};
use crate::percent;

/// A borrowed, non-empty piece of a URI's path between two slashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segment<'a>(pub(crate) &'a str);

impl<'a> Segment<'a> {
    /// The spelling inside the URI.
    pub fn encoded(self) -> &'a str {
        self.0
    }

    /// The bytes it stands for.
    pub fn decoded(self) -> Cow<'a, [u8]> {
        percent::decode(self.0)
    }

    /// The text it stands for; none when the bytes are not UTF-8.
    pub fn utf8(self) -> Option<Cow<'a, str>> {
        match self.decoded() {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        }
    }

    /// The text it stands for, or its spelling where that text would mislead: bytes that are not
    /// UTF-8, and names that would read as more than one component.
    pub(crate) fn text(self, convention: Convention) -> Cow<'a, str> {
        match self.utf8() {
            Some(text) if !text.bytes().any(|byte| convention.separates(byte)) => text,
            _ => Cow::Borrowed(self.0),
        }
    }

    pub(crate) fn drive_letter(self) -> Option<u8> {
        drive_letter(self.0.as_bytes())
    }

    pub(crate) fn decoded_bytes(self) -> percent::Decoded<'a> {
        percent::Decoded::new(self.0)
    }
}

/// The non-empty segments of `path`, which is empty or starts with a slash.
pub(crate) fn segments(path: &str) -> impl DoubleEndedIterator<Item = Segment<'_>> + Clone {
    path.split('/')
        .filter(|piece| !piece.is_empty())
        .map(Segment)
}
