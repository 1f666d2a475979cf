//! The executor's program: command line, logs, runtime, exit status.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use farstep_executor::audit::{self, Audit, AuditCommand};
use farstep_executor::auth::TokenArgs;
use farstep_executor::background::{Bridge, Log, READY};
use farstep_executor::cli::{Args, Command, Listen, Settings, TokenCommand};
use farstep_executor::logs::{self, LogFormat};
use farstep_executor::os::{self, StopSignals};
use farstep_executor::remote::{CREDENTIAL_VARIABLES, Remote};
use farstep_executor::supervise::{self, Place, SuperviseArgs};
use farstep_executor::{
    Gate, Host, Listener, Local, Server, StdioEnd, THREADS_MAX, WORKERS, serve_stdio,
};
use farstep_telemetry::{Exporter, Service};
use futures_util::FutureExt as _;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Whose spans are exported.
const SPANS: Service = Service {
    name: "farstep-executor",
    spans: "farstep_executor",
};

/// The two exit statuses of a service; what is refused has its own.
const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;

/// After so many turns a worker that is never idle looks for what has arrived: a call is noticed
/// within a few pieces of a stream. The runtime's own figure is four times as large.
const EVENT_INTERVAL: u32 = 16;

/// Of the static program alone: with its own C library's it took twice as long for a large answer, and
/// for many small ones.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(status) = os::guard() {
        return status;
    }
    os::keep_memory();
    os::harden();
    os::raise_descriptor_limit();
    let mut args = Args::parse();
    match args.take_command() {
        Some(Command::Audit(AuditCommand::Verify { files })) => return verify(&files),
        Some(Command::Token(TokenCommand::New(new))) => return new_token(&new),
        Some(Command::SuperviseCodex(args)) => return supervise_codex(*args),
        None => {}
    }
    let log_format = args.log_format();
    let allowed = args.check_root(os::is_root_of_a_host());
    let mut settings = match allowed.and_then(|()| Settings::try_from(args)) {
        Ok(settings) => settings,
        Err(refused) => {
            eprintln!("farstep-executor: {refused}");
            return ExitCode::from(refused.status());
        }
    };
    match settings.listen {
        Listen::Durable => match bridge() {
            Ok(Some(status)) => return status,
            // Without one the connection is all there is.
            Ok(None) => settings.listen = Listen::Stdio,
            Err(error) => {
                eprintln!("farstep-executor: {}", told(&error));
                return ExitCode::FAILURE;
            }
        },
        Listen::Background(_) => {
            if let Err(error) = os::settle_apart() {
                eprintln!("farstep-executor: no session of its own: {error}");
                return ExitCode::FAILURE;
            }
        }
        Listen::WebSocket(_) | Listen::Unix(_) | Listen::Stdio | Listen::Rendezvous => {}
    }
    os::keep_house(move || match run(settings, log_format) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("farstep-executor: {}", told(&error));
            FAILURE
        }
    })
}

/// An error and its causes, each said once: many repeat theirs.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        match (text.is_empty(), text.contains(&cause)) {
            (true, _) => text = cause,
            (false, true) => {}
            (false, false) => text = format!("{text}: {cause}"),
        }
    }
    text
}

/// Where this program was started.
fn cwd() -> anyhow::Result<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the working folder is read"
    )]
    let cwd = std::env::current_dir();
    cwd.context("the working folder cannot be used")
}

/// Passes standard input and output on to the executor in the background. `None`, before anything
/// was read, where none can be kept.
fn bridge() -> anyhow::Result<Option<ExitCode>> {
    let arguments = std::env::args_os().skip(1).collect();
    let variables = std::env::vars_os().collect();
    let folders = (os::state_folder(), os::fallback_folders());
    let bridge = match Bridge::new(folders, arguments, cwd()?, variables) {
        Ok(bridge) => bridge,
        Err(error) if error.is_harmless() => {
            eprintln!("farstep-executor: {error}; what runs ends with the connection");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let ended = runtime.block_on(bridge.run());
    // A read of standard input cannot be withdrawn.
    runtime.shutdown_background();
    ended?;
    Ok(Some(ExitCode::SUCCESS))
}

fn run(settings: Settings, log_format: LogFormat) -> anyhow::Result<u8> {
    let cwd = cwd()?;
    let log = match &settings.listen {
        Listen::Background(socket) => {
            let folder = socket.parent().context("the socket is in no folder")?;
            Some(Log::open(folder).context("the log cannot be used")?)
        }
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .event_interval(EVENT_INTERVAL)
        .max_blocking_threads(THREADS_MAX)
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let exporter = start_logging(log_format, log, &runtime);
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
            eprintln!("farstep-executor: {}", told(&error));
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

/// Keeps a codex running.
fn supervise_codex(args: SuperviseArgs) -> ExitCode {
    let log_format = args.log_format();
    let variable = |name: &str| std::env::var(name).ok();
    let prepared = args.check(variable).map_err(anyhow::Error::from);
    let prepared = prepared.and_then(|settings| {
        let variables = std::env::vars_os().collect();
        Ok((
            settings,
            Place {
                cwd: cwd()?,
                variables,
            },
        ))
    });
    let (settings, place) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("farstep-executor: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    os::keep_house(move || {
        let wanted = variable(logs::LOG_VARIABLE).unwrap_or_default();
        logs::start(log_format, &wanted, None, None);
        match supervise::supervise(settings, place) {
            Ok(()) => SUCCESS,
            Err(given_up) => {
                eprintln!("farstep-executor: {given_up}");
                given_up.status()
            }
        }
    })
}

/// Starts the log, and the export of spans if the environment wants it.
fn start_logging(format: LogFormat, log: Option<Log>, runtime: &Runtime) -> Option<Exporter> {
    let variable = |name: &str| std::env::var(name).ok();
    let exporter = Exporter::start(SPANS, variable, runtime.handle().clone());
    let spans = exporter
        .as_ref()
        .ok()
        .and_then(|exporter| exporter.as_ref()?.layer());
    logs::start(
        format,
        &variable(logs::LOG_VARIABLE).unwrap_or_default(),
        log,
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
    // The credential of the executor is not for what it runs.
    let variables = std::env::vars_os().filter(|(name, _)| {
        settings.remote.is_none()
            || !CREDENTIAL_VARIABLES
                .iter()
                .any(|credential| name == credential)
    });
    let server = Server::new(&settings, &host, audit, variables);
    let stop = CancellationToken::new();
    // On the workers, one of which hears of whoever comes: this thread would have to be woken by it,
    // and then wake another one for the connection.
    let serving = {
        let (server, stop) = (Arc::clone(&server), stop.clone());
        tokio::spawn(async move { serve_until(&settings, &server, &stop).await })
    };
    let serving = AbortOnDropHandle::new(serving).map(|ended| ended?);
    tokio::pin!(serving);
    let status = tokio::select! {
        status = &mut serving => status,
        never = server.slim_down() => match never {},
        _ = signals.recv() => {
            stop.cancel();
            tokio::select! {
                status = &mut serving => status,
                _ = signals.recv() => {
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
    match &settings.listen {
        Listen::WebSocket(address) => {
            let gate = Gate::load(&settings.access, &settings.auth)?;
            let listener = Listener::bind(*address, gate).await?;
            tracing::info!(address = listener.url(), "listening");
            announce(&listener.url()).context("failed to say where the executor listens")?;
            listener.serve(server, stop).await;
            Ok(SUCCESS)
        }
        Listen::Unix(path) => {
            let local = Local::bind(path).await?;
            tracing::info!(address = local.url(), "listening");
            announce(&local.url()).context("failed to say where the executor listens")?;
            local.serve(server, stop).await;
            Ok(SUCCESS)
        }
        Listen::Background(socket) => {
            let local = match Local::bind(socket).await {
                Ok(local) => local.in_background(settings.idle),
                // Somebody was quicker, and whoever wants us finds him.
                Err(error) if error.is_taken() => {
                    announce(READY)?;
                    return Ok(SUCCESS);
                }
                Err(error) => {
                    announce(&error.to_string())?;
                    return Err(error.into());
                }
            };
            tracing::info!(address = local.url(), "listening in the background");
            // Who started us may be gone already.
            let _ = announce(READY);
            os::leave_stdout().context("standard output cannot be left")?;
            local.serve(server, stop).await;
            Ok(SUCCESS)
        }
        // Without an executor in the background this one serves.
        Listen::Stdio | Listen::Durable => Ok(match serve_stdio(server, stop).await {
            StdioEnd::Orderly => SUCCESS,
            StdioEnd::Failed => FAILURE,
        }),
        Listen::Rendezvous => {
            let wanted = settings.remote.as_ref();
            let wanted = wanted.context("--remote says where to register")?;
            let variable = |name: &str| std::env::var(name).ok();
            let remote = Remote::prepare(wanted, variable).await?;
            let name = wanted.name.as_deref().unwrap_or(&wanted.environment);
            let key = remote.fingerprint();
            tracing::info!(name, key, "registering");
            let said = format!("{} {key}", wanted.environment);
            remote.serve(server, stop, || registered(&said)).await?;
            Ok(SUCCESS)
        }
    }
}

/// The one line on stdout: which environment this is, and the key to pin.
fn registered(said: &str) {
    let mut stdout = std::io::stdout().lock();
    // Who does not read it does not need it.
    let _ = writeln!(stdout, "{said}").and_then(|()| stdout.flush());
}

/// The one line on stdout: who started us waits for it to know the address.
fn announce(said: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{said}")?;
    stdout.flush()
}
