//! The executor's program: command line, logs, runtime, exit status.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use farstep_executor::audit::{self, Audit, AuditCommand};
use farstep_executor::auth::TokenArgs;
use farstep_executor::cli::{Args, Command, Listen, Settings, TokenCommand};
use farstep_executor::logs::{self, LogFormat};
use farstep_executor::os::{self, StopSignals};
use farstep_executor::{
    Exporter, Gate, Host, Listener, Server, StdioEnd, THREADS_MAX, WORKERS, serve_stdio,
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// The two exit statuses of a service; what is refused has its own.
const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    if let Some(status) = os::guard() {
        return status;
    }
    os::harden();
    let mut args = Args::parse();
    match args.take_command() {
        Some(Command::Audit(AuditCommand::Verify { files })) => return verify(&files),
        Some(Command::Token(TokenCommand::New(new))) => return new_token(&new),
        None => {}
    }
    let log_format = args.log_format();
    let allowed = args.check_root(os::is_root_of_a_host());
    let settings = match allowed.and_then(|()| Settings::try_from(args)) {
        Ok(settings) => settings,
        Err(refused) => {
            eprintln!("farstep-executor: {refused}");
            return ExitCode::from(refused.status());
        }
    };
    os::keep_house(move || match run(settings, log_format) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("farstep-executor: {error:#}");
            FAILURE
        }
    })
}

fn run(settings: Settings, log_format: LogFormat) -> anyhow::Result<u8> {
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
    let exporter = start_logging(log_format, &runtime);
    let status = runtime.block_on(async {
        let status = serve(settings, Host::of_this_process(cwd)).await;
        if let Some(exporter) = exporter {
            exporter.finish().await;
        }
        status
    });
    // A read of standard input cannot be withdrawn; nothing else is left to wait for.
    runtime.shutdown_background();
    status
}

/// Makes a token: on stdout alone, so that it can be piped, unless it goes to a file.
fn new_token(new: &TokenArgs) -> ExitCode {
    let made = new.run().map_err(anyhow::Error::from);
    let said = made.and_then(|made| {
        let mut stdout = std::io::stdout().lock();
        if let Some(token) = &made.token {
            writeln!(stdout, "{}", token.as_str())?;
            eprintln!("sha256 (for --ws-token-sha256): {}", made.sha256);
        } else {
            writeln!(stdout, "sha256: {}", made.sha256)?;
        }
        Ok(())
    });
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("farstep-executor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether an audit log is whole: on stdout if it is.
fn verify(files: &[PathBuf]) -> ExitCode {
    let said = match audit::verify(files) {
        Ok(verified) => writeln!(std::io::stdout(), "{verified}"),
        Err(error) => {
            eprintln!("farstep-executor: {error}");
            return ExitCode::FAILURE;
        }
    };
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Starts the log, and the export of spans if the environment wants it.
fn start_logging(format: LogFormat, runtime: &Runtime) -> Option<Exporter> {
    let variable = |name: &str| std::env::var(name).ok();
    let exporter = Exporter::start(variable, runtime.handle().clone());
    let spans = exporter
        .as_ref()
        .ok()
        .and_then(|exporter| exporter.as_ref()?.layer());
    logs::start(
        format,
        &variable(logs::LOG_VARIABLE).unwrap_or_default(),
        spans,
    );
    exporter.unwrap_or_else(|error| {
        tracing::warn!(%error, "spans are not exported");
        None
    })
}

async fn serve(settings: Settings, host: Host) -> anyhow::Result<u8> {
    if os::is_root() {
        tracing::warn!("commands run as root");
    }
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
            tokio::select! {
                status = &mut serving => status,
                () = signals.recv() => {
                    tracing::warn!("told to stop a second time, so nothing is waited for");
                    Ok(SUCCESS)
                }
            }
        }
    };
    server.finish().await;
    status
}

async fn serve_until(
    settings: &Settings,
    server: &Arc<Server>,
    stop: &CancellationToken,
) -> anyhow::Result<u8> {
    match settings.listen {
        Listen::WebSocket(address) => {
            let gate = Gate::load(&settings.access, &settings.auth)?;
            let listener = Listener::bind(address, gate).await?;
            tracing::info!(address = listener.url(), "listening");
            announce(&listener).context("failed to say where the executor listens")?;
            listener.serve(server, stop).await;
            Ok(SUCCESS)
        }
        Listen::Stdio => Ok(match serve_stdio(server, stop).await {
            StdioEnd::Orderly => SUCCESS,
            StdioEnd::Failed => FAILURE,
        }),
    }
}

/// The one line on stdout: who started us waits for it to know the port.
fn announce(listener: &Listener) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", listener.url())?;
    stdout.flush()
}
