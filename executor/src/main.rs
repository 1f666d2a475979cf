//! The executor's program: command line, logs, runtime, exit status.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use farstep_executor::cli::{Args, Listen, Settings};
use farstep_executor::os::StopSignals;
use farstep_executor::{Host, Listener, Server, StdioEnd, THREADS_MAX, WORKERS, serve_stdio};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Which logs are wanted, as `tracing` filters are written.
const LOG_VARIABLE: &str = "FARSTEP_LOG";

fn main() -> ExitCode {
    let settings = match Settings::try_from(Args::parse()) {
        Ok(settings) => settings,
        Err(refused) => {
            eprintln!("farstep-executor: {refused}");
            return ExitCode::from(refused.status());
        }
    };
    start_logging();
    match run(settings) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("farstep-executor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// To stderr, because stdout is the protocol or the one line that says where we listen.
fn start_logging() {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .with_env_var(LOG_VARIABLE)
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .init();
}

fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the working folder is read"
    )]
    let cwd = std::env::current_dir().context("the working folder cannot be used")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(THREADS_MAX)
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let status = runtime.block_on(serve(settings, Host::of_this_process(cwd)));
    // A read of standard input cannot be withdrawn; nothing else is left to wait for.
    runtime.shutdown_background();
    status
}

async fn serve(settings: Settings, host: Host) -> anyhow::Result<ExitCode> {
    let mut signals = StopSignals::new().context("failed to watch for signals")?;
    let server = Server::new(&settings, &host, std::env::vars_os());
    let stop = CancellationToken::new();
    let serving = serve_until(&settings, &server, &stop);
    tokio::pin!(serving);
    let status = tokio::select! {
        status = &mut serving => status,
        () = signals.recv() => {
            stop.cancel();
            serving.await
        }
    };
    server.finish().await;
    status
}

async fn serve_until(
    settings: &Settings,
    server: &Arc<Server>,
    stop: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    match settings.listen {
        Listen::WebSocket(address) => {
            let listener = Listener::bind(address).await?;
            tracing::info!(address = %listener.address(), "listening");
            announce(&listener).context("failed to say where the executor listens")?;
            listener.serve(server, stop).await;
            Ok(ExitCode::SUCCESS)
        }
        Listen::Stdio => Ok(match serve_stdio(server, stop).await {
            StdioEnd::Orderly => ExitCode::SUCCESS,
            StdioEnd::Failed => ExitCode::FAILURE,
        }),
    }
}

/// The one line on stdout: who started us waits for it to know the port.
fn announce(listener: &Listener) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ws://{}", listener.address())?;
    stdout.flush()
}
