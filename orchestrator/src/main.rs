//! The `farstep` program: reads what the process is given, and hands it on.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use farstep_orchestrator::cli::{Cli, Command};
use farstep_orchestrator::render::{self, Failure};
use farstep_orchestrator::setup::Surroundings;
use farstep_orchestrator::{demo, env_cmd, exec, run};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return render::usage(&error).into(),
    };
    log_to_stderr();
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("a TLS provider was installed before");
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return render::report(&Failure::Runtime(error)).into(),
    };
    let outcome = runtime.block_on(command(cli.command));
    // A thread may still wait for a terminal that does not read; nobody waits for it.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code.into(),
        Err(failure) => render::report(&failure).into(),
    }
}

async fn command(command: Command) -> Result<u8, Failure> {
    let surroundings = surroundings()?;
    match command {
        Command::Run(args) => run::run(args, &surroundings).await,
        Command::Exec(args) => exec::exec(args, &surroundings).await,
        Command::Env(args) => env_cmd::env(args.command, &surroundings).await,
        Command::Demo(args) => demo::demo(args, &surroundings).await,
    }
}

/// The one place that asks the process about itself.
fn surroundings() -> Result<Surroundings, Failure> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the folder is read here, once, and passed on from here"
    )]
    let cwd = std::env::current_dir().map_err(Failure::NoFolder)?;
    Ok(Surroundings {
        cwd,
        program: std::env::current_exe().ok(),
        variable: |name| std::env::var_os(name),
    })
}

/// What is logged when `FARSTEP_LOG` says nothing. Environments that cannot be reached are told to
/// the person by whoever wanted them, so their log would only say it twice.
const LOG: &str = "warn,farstep_environments::environment=error";

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("FARSTEP_LOG").unwrap_or_else(|_| EnvFilter::new(LOG));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .init();
}
