//! What of the file no message may show, found before there are messages.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::TOKEN_KEY;
use super::sink::Sink;

/// Hides every token of the tables, before anything on its line can be complained about. One in
/// a table where it means nothing is a token as well.
pub(super) fn hide_tokens(table: &DeTable<'_>, sink: &mut Sink<'_>) {
    for (key, value) in table {
        if key.get_ref() == TOKEN_KEY {
            sink.hide(value.span());
        }
        hide_tokens_within(value.get_ref(), sink);
    }
}

/// As deep as the parser let the text be.
fn hide_tokens_within(value: &DeValue<'_>, sink: &mut Sink<'_>) {
    match value {
        DeValue::Table(table) => hide_tokens(table, sink),
        DeValue::Array(items) => {
            for item in items {
                hide_tokens_within(item.get_ref(), sink);
            }
        }
        _ => {}
    }
}

/// Hides every token of a text that could not be parsed, and rather too much than too little.
///
/// Where a value ends is uncertain in a broken text, so each line that mentions the key is hidden
/// to its end, and so is whatever value the recovery found.
pub(super) fn hide_lines_of_tokens(text: &str, sink: &mut Sink<'_>) {
    for (at, _) in text.match_indices(TOKEN_KEY) {
        let from = at + TOKEN_KEY.len();
        let length = text[from..].find('\n').unwrap_or(text.len() - from);
        sink.hide(from..from + length);
    }
}

/// Hides every text in the value of a key that nobody knows: it may be a misspelt token's.
pub(super) fn hide_texts(span: Range<usize>, value: &DeValue<'_>, sink: &mut Sink<'_>) {
    match value {
        DeValue::String(_) => sink.hide(span),
        DeValue::Array(items) => {
            for item in items {
                hide_texts(item.span(), item.get_ref(), sink);
            }
        }
        DeValue::Table(table) => {
            for value in table.values() {
                hide_texts(value.span(), value.get_ref(), sink);
            }
        }
        _ => {}
    }
}
