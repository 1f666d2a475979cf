//! The names of one directory, packed: all their bytes in one piece, one small record each.

use std::ffi::OsStr;

use crate::os::files::{self, Kind};

#[derive(Debug, Default)]
pub(super) struct Names {
    /// One after the other.
    text: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    start: usize,
    len: usize,
    kind: Kind,
}

impl Names {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.items.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn push(&mut self, name: &OsStr, kind: Kind) {
        let name = name.as_encoded_bytes();
        self.items.push(Item {
            start: self.text.len(),
            len: name.len(),
            kind,
        });
        self.text.extend_from_slice(name);
    }

    /// Adds a name where only the `most` smallest are wanted; a directory with millions of entries
    /// thus never occupies more than twice that.
    pub(super) fn push_smallest(&mut self, name: &OsStr, kind: Kind, most: usize) {
        if self.items.len() >= most.saturating_mul(2) {
            self.sort();
            self.keep_first(most);
        }
        self.push(name, kind);
    }

    /// By name, in the order of its bytes.
    pub(super) fn sort(&mut self) {
        let bytes = &self.text;
        self.items
            .sort_unstable_by(|a, b| slice(bytes, a).cmp(slice(bytes, b)));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&OsStr, Kind)> {
        self.items
            .iter()
            .map(|item| (files::name_from_bytes(slice(&self.text, item)), item.kind))
    }

    fn keep_first(&mut self, most: usize) {
        self.items.truncate(most);
        let mut kept = Vec::with_capacity(self.items.iter().map(|item| item.len).sum());
        for item in &mut self.items {
            let start = kept.len();
            kept.extend_from_slice(slice(&self.text, item));
            item.start = start;
        }
        self.text = kept;
    }
}

fn slice<'a>(bytes: &'a [u8], item: &Item) -> &'a [u8] {
    bytes
        .get(item.start..item.start + item.len)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_names_survive_whatever_the_order_they_come_in() {
        let mut names = Names::default();
        for number in (0..100).rev() {
            names.push_smallest(format!("{number:03}").as_ref(), Kind::File, 5);
        }
        names.sort();
        let first: Vec<_> = names
            .iter()
            .take(5)
            .map(|(name, _)| name.to_os_string())
            .collect();
        assert_eq!(first, ["000", "001", "002", "003", "004"]);
        assert!(names.items.len() <= 10);
    }
}
