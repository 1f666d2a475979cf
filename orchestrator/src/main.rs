//! The `farstep` program: reads what the process is given, and hands it on.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use farstep_orchestrator::cli::{Cli, Command};
use farstep_orchestrator::render::{self, Failure};
use farstep_orchestrator::setup::Surroundings;
use farstep_orchestrator::{complete, connect, demo, env_cmd, exec, files, jobs, run, ssh};
use farstep_telemetry::{Exporter, Extra, Service};
use tokio::runtime::Runtime;
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Whose spans are exported.
const SPANS: Service = Service {
    name: "farstep",
    spans: "farstep",
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return render::usage(&error).into(),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return render::report(&Failure::Runtime(error)).into(),
    };
    let exporter = start_logging(&runtime);
    farstep_harden::harden();
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("a TLS provider was installed before");
    }
    let is_json = cli.command.json();
    let is_watched = std::io::stderr().is_terminal() && cli.command.wants_words();
    let outcome = runtime.block_on(async {
        let outcome = command(cli.command, is_watched).await;
        if let Some(exporter) = exporter {
            exporter.finish().await;
        }
        outcome
    });
    // A thread may still wait for a terminal that does not read; nobody waits for it.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code.into(),
        Err(failure) => {
            if is_json {
                render::report_json(&failure);
            }
            render::report(&failure).into()
        }
    }
}

async fn command(command: Command, is_watched: bool) -> Result<u8, Failure> {
    let surroundings = surroundings(is_watched)?;
    let span = tracing::info_span!("farstep");
    if let Some(trace) = surroundings.trace() {
        farstep_telemetry::adopt(&span, &trace);
    }
    carry_out(command, surroundings).instrument(span).await
}

async fn carry_out(command: Command, surroundings: Surroundings) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => run::run(args, &surroundings).await,
        Command::Shell(args) => exec::shell(args, &surroundings).await,
        Command::Exec(args) => exec::exec(args, &surroundings).await,
        Command::Cp(args) => files::cp(args, &surroundings).await,
        Command::Ls(args) => files::ls(args, &surroundings).await,
        Command::Cat(args) => files::cat(args, &surroundings).await,
        Command::Rm(args) => files::rm(args, &surroundings).await,
        Command::Mkdir(args) => files::mkdir(args, &surroundings).await,
        Command::Ps(args) => jobs::ps(args, &surroundings).await,
        Command::Logs(args) => jobs::logs(args, &surroundings).await,
        Command::Wait(args) => jobs::wait(args, &surroundings).await,
        Command::Kill(args) => jobs::kill(args, &surroundings).await,
        Command::Ssh(args) => ssh::ssh(args, &surroundings).await,
        Command::Env(args) => env_cmd::env(args.command, &surroundings).await,
        Command::Connect(args) => connect::connect(args, &surroundings).await,
        Command::Completions(args) => complete::completions(args.shell),
        Command::Man(args) => complete::man(&args),
        Command::Demo(args) => demo::demo(args, &surroundings).await,
    }
}

/// The one place that asks the process about itself.
fn surroundings(is_watched: bool) -> Result<Surroundings, Failure> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the folder is read here, once, and passed on from here"
    )]
    let cwd = std::env::current_dir().map_err(Failure::NoFolder)?;
    Ok(Surroundings {
        cwd,
        program: std::env::current_exe().ok(),
        variable: |name| std::env::var_os(name),
        is_watched,
    })
}

/// What is logged when `FARSTEP_LOG` says nothing. Environments that cannot be reached are told to
/// the person by whoever wanted them, so their log would only say it twice.
const LOG: &str = "warn,farstep_environments::environment=error";

/// Starts the log, and the export of spans if the environment wants it.
fn start_logging(runtime: &Runtime) -> Option<Exporter> {
    let variable = |name: &str| std::env::var(name).ok();
    let exporter = Exporter::start(SPANS, variable, runtime.handle().clone());
    let spans = exporter
        .as_ref()
        .ok()
        .and_then(|exporter| exporter.as_ref()?.layer());
    let filter = EnvFilter::try_from_env("FARSTEP_LOG").unwrap_or_else(|_| EnvFilter::new(LOG));
    // An empty NO_COLOR is none (no-color.org).
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = std::io::stderr().is_terminal() && !plain;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_filter(filter);
    let layers: Vec<Extra> = spans.into_iter().chain([lines.boxed()]).collect();
    tracing_subscriber::registry().with(layers).init();
    exporter.unwrap_or_else(|error| {
        tracing::warn!(%error, "spans are not exported");
        None
    })
}
