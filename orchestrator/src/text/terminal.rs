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
        // Tags and the variation selectors beyond the first sixteen: a second, invisible alphabet.
        '\u{e0000}'..='\u{e01ef}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text_is_borrowed_unchanged() {
        let text = "tab\there, line\nfeed, Grüße, 日本語, 👩\u{200d}💻, \u{05d0}\u{05d1}";
        assert!(matches!(for_terminal(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn attacks_are_shown_and_not_obeyed() {
        let shown = [
            "\x1b[31mred\x1b[0m",
            "\x1b[2J\x1b[H clear the screen",
            "\x1b]0;new title\x07",
            "\x1b]2;title\x1b\\",
            "\x1b]52;c;ZXZpbA==\x07 clipboard",
            "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
            "\x1b]1337;File=inline=1:AAAA\x07",
            "\x1bP$qm\x1b\\ ask for settings",
            "\x1b[6n\x1b[c\x1b[>q\x05 make it answer",
            "\x1b_application\x1b\\ \x1b^private\x1b\\ \x1bXstring\x1b\\",
            "\x1b[?1049h\x1b[?1000h\x1b[?2004h modes",
            "\x1bc reset",
            "\u{9b}31m\u{9d}0;t\u{9c}\u{90}q\u{9c}\u{9e}\u{9f}\u{98} eight-bit forms",
            "\u{85}next line\u{84}",
            "rm -rf /\rls       ",
            "safe\x08\x08\x08\x08evil",
            "\x0e\x0f\x0b\x0c\x00\x1a\x7f",
            "access = \"user\u{202e} // admin\u{2066}\"",
            "\u{200e}\u{200f}\u{061c}\u{2069} marks",
            "\u{e0001}\u{e0068}\u{e0069} tags",
            "\u{e0100} selector",
            "pay\u{200b}pal zero\u{2060}width \u{feff}mark",
            "a\u{2028}b\u{2029}c",
        ]
        .map(for_terminal)
        .join("\n");
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn line_ends_of_another_system_are_plain_line_ends() {
        assert_eq!(
            for_terminal("one\r\ntwo\r\r\nthree\r"),
            "one\ntwo\\r\nthree\\r"
        );
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left(text in any::<String>()) {
            let shown = for_terminal(&text);
            prop_assert!(!shown.contains(is_unsafe));
            let again = for_terminal(&shown);
            prop_assert_eq!(again.as_ref(), shown.as_ref());
        }
    }
}
