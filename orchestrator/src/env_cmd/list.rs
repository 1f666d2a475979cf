//! What is configured, and how it stands for whoever asks for that.

use std::io;

use farstep_environments::{Environment, Registry};
use serde_json::{Value, json};

use super::probe::in_milliseconds;
use super::{column, milliseconds};
use crate::render::{self, Column};

/// Shows every environment; how each stands only when it was `tried`.
pub(super) fn list(registry: &Registry, tried: bool, json: bool) -> io::Result<u8> {
    let is_default = |one: &Environment| registry.default_id() == Some(one.id());
    let all = registry.all();
    if json {
        for one in &all {
            render::print_json_line(&machine(one, is_default(one), tried))?;
        }
        return Ok(0);
    }
    let mut columns = vec![
        column("ID", &all, |one| one.id().to_string()),
        column("DEFAULT", &all, |one| {
            if is_default(one) { "yes" } else { "" }.to_owned()
        }),
        column("TRANSPORT", &all, |one| one.transport_label()),
    ];
    let told = [
        column("OS", &all, |one| os(one).unwrap_or_default().to_owned()),
        column("CWD", &all, |one| cwd(one).unwrap_or_default()),
        column("LABELS", &all, |one| labels(one).join(" ")),
    ];
    // What nobody's entry says would be an empty column.
    columns.extend(told.into_iter().filter(says_something));
    if tried {
        columns.push(column("STATE", &all, |one| one.status().word().to_owned()));
        columns.push(column("ANSWERS IN", &all, |one| answers(one)));
    }
    render::print_table(&columns)?;
    for one in &all {
        if let Some(reason) = one.status().reason() {
            render::note(&format!("{}: {reason}", one.id()));
        }
    }
    Ok(0)
}

fn machine(one: &Environment, is_default: bool, tried: bool) -> Value {
    let mut line = json!({
        "id": one.id(),
        "transport": one.transport_label(),
        "local": one.is_local(),
        "default": is_default,
    });
    if let Some(os) = os(one) {
        line["os"] = json!(os);
    }
    if let Some(cwd) = cwd(one) {
        line["cwd"] = json!(cwd);
    }
    if let Some(labels) = one.entry().and_then(|entry| entry.farstep.labels.as_ref()) {
        line["labels"] = json!(labels);
    }
    if tried {
        let status = one.status();
        line["state"] = json!(status.word());
        line["reason"] = json!(status.reason());
        line["probe"] = one.last_check().map_or(Value::Null, |check| {
            json!({
                "alive": check.is_alive(),
                "tookMs": in_milliseconds(check.took),
                "agoMs": in_milliseconds(check.age()),
                "problem": check.problem,
            })
        });
    }
    line
}

/// How long the last look for a sign of life took.
fn answers(one: &Environment) -> String {
    match one.last_check() {
        Some(check) if check.is_alive() => milliseconds(Some(in_milliseconds(check.took))),
        Some(_) => "no answer".to_owned(),
        None => String::new(),
    }
}

fn says_something(column: &Column) -> bool {
    column.cells.iter().any(|cell| !cell.is_empty())
}

fn os(one: &Environment) -> Option<&'static str> {
    Some(one.entry()?.farstep.os?.as_str())
}

fn cwd(one: &Environment) -> Option<String> {
    Some(one.entry()?.farstep.cwd.as_ref()?.display_native())
}

fn labels(one: &Environment) -> Vec<String> {
    let labels = one.entry().and_then(|entry| entry.farstep.labels.as_ref());
    let labels = labels.into_iter().flatten();
    labels
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}
