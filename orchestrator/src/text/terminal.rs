//! Making text harmless for a terminal.
//!
//! A terminal obeys what it is shown: it moves its cursor, renames its window, writes to the
//! clipboard, answers questions as if somebody had typed. An executor may be hostile, so its text
//! reaches a terminal only with such characters spelled out.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with every character that would steer a terminal, or hide in it, as a visible escape.
///
/// Tabs and line feeds stay. A carriage return in front of a line feed is dropped, because it would
/// change nothing; any other one could overwrite what was shown, and is spelled out.
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(is_unsafe) else {
        return Cow::Borrowed(text);
    };
    let mut shown = String::with_capacity(text.len() + 16);
    shown.push_str(&text[..first]);
    let mut rest = text[first..].chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\r' if rest.peek() == Some(&'\n') => {}
            '\r' => shown.push_str("\\r"),
            c if !is_unsafe(c) => shown.push(c),
            // Writing to a string cannot fail.
            c if u32::from(c) < 0x100 => drop(write!(shown, "\\x{:02x}", u32::from(c))),
            c => drop(write!(shown, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    Cow::Owned(shown)
}

fn is_unsafe(c: char) -> bool {
    match c {
        '\t' | '\n' => false,
        // C0, DEL and C1: escape, bell, backspace, and their eight-bit forms (CSI, OSC, DCS).
        c if c.is_control() => true,
        // Marks, embeddings, overrides and isolates that reorder what is read.
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' => true,
        '\u{2066}'..='\u{206f}' => true,
        // Breaks that some terminals take for line feeds.
        '\u{2028}' | '\u{2029}' => true,
        // Characters without width that hide text or split words. Joiners stay: scripts need them.
        '\u{00ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => true,
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' => true,
        '\u{034f}' | '\u{17b4}' | '\u{17b5}' | '\u{fff0}'..='\u{fff8}' => true,
        '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => true,
        // Tags and the variation selectors beyond the first sixteen: a second, invisible alphabet.
        '\u{e0000}'..='\u{e0fff}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
