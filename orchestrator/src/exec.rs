//! `farstep exec` and `farstep shell`: one command in one environment, without a model.
//!
//! Its output arrives byte for byte, its exit code becomes ours, and when the reader of the output
//! is slow the process is held back rather than its output lost. What we read it reads.

mod feed;
mod follow;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::sync::Arc;

use farstep_environments::process::{CONTROL, EnvPolicy, Inherit, StartParams};
use farstep_environments::{Environment, EnvironmentInfo, Registry};
use farstep_path_uri::PathUri;
use uuid::Uuid;

use crate::cli::{ExecArgs, ShellArgs};
use crate::declared::Declared;
use crate::jobs::{self, JobError, Store};
use crate::render::{self, Failure};
use crate::setup::{Setup, Surroundings};
use crate::step::working_folder;
use crate::stop::Stop;
use crate::terminal;
use follow::{How, run};

const INTERRUPTED: u8 = 130;
/// What an exit code that does not fit into ours becomes; also that of a lost executor.
const UNKNOWN: u8 = 255;

/// Runs the command and gives its exit code.
pub async fn exec(args: ExecArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    exec_in(load(surroundings)?, args, surroundings).await
}

/// The same, with the environments of `setup`.
pub(crate) async fn exec_in(
    setup: Setup,
    args: ExecArgs,
    surroundings: &Surroundings,
) -> Result<u8, Failure> {
    let place = Place::find(
        setup,
        args.environment.as_deref(),
        args.cwd.as_deref(),
        surroundings,
    )
    .await?;
    let argv = argv(args.command)?;
    let stdin_is_terminal = std::io::stdin().is_terminal();
    let start = |info: &EnvironmentInfo| {
        let mut params = params(argv, place.folder(info)?);
        if args.tty {
            on_terminal(&mut params, surroundings);
        }
        Ok(params)
    };
    if args.detach {
        let (stop, _listener) = Stop::listen();
        let store = Store::open(surroundings.variable).map_err(JobError::from)?;
        let started = jobs::detach(&store, &place.environment, args.keep, start, args.json);
        let outcome = tokio::select! {
            biased; // Whether it was started is in the store.
            () = stop.softly.cancelled() => Ok(INTERRUPTED),
            outcome = started => outcome,
        };
        place.registry.close().await;
        return outcome;
    }
    let how = How {
        input: !args.no_stdin,
        lends: args.tty && !args.no_stdin && stdin_is_terminal,
        raw: args.raw,
        json: args.json,
    };
    place.follow(start, how).await
}

/// Runs the environment's own shell, and gives its exit code.
pub async fn shell(args: ShellArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    shell_in(load(surroundings)?, args, surroundings).await
}

/// The same, with the environments of `setup`.
pub(crate) async fn shell_in(
    setup: Setup,
    args: ShellArgs,
    surroundings: &Surroundings,
) -> Result<u8, Failure> {
    let place = Place::find(
        setup,
        args.environment.as_deref(),
        args.cwd.as_deref(),
        surroundings,
    )
    .await?;
    let is_terminal = std::io::stdin().is_terminal() && !args.json;
    let start = |info: &EnvironmentInfo| {
        let mut argv = vec![info.shell.path.clone()];
        if is_terminal && LOGIN_SHELLS.contains(&info.shell.name.as_str()) {
            argv.push("-l".to_owned());
        }
        let mut params = params(argv, place.folder(info)?);
        // Without a terminal of our own it reads a script from us.
        if is_terminal {
            on_terminal(&mut params, surroundings);
        }
        Ok(params)
    };
    let how = How {
        input: true,
        lends: is_terminal,
        raw: args.raw,
        json: args.json,
    };
    place.follow(start, how).await
}

/// Shells that read what a person has set up for a login when they are given `-l`.
const LOGIN_SHELLS: [&str; 6] = ["bash", "dash", "fish", "ksh", "sh", "zsh"];

pub(crate) fn load(surroundings: &Surroundings) -> Result<Setup, Failure> {
    let setup = Setup::load(surroundings)?;
    for warning in &setup.warnings {
        render::note(warning);
    }
    Ok(setup)
}

/// Where a command runs.
struct Place<'a> {
    surroundings: &'a Surroundings,
    given: Option<&'a str>,
    registry: Registry,
    environment: Arc<Environment>,
}

impl<'a> Place<'a> {
    async fn find(
        setup: Setup,
        environment: Option<&str>,
        given: Option<&'a str>,
        surroundings: &'a Surroundings,
    ) -> Result<Place<'a>, Failure> {
        let registry = setup.registry(&setup.settings.credentials());
        let environment = setup.one(&registry, environment).await?;
        Ok(Place {
            surroundings,
            given,
            registry,
            environment,
        })
    }

    /// The folder given, the configured one, or what the executor says.
    fn folder(&self, info: &EnvironmentInfo) -> Result<PathUri, Failure> {
        let own = PathUri::from_host(&self.surroundings.cwd)
            .ok()
            .filter(|_| self.environment.is_local());
        let declared = Declared::of(&self.environment);
        let configured = declared.folder(own.as_ref().or(info.cwd.as_ref()));
        working_folder(self.given, configured, own.as_ref(), info).map_err(Failure::Folder)
    }

    /// Starts a process and stays with it to its end.
    async fn follow(
        &self,
        start: impl FnOnce(&EnvironmentInfo) -> Result<StartParams, Failure>,
        mut how: How,
    ) -> Result<u8, Failure> {
        let id = self.environment.id().to_string();
        let (stop, _listener) = Stop::listen();
        let work = async {
            let executor = self.environment.executor().await;
            let executor = executor.map_err(|error| Failure::Connect {
                id: id.clone(),
                error,
            })?;
            let mut params = start(executor.info())?;
            if how.input && !params.tty && !executor.info().can(CONTROL) {
                // A program that reads would wait for an end that cannot be told.
                how.input = false;
                if has_input() {
                    render::note(&format!(
                        "farstep: standard input is not passed on: `{id}` cannot be told its end"
                    ));
                    render::note(
                        "  try: copy it there with `farstep cp` and read that file, or pass --tty: \
                         then it is typed, and Ctrl-D follows",
                    );
                }
            }
            params.pipe_stdin = how.input;
            run(&executor, &id, params, how, &stop).await
        };
        let outcome = tokio::select! {
            biased; // A command that has begun handles the first wish itself.
            () = stop.at_once.cancelled() => Ok(INTERRUPTED),
            outcome = work => outcome,
        };
        // Also lets the last request out: the executor may forget the process.
        self.registry.close().await;
        outcome
    }
}

/// Whether somebody seems to have meant something to be read.
fn has_input() -> bool {
    #[cfg(unix)]
    {
        use rustix::fs::{FileType, fstat};
        let stdin = std::io::stdin();
        let Ok(stat) = fstat(&stdin) else {
            return false;
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => stat.st_size > 0,
            // Whoever starts us from a program leaves an empty pipe there as a rule.
            FileType::Fifo => rustix::io::ioctl_fionread(&stdin).is_ok_and(|bytes| bytes > 0),
            _ => false,
        }
    }
    #[cfg(not(unix))]
    !std::io::stdin().is_terminal()
}

/// Gives the command a terminal like ours.
fn on_terminal(params: &mut StartParams, surroundings: &Surroundings) {
    params.tty = true;
    params.window = terminal::window();
    if let Some(kind) = surroundings.text("TERM").filter(|kind| !kind.is_empty()) {
        params.env.insert("TERM".to_owned(), kind);
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
        window: None,
    }
}
