//! The executor's program: command line, logs, runtime, exit status.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use farstep_executor::audit::Audit;
use farstep_executor::cli::{Args, Listen, Settings};
use farstep_executor::os::{self, StopSignals};
use farstep_executor::{Host, Listener, Server, StdioEnd, THREADS_MAX, WORKERS, serve_stdio};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Which logs are wanted: `debug`, or `info,farstep_executor=trace`.
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
    let wanted = std::env::var(LOG_VARIABLE).unwrap_or_default();
    let filter = if wanted.is_empty() {
        Ok(info())
    } else {
        wanted.parse()
    };
    let refused = filter.as_ref().err().map(ToString::to_string);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter.unwrap_or_else(|_| info())))
        .init();
    if let Some(error) = refused {
        tracing::warn!(error, "{LOG_VARIABLE} is not understood; logging at info");
    }
}

fn info() -> Targets {
    Targets::new().with_default(tracing::Level::INFO)
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
    let audit = Audit::start(&settings.audit, os::state_folder())?;
    let server = Server::new(&settings, &host, audit, std::env::vars_os());
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
