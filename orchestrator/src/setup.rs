//! From where this process stands to the environments it may use.
//!
//! Everything that is read from the process itself (its folder, its variables, where its program
//! lies) is read once in `main` and arrives here as values.

use farstep_protocol::rpc::Trace;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use farstep_environments::config::{self, Config, EnvironmentId, Follower, Places, Selector};
use farstep_environments::{
    Bootstrap, Conditions, Environment, Herald, KNOWN_HOSTS, LocalExecutor, Registry, TraceSource,
};
use tracing::Span;

use crate::cli::{codex_dir, config_dir, state_dir};
use crate::declared::Declared;
use crate::render::{self, Failure};
use crate::settings::Settings;

/// What this process is, as far as commands need to know.
#[derive(Debug, Clone)]
pub struct Surroundings {
    pub cwd: PathBuf,
    /// This program's own file, when the system tells.
    pub program: Option<PathBuf>,
    pub variable: fn(&str) -> Option<OsString>,
    /// Somebody watches standard error and wants to read there what takes long.
    pub is_watched: bool,
}

/// The name of the program that serves the orchestrator's own machine.
const EXECUTOR: &str = "farstep-executor";

/// Everything read from the configuration folder.
#[derive(Debug)]
pub struct Setup {
    /// Where the files may lie; the folders need not exist.
    pub places: Places,
    pub settings: Settings,
    pub config: Config,
    /// Knows the files of `config` as they were when it was read.
    pub follower: Follower,
    pub warnings: Vec<String>,
    /// The one machine to use, whatever is configured.
    pub ssh: Option<Bootstrap>,
    /// Where it is kept whom environments led to, if this machine has a place for it.
    pub known_hosts: Option<PathBuf>,
    executor: Result<PathBuf, NoExecutor>,
    cwd: PathBuf,
    trace: Option<Trace>,
    is_watched: bool,
}

/// There is no program to serve the orchestrator's own machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("find `{EXECUTOR}`: it is neither beside this program ({beside}) nor on PATH")]
pub struct NoExecutor {
    beside: String,
}

impl Surroundings {
    pub fn text(&self, name: &str) -> Option<String> {
        (self.variable)(name).and_then(|value| value.into_string().ok())
    }
}

impl Surroundings {
    /// The trace this program was started in, if whoever started it said so.
    pub fn trace(&self) -> Option<Trace> {
        let trace = Trace {
            traceparent: self.text("TRACEPARENT"),
            tracestate: self.text("TRACESTATE"),
        };
        let checked = trace.checked();
        if checked.ignored {
            tracing::warn!("TRACEPARENT or TRACESTATE is no trace context and is ignored");
        }
        checked.trace
    }
}

/// Calls belong to the span they are made in, if spans are collected, else to the trace this program
/// was started in.
pub fn trace_of_calls(started_in: Option<Trace>) -> TraceSource {
    TraceSource::new(move || {
        farstep_telemetry::trace_of(&Span::current()).or_else(|| started_in.clone())
    })
}

impl Setup {
    /// The folder this process was started in.
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    pub fn load(surroundings: &Surroundings) -> Result<Self, Failure> {
        let folder = config_dir(surroundings.variable).ok_or(Failure::NoConfigDir)?;
        let loaded = Settings::load(&folder)?;
        let places = Places {
            own: folder,
            codex: codex_dir(surroundings.variable),
        };
        // Before the files are read, so that it misses nothing.
        let follower = Follower::new(places.clone());
        let config = config::discover(&places, |name| surroundings.text(name))?;
        let mut warnings = loaded.warnings;
        warnings.extend(config.told_warnings());
        Ok(Self {
            places,
            settings: loaded.settings,
            config,
            follower,
            warnings,
            ssh: None,
            known_hosts: state_dir(surroundings.variable).map(|folder| folder.join(KNOWN_HOSTS)),
            executor: find_executor(surroundings),
            cwd: surroundings.cwd.clone(),
            trace: surroundings.trace(),
            is_watched: surroundings.is_watched,
        })
    }

    /// The registry of everything configured. Dials nothing yet.
    ///
    /// `credentials` names variables that no started program may inherit.
    pub fn registry(&self, credentials: &[String]) -> Registry {
        // A missing program matters only to those who use it; see `require`.
        let program = self
            .executor
            .clone()
            .unwrap_or_else(|_| PathBuf::from(EXECUTOR));
        let args = vec!["--listen".to_owned(), "stdio".to_owned()];
        let local = LocalExecutor {
            program,
            args,
            cwd: self.cwd.clone(),
        };
        let usual = Conditions::default();
        let window = self.settings.recovery_seconds.map(Duration::from_secs);
        let conditions = Conditions {
            credentials: credentials.to_vec(),
            trace: Some(trace_of_calls(self.trace.clone())),
            recovery_window: window.unwrap_or(usual.recovery_window),
            variable: usual.variable,
            known_hosts: self.known_hosts.clone(),
            herald: self.is_watched.then(|| Herald::new(render::waiting)),
        };
        match &self.ssh {
            Some(bootstrap) => Registry::over_ssh(conditions, bootstrap.clone(), local),
            None => Registry::under(conditions, &self.config, local),
        }
    }

    /// The environments with these ids or labels, in this order; without any, the configuration's
    /// choice.
    pub async fn select(
        &self,
        registry: &Registry,
        ids: &[String],
    ) -> Result<Vec<Arc<Environment>>, Failure> {
        let mut selection: Vec<Arc<Environment>> = Vec::new();
        for id in ids {
            let environment = self.find(registry, id).await?;
            if selection.iter().any(|one| one.id() == environment.id()) {
                let id = environment.id();
                return Err(Failure::Usage(format!("environment `{id}` is named twice")));
            }
            selection.push(environment);
        }
        if ids.is_empty() {
            selection = registry.selection();
        }
        for environment in &selection {
            self.require(environment)?;
        }
        Ok(selection)
    }

    /// The environments to look at: all with these ids and labels, or just all.
    pub fn every(
        &self,
        registry: &Registry,
        ids: &[String],
    ) -> Result<Vec<Arc<Environment>>, Failure> {
        if ids.is_empty() {
            return Ok(registry.all());
        }
        let mut every: Vec<Arc<Environment>> = Vec::new();
        for id in ids {
            let found = match (registry.get(id), Selector::parse(id)) {
                (Some(one), _) => vec![one],
                (None, Some(selector)) => registry.labelled(&selector),
                (None, None) => Vec::new(),
            };
            if found.is_empty() {
                return Err(unknown(registry, id));
            }
            for one in found {
                self.require(&one)?;
                if !every.iter().any(|other| other.id() == one.id()) {
                    every.push(one);
                }
            }
        }
        Ok(every)
    }

    /// One environment: the one with this id, the first ready one with this label, or the
    /// configured default.
    pub async fn one(
        &self,
        registry: &Registry,
        id: Option<&str>,
    ) -> Result<Arc<Environment>, Failure> {
        let default = registry.default_id().map(EnvironmentId::to_string);
        let id = id
            .map(str::to_owned)
            .or(default)
            .ok_or(Failure::NoDefault)?;
        let environment = self.find(registry, &id).await?;
        self.require(&environment)?;
        Ok(environment)
    }

    async fn find(&self, registry: &Registry, id: &str) -> Result<Arc<Environment>, Failure> {
        let found = match (registry.get(id), Selector::parse(id)) {
            (None, Some(selector)) => registry.ready(&selector).await,
            (found, _) => found,
        };
        found.ok_or_else(|| unknown(registry, id))
    }

    fn require(&self, environment: &Environment) -> Result<(), Failure> {
        match &self.executor {
            Err(missing) if environment.is_local() => Err(missing.clone().into()),
            _ => Ok(()),
        }
    }
}

fn unknown(registry: &Registry, id: &str) -> Failure {
    let by_label = Selector::parse(id).is_some();
    let name = |one: &Arc<Environment>| {
        let labels = Declared::of(one).labels;
        let words = labels.iter().map(|(name, value)| format!("{name}={value}"));
        let words: Vec<String> = words.collect();
        match by_label {
            true if !words.is_empty() => format!("{} ({})", one.id(), words.join(", ")),
            _ => one.id().to_string(),
        }
    };
    Failure::UnknownEnvironment {
        id: id.to_owned(),
        known: registry.all().iter().map(name).collect(),
    }
}

/// Beside this program first: that is the one it was built with.
pub(crate) fn find_executor(surroundings: &Surroundings) -> Result<PathBuf, NoExecutor> {
    let file = format!("{EXECUTOR}{}", std::env::consts::EXE_SUFFIX);
    let folder = surroundings.program.as_deref().and_then(Path::parent);
    let beside = folder.map(|folder| folder.join(&file));
    if let Some(path) = beside.as_ref().filter(|path| path.is_file()) {
        return Ok(path.clone());
    }
    let path = (surroundings.variable)("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        // An empty entry means the working folder, which may hold anybody's programs.
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(&file))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| NoExecutor {
            beside: folder.unwrap_or(Path::new("unknown")).display().to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(program: Option<PathBuf>) -> Surroundings {
        Surroundings {
            cwd: PathBuf::from("/"),
            program,
            variable: |_| None,
            is_watched: false,
        }
    }

    #[test]
    fn the_executor_beside_this_program_is_found_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder
            .path()
            .join(format!("{EXECUTOR}{}", std::env::consts::EXE_SUFFIX));
        let program = Some(folder.path().join("farstep"));
        let missing = find_executor(&at(program.clone())).unwrap_err().to_string();
        let beside = folder.path().display().to_string();
        assert!(
            missing.contains(&beside) && missing.contains("PATH"),
            "{missing}"
        );
        std::fs::write(&file, "").unwrap();
        assert_eq!(find_executor(&at(program)), Ok(file));
    }
}
