//! The shared vectors of `environments.toml`: what loads, what it means, and where each refusal points.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::path::{Path, PathBuf};

use farstep_environments::config::{Config, Diagnostic, MAX_DIAGNOSTICS, parse, schema};
use serde_json::{Value, json};

/// Stands for the folder of the file in the expected values.
const CONFIG_DIR: &str = "${CONFIG_DIR}";

/// The folder with the vectors; none on a machine that does not have them.
fn vectors() -> Option<PathBuf> {
    let named = std::env::var_os("FARSTEP_ENVIRONMENTS_VECTORS");
    let folder = named.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/spec/environments-vectors"),
        PathBuf::from,
    );
    if folder.join("expected.json").is_file() {
        return Some(folder);
    }
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!in_ci, "no environments vectors in {}", folder.display());
    eprintln!(
        "skipped: no environments vectors in {}; name their folder in FARSTEP_ENVIRONMENTS_VECTORS",
        folder.display()
    );
    None
}

struct Case {
    file: String,
    text: String,
    expected: Value,
}

/// The cases with this verdict, checked to be all there are.
fn cases(folder: &Path, verdict: &str) -> Vec<Case> {
    let document = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let document: Value = serde_json::from_str(&document).unwrap();
    let all = document["cases"].as_array().unwrap();
    assert_eq!(document["case_count"], json!(all.len()));
    let chosen: Vec<Case> = all
        .iter()
        .filter(|case| case["verdict"] == verdict)
        .map(|case| {
            let file = case["file"].as_str().unwrap().to_owned();
            let text = std::fs::read_to_string(folder.join(&file)).unwrap();
            Case {
                file,
                text,
                expected: case.clone(),
            }
        })
        .collect();
    let below = if verdict == "accept" {
        "valid"
    } else {
        "invalid"
    };
    let files = std::fs::read_dir(folder.join(below)).unwrap().count();
    assert_eq!(chosen.len(), files, "a file of {below} is in no case");
    chosen
}

fn accepted(file: &str, how: &str, text: &str) -> Config {
    parse(text, Path::new(CONFIG_DIR)).unwrap_or_else(|diagnostics| {
        let told: Vec<String> = diagnostics.iter().map(|one| one.render(file)).collect();
        panic!("{file} {how} is refused:\n{}", told.join("\n"))
    })
}

fn refused(file: &str, how: &str, text: &str) -> Vec<Diagnostic> {
    match parse(text, Path::new(CONFIG_DIR)) {
        Ok(config) => panic!("{file} {how} is accepted: {}", config.to_json()),
        Err(diagnostics) => diagnostics,
    }
}

/// The text as it is, with the line ends of Windows, with a byte-order mark, and with both.
fn spellings(text: &str) -> [(&'static str, String); 4] {
    let crlf = text.replace('\n', "\r\n");
    [
        ("as it is", text.to_owned()),
        ("with CRLF", crlf.clone()),
        ("with a byte-order mark", format!("\u{feff}{text}")),
        ("with both", format!("\u{feff}{crlf}")),
    ]
}

#[test]
fn vectors_that_are_valid_mean_what_is_expected_with_any_line_end_and_mark() {
    let Some(folder) = vectors() else { return };
    for case in cases(&folder, "accept") {
        let expected = &case.expected["parsed"];
        for (how, text) in spellings(&case.text) {
            let parsed = accepted(&case.file, how, &text).to_json();
            assert_eq!(&parsed, expected, "{} {how}", case.file);
        }
    }
}

#[test]
fn vectors_that_are_invalid_are_refused_at_the_expected_place() {
    let Some(folder) = vectors() else { return };
    for case in cases(&folder, "reject") {
        for (how, text) in spellings(&case.text) {
            let diagnostics = refused(&case.file, how, &text);
            assert!(diagnostics.len() <= MAX_DIAGNOSTICS);
            let mut found = serde_json::to_value(&diagnostics[0]).unwrap();
            let found = found.as_object_mut().unwrap();
            assert!(found.remove("message").is_some());
            assert!(found.remove("help").is_some());
            let mut expected = case.expected["error"].as_object().unwrap().clone();
            if expected["kind"] == "toml_syntax" {
                // Parsers differ in where on the line they stop.
                found.remove("column");
                expected.remove("column");
            }
            assert_eq!(found, &expected, "{} {how}", case.file);
        }
    }
}

#[test]
fn vectors_that_are_invalid_have_one_error_each() {
    let Some(folder) = vectors() else { return };
    for case in cases(&folder, "reject") {
        if case.expected["error"]["kind"] == "toml_syntax" {
            continue;
        }
        let diagnostics = refused(&case.file, "as it is", &case.text);
        let told: Vec<String> = diagnostics
            .iter()
            .map(|one| one.render(&case.file))
            .collect();
        assert_eq!(told.len(), 1, "{}", told.join("\n"));
    }
}

/// What only the reader can tell: what depends on other entries, on the meaning of a URL, or on
/// how the text is written.
const BEYOND_A_SCHEMA: [&str; 9] = [
    "toml_syntax",
    "duplicate_id",
    "default_unknown",
    "url_invalid",
    "insecure_credential",
    "header_value_invalid",
    "tls_requires_wss",
    "secret_source_conflict",
    "path_convention_mismatch",
];

#[test]
fn vectors_are_told_apart_by_the_schema_as_far_as_a_schema_can() {
    let Some(folder) = vectors() else { return };
    let schema = jsonschema::validator_for(&schema()).unwrap();
    let document = |text: &str| -> Value {
        let document: toml::Table = toml::from_str(text).unwrap();
        serde_json::to_value(document).unwrap()
    };
    for case in cases(&folder, "accept") {
        let document = document(&case.text);
        let verdict = schema.validate(&document);
        assert!(verdict.is_ok(), "{}: {:?}", case.file, verdict.err());
    }
    for case in cases(&folder, "reject") {
        let kind = case.expected["error"]["kind"].as_str().unwrap();
        if !BEYOND_A_SCHEMA.contains(&kind) {
            let is_valid = schema.is_valid(&document(&case.text));
            assert!(!is_valid, "{} ({kind}) passes", case.file);
        }
    }
}
