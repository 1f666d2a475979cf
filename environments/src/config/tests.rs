//! What the shared vectors do not reach: every kind, every warning, loading, and texts nobody wrote.

mod extension;
mod kinds;
mod loading;
mod meaning;
mod properties;
mod rendering;
mod secrets;

use std::path::Path;

use super::{Config, Diagnostic, parse};

/// Where the file of a test lies.
const FOLDER: &str = "/config";

fn accepted(text: &str) -> Config {
    parse(text, Path::new(FOLDER)).unwrap_or_else(|diagnostics| panic!("{}", told(&diagnostics)))
}

fn refused(text: &str) -> Vec<Diagnostic> {
    match parse(text, Path::new(FOLDER)) {
        Ok(config) => panic!("accepted: {}", config.to_json()),
        Err(diagnostics) => diagnostics,
    }
}

fn told(diagnostics: &[Diagnostic]) -> String {
    let told: Vec<String> = diagnostics
        .iter()
        .map(|diagnostic| diagnostic.render("environments.toml"))
        .collect();
    told.join("\n")
}

/// `kind key line:column` of each.
fn places(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics
        .iter()
        .map(|one| {
            let key = one.key.as_deref().unwrap_or("-");
            format!("{} {key} {}:{}", one.kind.as_str(), one.line, one.column)
        })
        .collect()
}
