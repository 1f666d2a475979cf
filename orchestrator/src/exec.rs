//! `farstep exec`: one command in one environment, without a model.
//!
//! Its output arrives byte for byte, its exit code becomes ours, and when the reader of the output
//! is slow the process is held back rather than its output lost.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::time::Duration;

use bytes::Bytes;
use farstep_environments::process::{EnvPolicy, Inherit, StartParams};
use farstep_environments::{Executor, OutputStream, Overflow, Process, ProcessEvent};
use farstep_path_uri::PathUri;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use uuid::Uuid;

use crate::cli::ExecArgs;
use crate::render::{self, Failure, TerminalFilter};
use crate::setup::{Setup, Surroundings};
use crate::step::working_folder;
use crate::stop::Stop;

const INTERRUPTED: u8 = 130;
/// What an exit code that does not fit into ours becomes; also that of a lost executor.
const UNKNOWN: u8 = 255;
/// How long an executor may take to end a process that somebody no longer wants.
const TERMINATE_WAIT: Duration = Duration::from_secs(5);

/// Runs the command and gives its exit code.
pub async fn exec(args: ExecArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let setup = Setup::load(surroundings)?;
    for warning in &setup.warnings {
        render::note(warning);
    }
    let withheld = setup.settings.credentials();
    let registry = setup.registry(&withheld);
    let environment = setup.one(&registry, args.environment.as_deref())?;
    let id = environment.id().to_string();
    let argv = argv(args.command)?;
    let (stop, _listener) = Stop::listen();
    let work = async {
        let executor = environment
            .executor()
            .await
            .map_err(|error| Failure::Connect {
                id: id.clone(),
                error,
            })?;
        let configured = environment
            .entry()
            .and_then(|entry| entry.farstep.cwd.as_ref());
        let own = PathUri::from_host(&surroundings.cwd)
            .ok()
            .filter(|_| environment.is_local());
        let given = args.cwd.as_deref();
        let cwd = working_folder(given, configured, own.as_ref(), executor.info())
            .map_err(Failure::Folder)?;
        run(&executor, &id, params(argv, cwd), args.raw, &stop).await
    };
    let outcome = tokio::select! {
        biased; // A command that has begun handles the first wish itself.
        () = stop.at_once.cancelled() => Ok(INTERRUPTED),
        outcome = work => outcome,
    };
    // Also lets the last request out: the executor may forget the process.
    registry.close().await;
    outcome
}

async fn run(
    executor: &Executor,
    id: &str,
    params: StartParams,
    raw: bool,
    stop: &Stop,
) -> Result<u8, Failure> {
    let started = tokio::select! {
        biased; // Nothing has begun yet that would have to end first.
        () = stop.softly.cancelled() => return Ok(INTERRUPTED),
        started = executor.start_with(params, Overflow::Wait) => started,
    };
    let mut process = started.map_err(|error| Failure::Start {
        id: id.to_owned(),
        error,
    })?;
    let mut output = Outputs::new(raw);
    let mut code = None;
    let mut interrupted = false;
    loop {
        let event = tokio::select! {
            biased; // Stopping beats listening.
            () = stop.softly.cancelled(), if !interrupted => {
                interrupted = true;
                interrupt(&process).await;
                continue;
            }
            event = process.next() => event,
        };
        match event {
            Some(ProcessEvent::Output { stream, bytes }) => {
                tokio::select! {
                    biased; // A reader that does not read must not keep us from stopping.
                    () = stop.at_once.cancelled() => return Ok(INTERRUPTED),
                    written = output.write(stream, bytes) => written.map_err(Failure::Output)?,
                }
            }
            Some(ProcessEvent::Truncated { bytes }) => {
                render::note(&format!("farstep: {bytes} bytes of output were lost"));
            }
            Some(ProcessEvent::Missed { events }) => {
                render::note(&format!("farstep: output was lost ({events} pieces)"));
            }
            Some(ProcessEvent::Exited { code: exit, .. }) => code = Some(exit),
            Some(ProcessEvent::Closed) | None => break,
            Some(ProcessEvent::Lost { reason }) => {
                output.finish().await.map_err(Failure::Output)?;
                return Err(Failure::Lost {
                    id: id.to_owned(),
                    reason,
                });
            }
        }
    }
    output.finish().await.map_err(Failure::Output)?;
    Ok(code
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(UNKNOWN))
}

/// As Ctrl-C in a terminal would; a second one ends us, and with us the process.
async fn interrupt(process: &Process) {
    match tokio::time::timeout(TERMINATE_WAIT, process.interrupt()).await {
        Ok(Ok(())) => render::note("farstep: interrupted the command; once more ends it"),
        Ok(Err(error)) => render::note(&format!("farstep: failed to interrupt: {error}")),
        Err(_) => render::note("farstep: failed to interrupt: the executor does not answer"),
    }
}

fn argv(words: Vec<OsString>) -> Result<Vec<String>, Failure> {
    let text = |word: OsString| {
        word.into_string().map_err(|word| {
            Failure::Usage(format!(
                "the argument {} is not UTF-8",
                word.to_string_lossy()
            ))
        })
    };
    words.into_iter().map(text).collect()
}

pub(crate) fn params(argv: Vec<String>, cwd: PathUri) -> StartParams {
    StartParams {
        process_id: format!("exec-{}", Uuid::new_v4()),
        metadata: None,
        argv,
        cwd,
        // What a person who logs in there would have.
        env_policy: Some(EnvPolicy {
            inherit: Inherit::All,
            ignore_default_excludes: true,
            exclude: Vec::new(),
            set: BTreeMap::new(),
            include_only: Vec::new(),
        }),
        env: BTreeMap::new(),
        tty: false,
        pipe_stdin: false,
        arg0: None,
        sandbox: None,
        enforce_managed_network: false,
        managed_network: None,
        network_proxy: None,
        credential_providers: None,
        shell_snapshot: None,
    }
}

/// Our two outputs, each as its own stream.
struct Outputs {
    out: Output<tokio::io::Stdout>,
    err: Output<tokio::io::Stderr>,
}

struct Output<W> {
    to: W,
    /// A terminal is steered by what it shows, so it gets the visible form only.
    filter: Option<TerminalFilter>,
}

impl Outputs {
    fn new(raw: bool) -> Self {
        let filter = |terminal: bool| (terminal && !raw).then(TerminalFilter::default);
        Self {
            out: Output {
                to: tokio::io::stdout(),
                filter: filter(std::io::stdout().is_terminal()),
            },
            err: Output {
                to: tokio::io::stderr(),
                filter: filter(std::io::stderr().is_terminal()),
            },
        }
    }

    async fn write(&mut self, stream: OutputStream, bytes: Bytes) -> std::io::Result<()> {
        match stream {
            OutputStream::Stdout | OutputStream::Pty => self.out.write(bytes).await,
            OutputStream::Stderr => self.err.write(bytes).await,
        }
    }

    async fn finish(&mut self) -> std::io::Result<()> {
        self.out.finish().await?;
        self.err.finish().await
    }
}

impl<W: AsyncWrite + Unpin> Output<W> {
    async fn write(&mut self, bytes: Bytes) -> std::io::Result<()> {
        match &mut self.filter {
            Some(filter) => self.to.write_all(filter.pass(&bytes).as_bytes()).await?,
            None => self.to.write_all(&bytes).await?,
        }
        self.to.flush().await
    }

    async fn finish(&mut self) -> std::io::Result<()> {
        if let Some(filter) = &mut self.filter {
            self.to.write_all(filter.finish().as_bytes()).await?;
        }
        self.to.flush().await
    }
}
