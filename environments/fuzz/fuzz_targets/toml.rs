//! Any text as an `environments.toml`: read or refused in good order, and no token shown.

#![no_main]

use std::path::Path;

use farstep_environments::config::{Config, Diagnostic, MAX_DIAGNOSTICS, Severity, parse};
use libfuzzer_sys::fuzz_target;

/// Stands for a token. The dictionary has it, as the value of the one key that holds a token.
const TOKEN: &str = "hunter2";
const TOKEN_LINE: &str = "auth_bearer_token = \"hunter2\"\n";
const FOLDER: &str = "/config";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = parse(text, Path::new(FOLDER));
    match &read {
        Ok(config) => check_config(config, text),
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|one| one.severity == Severity::Error));
            check_diagnostics(errors, text);
        }
    }
    check_marked(text, &read);
});

fn check_config(config: &Config, text: &str) {
    let warned = |one: &Diagnostic| one.severity == Severity::Warning;
    assert!(config.warnings.iter().all(warned));
    check_diagnostics(&config.warnings, text);
    let mut ids: Vec<&str> = config.entries.iter().map(|one| one.id.as_str()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "two environments of one id");
    for shown in [config.to_json().to_string(), format!("{config:?}")] {
        check_secrecy(&shown, text);
    }
}

fn check_diagnostics(all: &[Diagnostic], text: &str) {
    assert!(all.len() <= MAX_DIAGNOSTICS);
    assert!(all.is_sorted_by_key(|one| (one.line, one.column)));
    let lines = text.matches('\n').count() + 1;
    for one in all {
        assert!((1..=lines).contains(&one.line) && one.column >= 1);
        assert!(text.get(one.span.clone()).is_some(), "{:?}", one.span);
        let shown = one.render("environments.toml");
        let steers = |letter: char| letter.is_control() && letter != '\n';
        assert!(!shown.contains(steers), "{shown:?}");
        assert!(shown.lines().count() <= 4, "{shown}");
        check_secrecy(&shown, text);
        check_secrecy(&format!("{one:?}"), text);
    }
}

/// A token that stands where tokens stand, and nowhere else, is in no message.
fn check_secrecy(shown: &str, text: &str) {
    let elsewhere = text.replace(TOKEN_LINE, "");
    if text.len() > elsewhere.len() && !elsewhere.contains(TOKEN) {
        assert!(!shown.contains(TOKEN), "{shown}");
    }
}

/// A byte-order mark changes nothing.
fn check_marked(text: &str, read: &Result<Config, Vec<Diagnostic>>) {
    if text.starts_with('\u{feff}') {
        return;
    }
    let marked = parse(&format!("\u{feff}{text}"), Path::new(FOLDER));
    match (read, &marked) {
        (Ok(plain), Ok(marked)) => assert_eq!(plain.to_json(), marked.to_json()),
        (Err(plain), Err(marked)) => assert_eq!(told(plain), told(marked)),
        _ => panic!("a mark decides whether it is read"),
    }
}

fn told(errors: &[Diagnostic]) -> Vec<String> {
    errors.iter().map(|one| one.render("f")).collect()
}
