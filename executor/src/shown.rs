//! Text of a peer as it may be shown: nothing in it moves a cursor, ends a line, turns the
//! direction of writing or goes on for ever (`security` SR-72).
//!
//! Owns which characters are dangerous and how text is cut. Knows neither logs nor records; both
//! come here with what a peer said.

use std::fmt::{self, Write};

/// Bytes of one text in a log, as it is shown. Enough for any path that is worth reading; what is
/// longer ends with [`CUT`].
pub(crate) const TEXT_BYTES_MAX: usize = 1024;

/// Stands where the rest was.
pub(crate) const CUT: char = '…';

/// Whether a character does something besides being seen.
///
/// Controls (a terminal obeys them), separators of lines (a reader counts them), and what turns
/// or hides text (a person is deceived by it).
pub(crate) fn is_dangerous(character: char) -> bool {
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

/// Takes at most [`TEXT_BYTES_MAX`] bytes of what is written to it, made harmless, and counts
/// nothing else: a value of megabytes is formatted into it without being held.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    text: String,
    is_cut: bool,
}

impl Shown {
    pub(crate) fn of(value: impl fmt::Display) -> Shown {
        let mut shown = Shown::default();
        // It refuses only what comes after the cut.
        let _: fmt::Result = write!(shown, "{value}");
        shown
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    fn push(&mut self, character: char) -> fmt::Result {
        let before = self.text.len();
        if is_dangerous(character) {
            // The form that Rust, and people, read as one character.
            self.text.extend(character.escape_unicode());
        } else {
            self.text.push(character);
        }
        if self.text.len() > TEXT_BYTES_MAX - CUT.len_utf8() {
            self.text.truncate(before);
            self.text.push(CUT);
            self.is_cut = true;
            return Err(fmt::Error);
        }
        Ok(())
    }
}

impl fmt::Write for Shown {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_cut {
            return Err(fmt::Error);
        }
        text.chars().try_for_each(|character| self.push(character))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
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
    fn what_would_act_on_a_terminal_is_shown_by_its_number() {
        let shown = Shown::of(NASTY);
        let wanted = "a\\u{1b}[31m\\u{a}b\\u{202e}c\\u{7f}\\u{2028}\\u{85}";
        assert_eq!(shown.as_str(), wanted);
    }

    #[test]
    fn a_long_text_ends_in_its_kilobyte_and_says_so() {
        let exact = "x".repeat(TEXT_BYTES_MAX - CUT.len_utf8());
        assert_eq!(Shown::of(&exact).as_str(), exact);
        for long in [format!("{exact}y"), "\u{1b}".repeat(5000)] {
            let shown = Shown::of(&long);
            assert!(shown.as_str().len() <= TEXT_BYTES_MAX);
            assert!(shown.as_str().ends_with(CUT));
        }
    }

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
