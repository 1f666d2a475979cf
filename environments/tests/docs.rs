//! What `docs/environments.md` says is so: its files load, and it leaves no key and no kind out.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::path::Path;

use farstep_environments::config::{
    Diagnostic, FILE_NAME, Kind, overlay, overlay_schema, parse, schema,
};

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
    assert_eq!(files.len(), 4);
    for file in files {
        match parse(file, Path::new("/config")) {
            Ok(config) => assert_eq!(told(&config.warnings), "", "{file}"),
            Err(diagnostics) => panic!("{}\n{file}", told(&diagnostics)),
        }
    }
}

#[test]
fn the_second_file_of_the_document_is_laid_over_the_first() {
    let mut config = parse(blocks("toml")[0], Path::new("/config")).unwrap();
    let laid = blocks("toml overlay");
    assert_eq!(laid.len(), 1);
    match overlay(laid[0], Path::new("/config"), &mut config) {
        Ok(warnings) => assert_eq!(told(&warnings), ""),
        Err(diagnostics) => panic!("{}", told(&diagnostics)),
    }
    assert!(config.entries[0].farstep.tls.is_some());
}

#[test]
fn the_files_of_the_document_pass_the_schemas() {
    let files = [("toml", schema()), ("toml overlay", overlay_schema())];
    for (language, schema) in files {
        let schema = jsonschema::validator_for(&schema).unwrap();
        for file in blocks(language) {
            let document: toml::Table = toml::from_str(file).unwrap();
            let document = serde_json::to_value(document).unwrap();
            let verdict = schema.validate(&document);
            assert!(verdict.is_ok(), "{:?}\n{file}", verdict.err());
        }
    }
}

#[test]
fn the_complaint_of_the_document_is_what_is_told() {
    let text = "\n\n\n\n[[environments]]\nid = \"devbox\"\nurl = \"http://devbox.example\"\n";
    let diagnostics = parse(text, Path::new("/config")).unwrap_err();
    assert!(blocks("text").contains(&format!("{}\n", told(&diagnostics)).as_str()));
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
