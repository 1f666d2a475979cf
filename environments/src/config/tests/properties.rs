//! Texts nobody wrote: no panic, and the promises of a diagnostic hold for every one of them.

use std::path::Path;

use proptest::prelude::*;

use super::super::{MAX_DIAGNOSTICS, Severity, parse};

/// Pieces of valid and broken files, so that random texts get past the first line.
const PIECES: &[&str] = &[
    "[[environments]]\n",
    "[environments.farstep]\n",
    "[environments.farstep.tls]\n",
    "[environments.farstep.auth]\n",
    "[environments.env]\n",
    "[farstep]\n",
    "environments = [",
    "default = ",
    "include_local = ",
    "id = ",
    "url = ",
    "program = ",
    "args = ",
    "env = ",
    "cwd = ",
    "auth_bearer_token = ",
    "connect_timeout_sec = ",
    "initialize_timeout_sec = ",
    "skills = ",
    "required = ",
    "farstep.os = ",
    "farstep.cwd = ",
    "roots = ",
    "labels = ",
    "headers = ",
    "restart = ",
    "bearer = ",
    "ca_file = ",
    "\"devbox\"\n",
    "\"none\"\n",
    "\"ws://\"\n",
    "\"ws://a@b:99999\"\n",
    "\"wss://[::1]:5\"\n",
    "\"http://x\"\n",
    "\"/srv\"\n",
    "'C:\\x'\n",
    "\"file:///%zz\"\n",
    "-1\n",
    "nan\n",
    "0\n",
    "1e400\n",
    "true\n",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\"",
    "'''",
    "\n",
    "\r\n",
    "\u{feff}",
    "# \u{1b}é\u{1f600}\n",
    "\0",
    "1979-05-27\n",
    "{ env = \"T\", file = 1 }\n",
    "[\"a\", 1]\n",
    "{}\n",
    "[]\n",
    "\"\\u0000\"\n",
];

fn text() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(prop::sample::select(PIECES), 0..24);
    prop_oneof![
        4 => pieces.prop_map(|pieces| pieces.concat()),
        1 => any::<String>(),
        1 => prop::collection::vec(any::<u8>(), 0..200)
            .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ]
}

/// A real file with some of it replaced.
fn mutated() -> impl Strategy<Value = String> {
    const WHOLE: &str = "default = \"a\"\n[[environments]]\nid = \"a\"\nurl = \"wss://h:1/p\"\n\
        auth_bearer_token = \"t\"\nconnect_timeout_sec = 2.5\nskills = { required = [\"s\"] }\n\
        [environments.farstep]\nos = \"linux\"\ncwd = \"/srv\"\nlabels = { a = \"b\" }\n\
        [environments.farstep.headers]\nX-A = \"é\"\n[[environments]]\nid = \"b\"\n\
        program = \"p\"\nargs = [\"x\"]\nenv = { K = \"v\" }\ncwd = \"d\"\n";
    let edit = (
        any::<prop::sample::Index>(),
        0..8_usize,
        prop::sample::select(PIECES),
    );
    prop::collection::vec(edit, 1..4).prop_map(|edits| {
        let mut letters: Vec<char> = WHOLE.chars().collect();
        for (at, removed, put) in edits {
            let start = at.index(letters.len() + 1);
            let end = (start + removed).min(letters.len());
            letters.splice(start..end, put.chars());
        }
        letters.into_iter().collect()
    })
}

fn holds(text: &str) -> Result<(), TestCaseError> {
    let diagnostics = match parse(text, Path::new("/config")) {
        Ok(config) => {
            // The normalised form and the debug form exist for whatever was accepted.
            let _ = (config.to_json(), format!("{config:?}"));
            let warned = |one: &super::Diagnostic| one.severity == Severity::Warning;
            prop_assert!(config.warnings.iter().all(warned));
            config.warnings
        }
        Err(diagnostics) => {
            prop_assert!(!diagnostics.is_empty());
            prop_assert!(
                diagnostics
                    .iter()
                    .all(|one| one.severity == Severity::Error)
            );
            diagnostics
        }
    };
    prop_assert!(diagnostics.len() <= MAX_DIAGNOSTICS);
    let places: Vec<_> = diagnostics
        .iter()
        .map(|one| (one.line, one.column))
        .collect();
    prop_assert!(places.is_sorted(), "{places:?}");
    for one in &diagnostics {
        let lines = text.matches('\n').count() + 1;
        prop_assert!((1..=lines).contains(&one.line) && one.column >= 1);
        prop_assert!(one.span.start <= one.span.end && one.span.end <= text.len());
        let shown = one.render("environments.toml");
        let control = |letter: char| letter.is_control() && letter != '\n';
        prop_assert!(!shown.contains(control), "{shown:?}");
        prop_assert!(shown.lines().count() <= 4, "{shown}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_read_or_refused_in_good_order(text in text()) {
        holds(&text)?;
    }

    #[test]
    fn a_damaged_file_is_read_or_refused_in_good_order(text in mutated()) {
        holds(&text)?;
    }

    #[test]
    fn line_ends_and_a_byte_order_mark_change_no_place(text in mutated()) {
        // Inside a multi-line string a line end is part of the value.
        let text = text.replace(['\r', '\u{feff}'], "").replace("'''", "");
        let crlf = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        let folder = Path::new("/config");
        match (parse(&text, folder), parse(&crlf, folder)) {
            (Ok(plain), Ok(marked)) => prop_assert_eq!(plain.to_json(), marked.to_json()),
            (Err(plain), Err(marked)) => {
                prop_assert_eq!(super::places(&plain), super::places(&marked));
            }
            (plain, marked) => prop_assert!(false, "{plain:?} but {marked:?}"),
        }
    }
}
