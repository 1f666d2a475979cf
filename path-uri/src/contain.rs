//! Who lies inside whom, by names alone.
//!
//! Permission profiles stand on this, so it fails closed: whatever is unclear is outside. It sees
//! no links and no mounts; a yes here is necessary for access and never sufficient.

use crate::convention::Convention;
use crate::segment::Segment;
use crate::uri::{Flags, PathUri};

impl PathUri {
    /// Whether `other` is this path or lies below it.
    pub fn contains(&self, other: &PathUri) -> bool {
        self == other || self.tail_of(other).is_some()
    }

    /// The native text that leads from `base` to here; empty when they are equal.
    ///
    /// None when this path is not inside `base`, and when the text would not lead back: a Windows
    /// name that contains a colon, a base without a share.
    pub fn relative_to(&self, base: &PathUri) -> Option<String> {
        if self == base {
            return Some(String::new());
        }
        let convention = self.convention()?;
        if base.is_shareless() {
            return None;
        }
        let mut out = String::new();
        for segment in base.tail_of(self)? {
            let text = segment.text(convention);
            if convention == Convention::Windows && text.contains(':') {
                return None;
            }
            if !out.is_empty() {
                out.push(convention.separator());
            }
            out.push_str(&text);
        }
        Some(out)
    }

    /// Whether one of the two contains the other; none when a side has no reliable components.
    ///
    /// Treat the unknown as the answer that is unsafe for your purpose.
    pub fn overlaps(&self, other: &PathUri) -> Option<bool> {
        if self == other {
            return Some(true);
        }
        let known = self.has_components() && other.has_components();
        known.then(|| self.contains(other) || other.contains(self))
    }

    /// Whether both name the same place, however spelled: extra slashes and escapes aside, and
    /// on Windows ASCII case. Use it, not equality, for the keys of permissions.
    pub fn same_location(&self, other: &PathUri) -> bool {
        self.contains(other) && other.contains(self)
    }

    /// Whether the path falls apart into names that nobody can read differently.
    pub(crate) fn has_components(&self) -> bool {
        !self.is_opaque() && !self.has(Flags::ENCODED_SEPARATOR)
    }

    /// The segments of `other` below this path, if it lies there and nothing about it is unclear.
    fn tail_of<'a>(&self, other: &'a PathUri) -> Option<impl Iterator<Item = Segment<'a>>> {
        let comparable = self.has_components()
            && other.has_components()
            && self.convention() == other.convention()
            && self.host() == other.host();
        if !comparable {
            return None;
        }
        let fold = self.is_windows();
        let mut tail = other.segments();
        for mine in self.segments() {
            let theirs = tail.next()?;
            if !same_name(mine, theirs, fold) {
                return None;
            }
        }
        Some(tail)
    }
}

fn same_name(a: Segment<'_>, b: Segment<'_>, fold: bool) -> bool {
    let fold = |byte: u8| {
        if fold {
            byte.to_ascii_lowercase()
        } else {
            byte
        }
    };
    a.encoded() == b.encoded() || a.decoded_bytes().map(fold).eq(b.decoded_bytes().map(fold))
}
