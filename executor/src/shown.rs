//! Text of a peer as it may be shown: nothing in it moves a cursor, ends a line, turns the
//! direction of writing or goes on for ever (`security` SR-72).
//!
//! Owns which characters are dangerous and how text is cut. Knows neither logs nor records; both
//! come here with what a peer said.

use std::fmt::{self, Write as _};

/// Stands where the rest was.
const CUT: char = '…';

/// Whether a character does something besides being seen.
///
/// Controls (a terminal obeys them), separators of lines (a reader counts them), and what turns
/// or hides text (a person is deceived by it).
fn is_dangerous(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061C}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{2069}'
                | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{E0000}'..='\u{E007F}'
        )
}

/// Appends a JSON string that also a terminal may show, and that is cut at `bytes_max` bytes of
/// JSON. A reader of JSON gets back what was written, up to the cut.
pub(crate) fn write_json(out: &mut String, text: &str, bytes_max: usize) {
    let end = out.len() + bytes_max;
    out.push('"');
    for character in text.chars() {
        let before = out.len();
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ if is_dangerous(character) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // A string takes whatever is written to it.
                    let _: fmt::Result = write!(out, "\\u{unit:04x}");
                }
            }
            _ => out.push(character),
        }
        if out.len() > end {
            out.truncate(before);
            out.push(CUT);
            break;
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "a\u{1b}[31m\nb\u{202e}c\u{7f}\u{2028}\u{85}";

    #[test]
    fn json_reads_back_as_what_was_said() {
        let mut out = String::new();
        write_json(&mut out, NASTY, 1000);
        assert!(
            out.chars().all(|character| !is_dangerous(character)),
            "{out}"
        );
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), NASTY);
        out.clear();
        let beyond = "\u{E0001}\"\\\t";
        write_json(&mut out, beyond, 1000);
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), beyond);
    }

    #[test]
    fn json_that_is_cut_is_still_json() {
        for bytes in 0..40 {
            let mut out = String::new();
            write_json(&mut out, NASTY, bytes);
            let read: String = serde_json::from_str(&out).unwrap();
            let kept = read.strip_suffix(CUT).unwrap_or(&read);
            assert!(NASTY.starts_with(kept), "{out}");
            assert!(out.len() <= bytes + 2 + CUT.len_utf8());
        }
    }
}
