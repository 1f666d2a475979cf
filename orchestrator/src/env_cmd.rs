//! `farstep env`: what is configured, and whether it works.

mod add;
mod args;
mod change;
pub(crate) mod doctor;
mod export;
mod list;
mod probe;

use farstep_environments::{Registry, config};
use futures_util::future::join_all;

pub use args::{AddArgs, DefaultArgs, ExportArgs, ExportFormat, ForgetArgs, RemoveArgs};

use crate::cli::EnvCommand;
use crate::render::{self, Column, Failure};
use crate::setup::{Setup, Surroundings};
use crate::stop::Stop;

const FAILED: u8 = 1;
const INTERRUPTED: u8 = 130;

/// Runs the command and gives its exit code.
pub async fn env(command: EnvCommand, surroundings: &Surroundings) -> Result<u8, Failure> {
    match command {
        // For somebody whose file may not load: that is no reason not to look.
        EnvCommand::Doctor { ids, json } => doctor::doctor(&ids, json, surroundings).await,
        EnvCommand::Schema { overlay } => schema(overlay).map_err(Failure::Output),
        EnvCommand::Add(args) => add::add(args, setup(surroundings)?, surroundings).await,
        EnvCommand::Remove(args) => change::remove(&args, &setup(surroundings)?),
        EnvCommand::Default(args) => change::default(&args, &setup(surroundings)?),
        EnvCommand::Forget(args) => change::forget(&args, surroundings),
        EnvCommand::Export(args) => export::export(&args, &setup(surroundings)?),
        EnvCommand::List { connect, json } => {
            let registry = registry(&setup(surroundings)?);
            let (stop, _listener) = Stop::listen();
            let listed = tokio::select! {
                biased; // Nobody waits for a list that is no longer wanted.
                () = stop.softly.cancelled() => Ok(INTERRUPTED),
                () = settle(&registry, connect) => list::list(&registry, connect, json),
            };
            registry.close().await;
            listed.map_err(Failure::Output)
        }
        EnvCommand::Test { ids, json } => {
            let setup = setup(surroundings)?;
            let registry = registry(&setup);
            let environments = setup.every(&registry, &ids)?;
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

/// What is configured, its warnings told.
fn setup(surroundings: &Surroundings) -> Result<Setup, Failure> {
    let setup = Setup::load(surroundings)?;
    for warning in &setup.warnings {
        render::note(warning);
    }
    Ok(setup)
}

fn registry(setup: &Setup) -> Registry {
    setup.registry(&setup.settings.credentials())
}

fn schema(overlay: bool) -> std::io::Result<u8> {
    let schema = match overlay {
        true => config::overlay_schema(),
        false => config::schema(),
    };
    render::print_text(&format!("{schema:#}\n"))?;
    Ok(0)
}

/// Tries every environment, if that is wanted.
async fn settle(registry: &Registry, connect: bool) {
    if connect {
        let all = registry.all();
        let tried = all.iter().map(|one| async {
            if one.executor().await.is_ok() {
                one.check().await;
            }
        });
        join_all(tried).await;
    }
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
