//! The demo's two machines: two executors on this one, each in a fresh folder of its own.
//!
//! They are what `environments.toml` would describe, started and reached in the two ways there are:
//! `builder` listens on a websocket, `server` speaks over its standard input and output. When the
//! stage is cleared, or dropped, the executors end and the folders go.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use farstep_environments::config;
use farstep_environments::{
    Conditions, ConnectError, Environment, Executor, LocalExecutor, ProcessEvent, Registry, Status,
};
use farstep_path_uri::PathUri;
use futures_util::future::join;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::{BUILDER, SERVER};
use crate::exec;
use crate::setup::trace_of_calls;

/// The variable that tells both programs what to log.
pub(super) const LOG_VARIABLE: &str = "FARSTEP_LOG";
/// How long an executor may take to say where it listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one of the demo's own commands may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Place {
    Builder,
    Server,
}

impl Place {
    pub(super) fn id(self) -> &'static str {
        match self {
            Place::Builder => BUILDER,
            Place::Server => SERVER,
        }
    }
}

/// Why the stage could not be set.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    #[error("make a folder for the demo: {0}")]
    Folder(io::Error),
    #[error("start {program}: {source}")]
    Spawn { program: String, source: io::Error },
    #[error("learn where {program} listens: {reason}")]
    NoAddress { program: String, reason: String },
    #[error("describe the environments: {0}")]
    Config(String),
}

#[derive(Debug)]
pub(super) struct Stage {
    folder: TempDir,
    /// The folder as its executors spell it.
    root: PathBuf,
    url: String,
    registry: Arc<Registry>,
    /// The connections as they were in the beginning.
    first: Vec<(Place, Result<Executor, ConnectError>)>,
    builder: Child,
    // Held open: an executor whose output nobody takes would be told so by a signal.
    _builder_says: BufReader<ChildStdout>,
}

impl Stage {
    /// Starts both executors and connects to them. `log` says what they log, on our own standard
    /// error.
    pub(super) async fn set(executor: &Path, log: &str) -> Result<Stage, StageError> {
        let folder = tempfile::Builder::new()
            .prefix("farstep-demo-")
            .tempdir()
            .map_err(StageError::Folder)?;
        let root = folder.path().canonicalize().map_err(StageError::Folder)?;
        for place in [BUILDER, SERVER] {
            std::fs::create_dir(root.join(place)).map_err(StageError::Folder)?;
        }
        let (builder, says, url) = listen(executor, &root.join(BUILDER), log).await?;
        let registry = Arc::new(registry(&url, executor, &root)?);
        let first = connect(&registry).await;
        Ok(Stage {
            folder,
            root,
            url,
            registry,
            first,
            builder,
            _builder_says: says,
        })
    }

    /// The environments, `builder` first.
    pub(super) fn selection(&self) -> Vec<Arc<Environment>> {
        self.registry.selection()
    }

    pub(super) fn folder(&self, place: Place) -> PathBuf {
        self.root.join(place.id())
    }

    /// How a place is reached, for people.
    pub(super) fn reached_by(&self, place: Place) -> String {
        match place {
            Place::Builder => format!("websocket, {}", self.url),
            Place::Server => "standard input and output".to_owned(),
        }
    }

    /// Whether both connections are still those of the beginning: an executor that went away and
    /// came back has lost its processes, even if nobody needed them.
    pub(super) fn unbroken(&self) -> Result<(), String> {
        for (place, first) in &self.first {
            let first = first
                .as_ref()
                .map_err(|error| format!("{}: {error}", place.id()))?;
            if !first.is_connected() {
                return Err(format!(
                    "the executor of {} was lost on the way",
                    place.id()
                ));
            }
        }
        Ok(())
    }

    /// What kills the executor of a place, as a power cut would, once it is called.
    pub(super) fn killer(&self, place: Place) -> impl Fn() -> Killing + use<> {
        let registry = Arc::clone(&self.registry);
        let cwd = self.folder(place);
        move || Killing {
            registry: Arc::clone(&registry),
            place,
            cwd: cwd.clone(),
        }
    }

    /// Runs a command in a place, beside the model; gives its exit code and output.
    pub(super) async fn run(&self, place: Place, argv: &[&str]) -> Result<(i64, String), String> {
        let cwd = self.folder(place);
        let command = run(&self.registry, place, &cwd, argv);
        match timeout(COMMAND_TIMEOUT, command).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {COMMAND_TIMEOUT:?}")),
        }
    }

    /// Ends both executors and removes the folders; says what is left over, if anything is.
    pub(super) async fn clear(mut self) -> Result<(), String> {
        self.registry.close().await;
        self.builder
            .kill()
            .await
            .map_err(|error| format!("the executor of {BUILDER} could not be ended: {error}"))?;
        self.folder
            .close()
            .map_err(|error| format!("the demo's folder could not be removed: {error}"))
    }
}

async fn connect(registry: &Registry) -> Vec<(Place, Result<Executor, ConnectError>)> {
    let connect = async |place: Place| match registry.get(place.id()) {
        Some(environment) => (place, environment.executor().await),
        None => (place, Err(ConnectError::Closed)),
    };
    let (builder, server) = join(connect(Place::Builder), connect(Place::Server)).await;
    vec![builder, server]
}

/// A murder that is planned.
pub(super) struct Killing {
    registry: Arc<Registry>,
    place: Place,
    cwd: PathBuf,
}

impl Killing {
    /// Returns once the environment knows that its executor is gone.
    pub(super) async fn carry_out(self) {
        let Some(environment) = self.registry.get(self.place.id()) else {
            return;
        };
        let mut status = environment.watch();
        // A command's parent is its executor, whichever way that was started.
        let argv = ["sh", "-c", "kill -KILL $PPID"];
        let _ = timeout(
            COMMAND_TIMEOUT,
            run(&self.registry, self.place, &self.cwd, &argv),
        )
        .await;
        let gone = |status: &Status| match status {
            Status::Ready(executor) => !executor.is_connected(),
            _ => true,
        };
        let _ = timeout(COMMAND_TIMEOUT, status.wait_for(gone)).await;
    }
}

async fn run(
    registry: &Registry,
    place: Place,
    cwd: &Path,
    argv: &[&str],
) -> Result<(i64, String), String> {
    let environment = registry
        .get(place.id())
        .ok_or("there is no such environment")?;
    let executor = environment
        .executor()
        .await
        .map_err(|error| error.to_string())?;
    let cwd = PathUri::from_host(cwd).map_err(|error| error.to_string())?;
    let argv = argv.iter().map(|&word| word.to_owned()).collect();
    let params = exec::params(argv, cwd);
    let mut process = executor
        .start(params)
        .await
        .map_err(|error| error.to_string())?;
    let (mut code, mut output) = (None, Vec::new());
    while let Some(event) = process.next().await {
        match event {
            ProcessEvent::Output { bytes, .. } => output.extend_from_slice(&bytes),
            ProcessEvent::Exited { code: exit, .. } => code = Some(exit),
            ProcessEvent::Closed => break,
            ProcessEvent::Truncated { .. } | ProcessEvent::Missed { .. } => {
                return Err("output was lost".to_owned());
            }
            ProcessEvent::Lost { reason } => return Err(reason),
        }
    }
    let code = code.ok_or("the command did not end")?;
    Ok((code, String::from_utf8_lossy(&output).into_owned()))
}

/// Starts an executor that listens, and reads its one line.
async fn listen(
    executor: &Path,
    folder: &Path,
    log: &str,
) -> Result<(Child, BufReader<ChildStdout>, String), StageError> {
    let program = executor.display().to_string();
    let mut child = Command::new(executor)
        .args(["--listen", "ws://127.0.0.1:0"])
        .current_dir(folder)
        .env(LOG_VARIABLE, log)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| StageError::Spawn {
            program: program.clone(),
            source,
        })?;
    let no_address = |reason: &dyn std::fmt::Display| StageError::NoAddress {
        program: program.clone(),
        reason: reason.to_string(),
    };
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| no_address(&"it has no output"))?;
    let mut says = BufReader::new(stdout);
    let mut line = String::new();
    match timeout(START_TIMEOUT, says.read_line(&mut line)).await {
        Err(_) => Err(no_address(&"it says nothing")),
        Ok(Err(error)) => Err(no_address(&error)),
        Ok(Ok(0)) => Err(no_address(&"it ended at once")),
        Ok(Ok(_)) => Ok((child, says, line.trim().to_owned())),
    }
}

fn registry(url: &str, executor: &Path, root: &Path) -> Result<Registry, StageError> {
    let text = environments_toml(url, executor, &root.join(SERVER));
    let config = config::parse(&text, root).map_err(|problems| {
        let problems: Vec<String> = problems
            .iter()
            .map(|problem| problem.render(config::FILE_NAME))
            .collect();
        StageError::Config(problems.join("; "))
    })?;
    // Never used: the configuration leaves the local environment out.
    let local = LocalExecutor {
        program: executor.to_owned(),
        args: Vec::new(),
        cwd: root.to_owned(),
    };
    // An executor of the demo that ends is not coming back.
    let conditions = Conditions {
        recovery_window: Duration::ZERO,
        trace: Some(trace_of_calls(None)),
        ..Conditions::default()
    };
    Ok(Registry::under(conditions, &config, local))
}

/// What a person would write to have these two environments.
pub(super) fn environments_toml(url: &str, executor: &Path, server: &Path) -> String {
    let quoted = |path: &Path| toml::Value::from(path.to_string_lossy().into_owned()).to_string();
    format!(
        "default = \"{BUILDER}\"\n\
         include_local = false\n\
         \n\
         [[environments]]\n\
         id = \"{BUILDER}\"\n\
         url = \"{url}\"\n\
         \n\
         [[environments]]\n\
         id = \"{SERVER}\"\n\
         program = {}\n\
         args = [\"--listen\", \"stdio\"]\n\
         cwd = {}\n",
        quoted(executor),
        quoted(server),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_survive_odd_paths() {
        let odd = Path::new("/a \"b\"\\n/é");
        let text = environments_toml("ws://127.0.0.1:9", odd, odd);
        let config = config::parse(&text, Path::new("/")).unwrap();
        let ids: Vec<_> = config
            .entries
            .iter()
            .map(|entry| entry.id.as_str())
            .collect();
        assert_eq!(ids, [BUILDER, SERVER]);
        let config::Transport::Stdio { program, cwd, .. } = &config.entries[1].transport else {
            panic!("not stdio")
        };
        assert_eq!(Path::new(program), odd);
        assert_eq!(cwd.as_deref(), Some(odd));
    }

    #[tokio::test]
    async fn a_program_that_says_nothing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("no-such-program");
        let error = Stage::set(&missing, "warn").await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("start {}: ", missing.display())),
            "{error}"
        );
        let error = Stage::set(Path::new("/bin/true"), "warn")
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(error, "learn where /bin/true listens: it ended at once");
    }
}
