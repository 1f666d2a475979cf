//! `farstep env`: what is configured, and whether it works.

mod probe;

use futures_util::future::join_all;
use serde_json::json;

use farstep_environments::{Environment, Registry};

use crate::cli::EnvCommand;
use crate::render::{self, Column, Failure};
use crate::setup::{Setup, Surroundings};
use crate::stop::Stop;

const FAILED: u8 = 1;
const INTERRUPTED: u8 = 130;

/// Runs the command and gives its exit code.
pub async fn env(command: EnvCommand, surroundings: &Surroundings) -> Result<u8, Failure> {
    let setup = Setup::load(surroundings)?;
    for warning in &setup.warnings {
        render::note(warning);
    }
    let withheld = setup.settings.credentials();
    let registry = setup.registry(&withheld);
    match command {
        EnvCommand::List { json } => list(&registry, json).map_err(Failure::Output),
        EnvCommand::Test { ids, json } => {
            let environments = match ids.as_slice() {
                [] => registry.all(),
                ids => setup.select(&registry, ids)?,
            };
            let (stop, _listener) = Stop::listen();
            let outcome = tokio::select! {
                biased; // Nobody waits for a test that is no longer wanted.
                () = stop.softly.cancelled() => Ok(INTERRUPTED),
                tested = join_all(environments.iter().map(|one| probe::probe(one))) => {
                    show(&tested, json)
                }
            };
            registry.close().await;
            outcome.map_err(Failure::Output)
        }
    }
}

fn list(registry: &Registry, json: bool) -> std::io::Result<u8> {
    let is_default = |one: &Environment| registry.default_id() == Some(one.id());
    let all = registry.all();
    if json {
        for one in &all {
            render::print_json_line(&json!({
                "id": one.id(),
                "transport": one.transport_label(),
                "local": one.is_local(),
                "default": is_default(one),
            }))?;
        }
        return Ok(0);
    }
    render::print_table(&[
        column("ID", &all, |one| one.id().to_string()),
        column("DEFAULT", &all, |one| {
            if is_default(one) { "yes" } else { "" }.to_owned()
        }),
        column("TRANSPORT", &all, |one| one.transport_label()),
    ])?;
    Ok(0)
}

fn show(tested: &[probe::Tested], json: bool) -> std::io::Result<u8> {
    if json {
        for one in tested {
            render::print_json_line(one)?;
        }
    } else {
        render::print_table(&[
            column("ID", tested, |one| one.id.clone()),
            column("RESULT", tested, |one| {
                if one.ok { "ok" } else { "FAILED" }.to_owned()
            }),
            column("CONNECT", tested, |one| milliseconds(one.connect_ms)),
            column("ROUND TRIP", tested, |one| milliseconds(one.latency_ms)),
            column("FILES", tested, |one| said(&one.files)),
            column("PROCESS", tested, |one| said(&one.process)),
            column("MACHINE", tested, |one| {
                one.machine.clone().unwrap_or_default()
            }),
        ])?;
        for one in tested {
            for problem in one.problems() {
                render::note(&format!("{}: {problem}", one.id));
            }
        }
    }
    Ok(if tested.iter().all(|one| one.ok) {
        0
    } else {
        FAILED
    })
}

fn column<T>(head: &'static str, rows: &[T], cell: impl Fn(&T) -> String) -> Column {
    Column {
        head,
        cells: rows.iter().map(cell).collect(),
    }
}

fn milliseconds(value: Option<f64>) -> String {
    value
        .map(|value| format!("{value:.2} ms"))
        .unwrap_or_default()
}

fn said(outcome: &probe::Outcome) -> String {
    match outcome {
        probe::Outcome::Passed => "ok",
        probe::Outcome::Failed { .. } => "FAILED",
        probe::Outcome::NotTried => "",
    }
    .to_owned()
}
