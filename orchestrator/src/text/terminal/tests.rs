use proptest::prelude::*;

use super::*;

/// What a hostile executor may send, by what it is for (`security` SR-45).
const ATTACKS: &[(&str, &[(&str, &str)])] = &[
    (
        "Moving the cursor, to write over what was shown",
        &[
            ("clear the screen", "\x1b[2J\x1b[H"),
            ("clear the scrollback", "\x1b[3J"),
            ("erase the line above", "\x1b[1A\x1b[2Kall tests passed"),
            ("go to a column", "rm -rf /\x1b[1Gls      "),
            ("go to a place", "\x1b[5;10fhere"),
            ("save and restore the cursor", "\x1b7\x1b8\x1b[s\x1b[u"),
            ("insert and delete lines", "\x1b[9L\x1b[9M\x1b[9P\x1b[9@"),
            ("a scrolling region", "\x1b[1;2r\x1bM\x1bD"),
            ("return to the beginning", "rm -rf /\rls       "),
            ("step back", "safe\x08\x08\x08\x08evil"),
            ("vertical tab and form feed", "a\x0bb\x0cc"),
            ("repeat the last letter", "A\x1b[1000000b"),
        ],
    ),
    (
        "Looking other than it is",
        &[
            ("colours", "\x1b[31mred\x1b[0m"),
            (
                "text in the colour of its ground",
                "\x1b[8mhidden\x1b[28m\x1b[30;40mblack",
            ),
            ("true colours with colons", "\x1b[38:2::1:2:3mx"),
            ("letters of double height", "\x1b#3big\x1b#4"),
            ("another set of letters", "\x1b(0lqqk\x1b(B\x0e\x0f"),
            ("an underline that names a link", "\x1b[4:3m\x1b[58:5:1mx"),
        ],
    ),
    (
        "Modes",
        &[
            ("the other screen", "\x1b[?1049h\x1b[?1049l"),
            ("reports of the mouse", "\x1b[?1000h\x1b[?1003h\x1b[?1006h"),
            ("bracketed paste switched off", "\x1b[?2004l"),
            ("reports of focus", "\x1b[?1004h"),
            ("an invisible cursor", "\x1b[?25l"),
            ("keys of applications", "\x1b[?1h\x1b=\x1b[>4;2m\x1b[>1u"),
            ("no line wrap", "\x1b[?7l"),
            ("updates held back", "\x1b[?2026h"),
            ("a full reset", "\x1bc"),
            ("a soft reset", "\x1b[!p"),
            ("a locked keyboard", "\x1b[2h"),
        ],
    ),
    (
        "Questions, whose answers are typed for the user",
        &[
            ("where the cursor is", "\x1b[6n\x1b[?6n"),
            ("which terminal it is", "\x1b[c\x1b[>c\x1b[=c\x1bZ"),
            ("which version it has", "\x1b[>q"),
            ("the answerback text", "\x05"),
            ("a setting", "\x1bP$qm\x1b\\"),
            ("a capability", "\x1bP+q544e\x1b\\"),
            ("the title", "\x1b[21t\x1b[20t"),
            ("the size of the window", "\x1b[14t\x1b[18t"),
            ("a mode", "\x1b[?2004$p"),
            ("a checksum of what is shown", "\x1b[1;1;1;1;1;1*y"),
            ("a colour", "\x1b]4;1;?\x07\x1b]10;?\x07\x1b]11;?\x1b\\"),
        ],
    ),
    (
        "Commands of the operating system and of devices",
        &[
            ("the title", "\x1b]0;sudo password:\x07\x1b]2;t\x1b\\"),
            ("writing the clipboard", "\x1b]52;c;cm0gLXJmIC8=\x07"),
            ("reading the clipboard", "\x1b]52;c;?\x1b\\"),
            (
                "a link that is not what it says",
                "\x1b]8;;http://evil.example\x1b\\https://good.example\x1b]8;;\x1b\\",
            ),
            (
                "a notification",
                "\x1b]9;come here\x07\x1b]777;notify;a;b\x07\x1b]99;;x\x1b\\",
            ),
            (
                "a file on the user's disk",
                "\x1b]1337;File=name=YQ==;inline=0:AAAA\x07",
            ),
            ("a working directory", "\x1b]7;file://host/etc\x07"),
            (
                "a prompt that was not there",
                "\x1b]133;A\x07$ \x1b]133;B\x07",
            ),
            ("a palette", "\x1b]4;0;rgb:00/00/00\x07\x1b]104\x07"),
            ("a log file", "\x1b]46;~/.bashrc\x07"),
            (
                "pictures",
                "\x1bPq#0;2;0;0;0#0!9~\x1b\\\x1b_Ga=T,t=f;L2V0Yy9wYXNzd2Q=\x1b\\",
            ),
            ("keys to be pressed", "\x1bP0;1|17/6c73\x1b\\"),
            (
                "a multiplexer's way through",
                "\x1bPtmux;\x1b\x1b]52;c;eA==\x07\x1b\\",
            ),
            (
                "strings nobody reads",
                "\x1b_application\x1b\\\x1b^private\x1b\\\x1bXstring\x1b\\",
            ),
            ("a printer", "\x1b[5i/etc/shadow\x1b[4i"),
            ("a sequence that never ends", "\x1b]0;"),
            ("a sequence cancelled inside", "\x1b[3\x18\x1a1m"),
        ],
    ),
    (
        "Other spellings of the same",
        &[
            (
                "eight bits",
                "\u{9b}31m\u{9d}52;c;eA==\u{9c}\u{90}q\u{9c}\u{9e}\u{9f}\u{98}",
            ),
            ("next line and index", "\u{85}\u{84}\u{8d}"),
            ("nothing, bell, delete", "\0\x07\x7f"),
            ("a NUL inside a sequence", "\x1b\x1b[\x0031m"),
            ("breaks of lines and paragraphs", "a\u{2028}b\u{2029}c"),
        ],
    ),
    (
        "Text that is read otherwise than it is stored",
        &[
            ("overrides", "access = \"user\u{202e} // admin\u{202c}\""),
            ("isolates", "\u{2066}a\u{2067}b\u{2068}c\u{2069}"),
            ("embeddings", "\u{202a}a\u{202b}b\u{202c}\u{202d}c"),
            ("marks of direction", "\u{200e}\u{200f}\u{061c}"),
            (
                "shaping and swapping",
                "\u{206a}\u{206b}\u{206c}\u{206d}\u{206e}\u{206f}",
            ),
            ("tags", "\u{e0001}\u{e0068}\u{e0069}\u{e007f}"),
            ("selectors as an alphabet", "x\u{e0100}\u{e01ef}"),
            ("no width", "pay\u{200b}pal zero\u{2060}width \u{feff}mark"),
            ("a soft hyphen", "git\u{00ad}hub"),
            ("operators nobody sees", "f\u{2061}\u{2062}\u{2063}\u{2064}"),
            (
                "letters that are blank",
                "a\u{3164}b\u{ffa0}c\u{115f}d\u{1160}e\u{034f}f\u{17b4}g",
            ),
            ("notes between lines", "\u{fff9}base\u{fffa}note\u{fffb}"),
            ("music and shorthand", "\u{1d173}\u{1d17a}\u{1bca0}"),
        ],
    ),
];

#[test]
fn plain_text_is_borrowed_unchanged() {
    let text = "tab\there, line\nfeed, Grüße, 日本語, 👩\u{200d}💻, ❤\u{fe0f}, \u{05d0}\u{05d1}";
    assert!(matches!(for_terminal(text), Cow::Borrowed(same) if same == text));
}

#[test]
fn attacks_are_shown_and_not_obeyed() {
    let mut shown = String::new();
    for (aim, attacks) in ATTACKS {
        shown.push_str(&format!("{aim}:\n"));
        for (name, text) in *attacks {
            let harmless = for_terminal(text);
            assert!(!harmless.contains(is_unsafe), "{name}: {harmless:?}");
            assert_ne!(harmless, *text, "{name}");
            shown.push_str(&format!("  {name}: {harmless}\n"));
        }
    }
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
