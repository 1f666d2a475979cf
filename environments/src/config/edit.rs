//! Changes to `environments.toml` that leave the rest of it as its author wrote it.
//!
//! ```text
//!   text ──▶ edited(text, change) ──▶ parse ──▶ Draft ──▶ save      a changed file is one the
//!                                       └──▶ refused, with places   loader takes, or none at all
//! ```
//!
//! Comments, blank lines, the order of keys, Windows line ends and a byte-order mark stay. A
//! comment that stands directly above an entry belongs to it and goes with it; any other stays.

mod file;
mod layout;
mod masked;
mod new;
mod plain;

use toml_edit::{ArrayOfTables, DocumentMut, Item, Value};

use layout::Lead;

pub use file::{Draft, EditError, Saved};
pub use new::{NewEntry, NewTransport};
pub use plain::{Loss, Plain, for_codex};

/// One change.
#[derive(Clone, Debug)]
pub enum Change {
    /// A further entry, behind the others.
    Add(NewEntry),
    /// The entry with this id is there no more.
    Remove(String),
    /// Calls that name no environment go to this one; `none` in any letter case means nowhere.
    Default(String),
}

/// The array of all entries.
const ENTRIES: &str = "environments";

/// `text` with all of `changes`, in this order. What it says may still be refused by the loader.
fn edited(text: &str, changes: &[Change]) -> Result<String, NotEdited> {
    let (mark, body) = match text.strip_prefix('\u{feff}') {
        Some(body) => ("\u{feff}", body),
        None => ("", text),
    };
    let mut document: DocumentMut = body
        .parse()
        .map_err(|error: toml_edit::TomlError| NotEdited::Toml(error.message().to_owned()))?;
    for change in changes {
        match change {
            Change::Add(entry) => add(&mut document, entry),
            Change::Remove(id) => remove(&mut document, id)?,
            Change::Default(id) => set_default(&mut document, id),
        }
    }
    let written = document.to_string();
    Ok(format!("{mark}{}", layout::line_ends_as_in(body, written)))
}

/// Why a text could not be changed.
#[derive(Debug, PartialEq, Eq)]
enum NotEdited {
    /// The loader took what the editor does not.
    Toml(String),
    NoSuchEntry(String),
}

fn add(document: &mut DocumentMut, entry: &NewEntry) {
    if let Some(Item::Value(Value::Array(inline))) = document.get_mut(ENTRIES)
        && !inline.is_empty()
    {
        layout::push_behind_last(inline, entry.table().into_inline_table().into());
        return;
    }
    if document.get(ENTRIES).is_some_and(Item::is_value) {
        // An empty `environments = []` makes room.
        document.remove(ENTRIES);
    }
    let trailing = layout::trailing(document);
    let is_first = document.iter().next().is_none();
    let mut table = entry.table();
    table.set_position(Some(isize::MAX)); // Behind everything, comments included.
    let gap = if is_first && trailing.is_empty() {
        ""
    } else {
        "\n"
    };
    table.decor_mut().set_prefix(format!("{trailing}{gap}"));
    document.set_trailing("");
    if let Some(tables) = document
        .entry(ENTRIES)
        .or_insert(Item::ArrayOfTables(ArrayOfTables::new()))
        .as_array_of_tables_mut()
    {
        tables.push(table);
    }
}

fn remove(document: &mut DocumentMut, id: &str) -> Result<(), NotEdited> {
    let missing = || NotEdited::NoSuchEntry(id.to_owned());
    match document.get_mut(ENTRIES) {
        Some(Item::ArrayOfTables(tables)) => {
            let has_id =
                |table: &toml_edit::Table| table.get("id").and_then(Item::as_str) == Some(id);
            let place = tables.iter().position(has_id).ok_or_else(missing)?;
            let removed = tables.remove(place);
            let lead = Lead::of(layout::prefix(removed.decor()));
            match tables.get_mut(place) {
                Some(next) => {
                    let kept = lead.in_front_of(layout::prefix(next.decor()));
                    next.decor_mut().set_prefix(kept);
                }
                None => {
                    let kept = lead.in_front_of(&layout::trailing(document));
                    document.set_trailing(kept);
                }
            }
        }
        Some(Item::Value(Value::Array(inline))) => {
            let has_id = |value: &Value| {
                let table = value.as_inline_table();
                table
                    .and_then(|table| table.get("id"))
                    .and_then(Value::as_str)
                    == Some(id)
            };
            let place = inline.iter().position(has_id).ok_or_else(missing)?;
            inline.remove(place);
        }
        _ => return Err(missing()),
    }
    Ok(())
}

fn set_default(document: &mut DocumentMut, id: &str) {
    let mut value = Value::from(id);
    if let Some(item) = document.get_mut("default") {
        if let Some(old) = item.as_value() {
            *value.decor_mut() = old.decor().clone();
        }
        *item = Item::Value(value);
        return;
    }
    // The head of the file stays its head: the new key goes below it.
    let is_first = document
        .iter()
        .all(|(_, item)| item.is_table() || item.is_array_of_tables());
    let head = if is_first {
        layout::take_head(document)
    } else {
        String::new()
    };
    document.insert("default", Item::Value(value));
    if let Some(mut key) = document.as_table_mut().key_mut("default") {
        key.leaf_decor_mut().set_prefix(head);
    }
}

#[cfg(test)]
mod tests;
