//! Equality, hash and order, which agree with each other.
//!
//! POSIX and opaque URIs are equal when their text is. Windows URIs are equal when their decoded
//! text is, ignoring ASCII case, unless a name hides a separator: then only the text counts.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use crate::percent::Decoded;
use crate::segment::Segment;
use crate::uri::{Flags, PathUri};

impl PathUri {
    fn folds(&self) -> bool {
        self.is_windows() && !self.has(Flags::ENCODED_SEPARATOR)
    }

    fn folded_path(&self) -> impl Iterator<Item = u8> {
        Decoded::new(self.encoded_path()).map(|byte| byte.to_ascii_lowercase())
    }
}

impl PartialEq for PathUri {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
            || self.folds()
                && other.folds()
                && self.host() == other.host()
                && self.folded_path().eq(other.folded_path())
    }
}

impl Eq for PathUri {}

impl Hash for PathUri {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.folds() {
            self.host().hash(state);
            for byte in self.folded_path() {
                state.write_u8(byte);
            }
        } else {
            self.as_str().hash(state);
        }
    }
}

impl PartialOrd for PathUri {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By kind, server, then name by name, so that what lies below a path directly follows it.
impl Ord for PathUri {
    fn cmp(&self, other: &Self) -> Ordering {
        let fold = self.is_windows();
        let names = |uri: &Self, other: &Self| {
            uri.segments()
                .map(|segment| Folded { segment, fold })
                .cmp(other.segments().map(|segment| Folded { segment, fold }))
        };
        let rest = |uri: &Self, other: &Self| match (uri.folds(), other.folds()) {
            (true, true) => uri.folded_path().cmp(other.folded_path()),
            _ => uri.as_str().cmp(other.as_str()),
        };
        self.kind()
            .cmp(&other.kind())
            .then_with(|| self.host().cmp(&other.host()))
            .then_with(|| names(self, other))
            .then_with(|| rest(self, other))
    }
}

/// A name ordered by the bytes it stands for.
struct Folded<'a> {
    segment: Segment<'a>,
    fold: bool,
}

impl Folded<'_> {
    fn bytes(&self) -> impl Iterator<Item = u8> {
        let fold = self.fold;
        self.segment.decoded_bytes().map(move |byte| {
            if fold {
                byte.to_ascii_lowercase()
            } else {
                byte
            }
        })
    }
}

impl Ord for Folded<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl PartialOrd for Folded<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Folded<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Folded<'_> {}
