//! What `docs/environments.md` says is so: its files load, and it leaves no key and no kind out.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::path::Path;

use farstep_environments::config::{Diagnostic, FILE_NAME, Kind, parse};

const DOCUMENT: &str = include_str!("../../docs/environments.md");

/// The fenced blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    DOCUMENT
        .split(&fence)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

fn told(diagnostics: &[Diagnostic]) -> String {
    let told: Vec<String> = diagnostics
        .iter()
        .map(|one| one.render(FILE_NAME))
        .collect();
    told.join("\n")
}

#[test]
fn every_file_of_the_document_loads_without_a_warning() {
    let files = blocks("toml");
    assert_eq!(files.len(), 3);
    for file in files {
        match parse(file, Path::new("/config")) {
            Ok(config) => assert_eq!(told(&config.warnings), "", "{file}"),
            Err(diagnostics) => panic!("{}\n{file}", told(&diagnostics)),
        }
    }
}

#[test]
fn the_complaint_of_the_document_is_what_is_told() {
    let text = "\n\n\n\n[[environments]]\nid = \"devbox\"\nurl = \"http://devbox.example\"\n";
    let diagnostics = parse(text, Path::new("/config")).unwrap_err();
    assert_eq!(blocks("text"), [told(&diagnostics) + "\n"]);
}

#[test]
fn every_kind_is_documented() {
    for kind in Kind::ALL {
        let word = format!("`{}`", kind.as_str());
        assert!(DOCUMENT.contains(&word), "{word} is not in the document");
    }
}

/// The loader itself says which keys a table has: in its help for one that no name resembles.
#[test]
fn every_key_is_documented() {
    const UNLIKELY: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";
    let entry = "[[environments]]\nid = \"a\"\nurl = \"wss://a\"\n";
    let own = ["auth", "tls", "env", "health", "restart", "auth.bearer"];
    let own = own.map(|table| format!("{entry}[environments.farstep.{table}]\n"));
    let others = [
        String::new(),
        "[farstep]\n".to_owned(),
        entry.to_owned(),
        format!("{entry}[environments.skills]\n"),
        format!("{entry}[environments.farstep]\n"),
    ];
    for table in own.iter().chain(&others) {
        let text = format!("{table}{UNLIKELY} = 1\n");
        let diagnostics = parse(&text, Path::new("/config")).unwrap_err();
        let unknown = diagnostics
            .iter()
            .find(|one| one.kind == Kind::UnknownField);
        let help = unknown.unwrap().help.clone().unwrap();
        let names = help.strip_prefix("expected one of ").unwrap();
        for name in names.split(", ") {
            let name = name.trim_matches('`');
            // In a cell of its own, in an example of a table, or in a file.
            let shown = [format!("`{name}`"), format!("{name} = ")];
            let documented = shown.iter().any(|form| DOCUMENT.contains(form));
            assert!(documented, "`{name}` of {table} is not in the document");
        }
    }
}
