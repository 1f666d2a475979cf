//! Where comments and blank lines belong.

use toml_edit::{Array, Decor, DocumentMut, Item, Table, Value};

/// What stands in front of an entry, in two parts.
pub(super) struct Lead<'a> {
    /// Comments for whoever reads the file, and a blank line behind them.
    general: &'a str,
}

impl<'a> Lead<'a> {
    /// The comment lines directly above the entry are its own; what is above them is not.
    pub(super) fn of(prefix: &'a str) -> Lead<'a> {
        let own: usize = prefix
            .split_inclusive('\n')
            .rev()
            .take_while(|line| is_remark(line))
            .map(str::len)
            .sum();
        let general = &prefix[..prefix.len() - own];
        Lead {
            general: if general.trim().is_empty() {
                ""
            } else {
                general
            },
        }
    }

    /// Once its entry is gone, the general part stands in front of what comes next.
    pub(super) fn in_front_of(&self, next: &str) -> String {
        match self.general {
            // The blank line in front of what follows stands there already.
            "" => next.to_owned(),
            general => format!("{}\n{next}", general.trim_end_matches(['\r', '\n'])),
        }
    }
}

/// A comment that says something about the next line, and not to a program.
fn is_remark(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('#') && !line.starts_with("#:")
}

pub(super) fn prefix(decor: &Decor) -> &str {
    decor.prefix().and_then(|raw| raw.as_str()).unwrap_or("")
}

/// What stands behind the last table, with a line end.
pub(super) fn trailing(document: &DocumentMut) -> String {
    let text = document.trailing().as_str().unwrap_or("");
    if text.is_empty() || text.ends_with('\n') {
        text.to_owned()
    } else {
        format!("{text}\n")
    }
}

/// The comments at the head of a file without keys: what its first table does not own. They are
/// taken from where they were.
pub(super) fn take_head(document: &mut DocumentMut) -> String {
    let Some(first) = first_table(document) else {
        let head = trailing(document);
        document.set_trailing("");
        return head;
    };
    let before = prefix(first.decor()).to_owned();
    let general = Lead::of(&before).general;
    let own = &before[general.len()..];
    let head = general.to_owned();
    first
        .decor_mut()
        .set_prefix(format!("\n{}", own.trim_start_matches(['\r', '\n'])));
    head
}

/// Adds a value the way the last one stands there: on a line of its own or not.
pub(super) fn push_behind_last(array: &mut Array, mut value: Value) {
    let comma = array.trailing_comma();
    let after_comma = array.trailing().as_str().unwrap_or("").to_owned();
    let Some(last) = array
        .len()
        .checked_sub(1)
        .and_then(|last| array.get_mut(last))
    else {
        array.push(value);
        return;
    };
    let (_, indent) = prefix(last.decor()).rsplit_once('\n').unwrap_or_default();
    let indent = indent.to_owned();
    let behind = if comma {
        after_comma
    } else {
        let suffix = last.decor().suffix().and_then(|raw| raw.as_str());
        suffix.unwrap_or("").to_owned()
    };
    last.decor_mut().set_suffix("");
    let (before, end) = if behind.contains('\n') {
        (format!("{behind}{indent}"), "\n")
    } else {
        (" ".to_owned(), behind.as_str())
    };
    let (suffix, trailing) = if comma { ("", end) } else { (end, "") };
    value.decor_mut().set_prefix(before);
    value.decor_mut().set_suffix(suffix);
    array.push_formatted(value);
    array.set_trailing(trailing);
}

fn first_table(document: &mut DocumentMut) -> Option<&mut Table> {
    let tables = document.iter_mut().filter_map(|(_, item)| match item {
        Item::Table(table) => Some(table),
        Item::ArrayOfTables(tables) => tables.get_mut(0),
        _ => None,
    });
    tables
        .filter(|table| !table.is_implicit())
        .min_by_key(|table| table.position())
}

/// `written` with Windows line ends if `original` has no others.
pub(super) fn line_ends_as_in(original: &str, written: String) -> String {
    let all = original.matches('\n').count();
    if all == 0 || original.matches("\r\n").count() < all {
        return written;
    }
    written.replace("\r\n", "\n").replace('\n', "\r\n")
}
