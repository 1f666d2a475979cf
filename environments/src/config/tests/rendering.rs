//! The forms for people and for programs.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::{Kind, Severity};
use super::{accepted, refused, told};

const SCHEME: &str = "default = \"devbox\"\n\n# the machine under the desk\n\n\
                      [[environments]]\nid = \"devbox\"\nurl = \"http://devbox.example\"\n";

#[test]
fn people_see_the_place_the_line_and_the_way_out() {
    assert_eq!(
        told(&refused(SCHEME)),
        "environments.toml:7:7: error[url_scheme]: url of `devbox` must start with ws:// or wss://
  7 | url = \"http://devbox.example\"
    |       ^^^^^^^^^^^^^^^^^^^^^^^ found http://
  help: executors speak WebSocket; try ws://devbox.example"
    );
}

#[test]
fn programs_see_the_same_as_an_object() {
    assert_eq!(
        serde_json::to_value(refused(SCHEME)).unwrap(),
        json!([{
            "kind": "url_scheme",
            "key": "environments[0].url",
            "environment": "devbox",
            "line": 7,
            "column": 7,
            "message": "url of `devbox` must start with ws:// or wss://",
            "help": "executors speak WebSocket; try ws://devbox.example",
        }])
    );
    assert_eq!(
        serde_json::to_value(refused("\n[")).unwrap()[0]["key"],
        json!(null)
    );
}

#[test]
fn warnings_say_that_they_are_warnings() {
    let text = "[[environments]]\nid = \"LOCAL\"\nprogram = \"p\"\n";
    assert_eq!(
        told(&accepted(text).warnings),
        "environments.toml:2:6: warning[id_resembles_reserved]: `LOCAL` is not the local environment
  2 | id = \"LOCAL\"
    |      ^^^^^^^
  help: ids are case-sensitive; only `local` names the local environment"
    );
}

#[test]
fn columns_and_carets_count_letters_not_bytes_and_no_byte_order_mark() {
    let text = "\u{feff}environments = [{ \"größe\" = 1, id = \"a\", url = \"ws://a\" }]";
    let diagnostics = refused(text);
    assert_eq!((diagnostics[0].line, diagnostics[0].column), (1, 19));
    assert_eq!(&text[diagnostics[0].span.clone()], "\"größe\"");
    assert_eq!(
        told(&diagnostics).lines().nth(2),
        Some("    |                   ^^^^^^^")
    );
}

#[test]
fn a_long_line_is_cut_around_the_carets() {
    let tables = "{ id = \"a\", program = \"p\" }, ".repeat(20);
    let diagnostics = refused(&format!("environments = [{tables}5]"));
    let last = told(diagnostics.last_chunk::<1>().unwrap());
    let lines: Vec<&str> = last.lines().collect();
    assert_eq!(
        lines[1..],
        [
            "  1 | … = \"p\" }, { id = \"a\", program = \"p\" }, 5]",
            "    |                                         ^ found an integer",
        ]
    );
    let text = format!("default = [{}]", "\"x\", ".repeat(5000));
    let longest = told(&refused(&text)).lines().map(str::len).max();
    assert!(longest < Some(160), "{longest:?}");
}

#[test]
fn nothing_in_a_file_can_steer_a_terminal() {
    let shown = told(&refused(
        "# \u{1b}[31mred\u{7}\u{202e}\n\tdefault = \u{1b}\u{202e}5\n",
    ));
    let control = |letter: char| {
        (letter.is_control() && letter != '\n') || ('\u{202a}'..='\u{202e}').contains(&letter)
    };
    assert!(!shown.contains(control), "{shown:?}");
    let shown = told(&refused("\"\\u001b[31m\" = 1\ndefault = \"\\u001b[31m\"\n"));
    assert!(!shown.contains(control), "{shown:?}");
    let id = "[[environments]]\nid = \"\\u001b[31m\\n\"\nurl = \"\\u001b://\\u001b\"";
    let shown = told(&refused(id));
    assert!(!shown.contains(control), "{shown:?}");
}

#[test]
fn every_kind_has_a_word_of_its_own_and_warnings_come_last() {
    let words: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(words.len(), Kind::ALL.len());
    let is_warning = |kind: &&Kind| kind.severity() == Severity::Warning;
    assert_eq!(Kind::ALL.iter().filter(is_warning).count(), 9);
}
