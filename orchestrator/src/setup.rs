//! From where this process stands to the environments it may use.
//!
//! Everything that is read from the process itself (its folder, its variables, where its program
//! lies) is read once in `main` and arrives here as values.

use farstep_protocol::rpc::Trace;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use farstep_environments::config::{self, Config, EnvironmentId};
use farstep_environments::{Conditions, Environment, LocalExecutor, Registry};

use crate::cli::config_dir;
use crate::render::Failure;
use crate::settings::Settings;

/// What this process is, as far as commands need to know.
#[derive(Debug, Clone)]
pub struct Surroundings {
    pub cwd: PathBuf,
    /// This program's own file, when the system tells.
    pub program: Option<PathBuf>,
    pub variable: fn(&str) -> Option<OsString>,
}

/// The name of the program that serves the orchestrator's own machine.
const EXECUTOR: &str = "farstep-executor";

/// Everything read from the configuration folder.
#[derive(Debug)]
pub struct Setup {
    pub settings: Settings,
    pub config: Config,
    pub warnings: Vec<String>,
    executor: Result<PathBuf, NoExecutor>,
    cwd: PathBuf,
    trace: Option<Trace>,
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
    fn trace(&self) -> Option<Trace> {
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

impl Setup {
    pub fn load(surroundings: &Surroundings) -> Result<Self, Failure> {
        let folder = config_dir(surroundings.variable).ok_or(Failure::NoConfigDir)?;
        let loaded = Settings::load(&folder)?;
        let config = config::discover(&folder, |name| surroundings.text(name))?;
        let mut warnings = loaded.warnings;
        warnings.extend(
            config
                .warnings
                .iter()
                .map(|one| one.render(config::FILE_NAME)),
        );
        Ok(Self {
            settings: loaded.settings,
            config,
            warnings,
            executor: find_executor(surroundings),
            cwd: surroundings.cwd.clone(),
            trace: surroundings.trace(),
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
            trace: self.trace.clone(),
            recovery_window: window.unwrap_or(usual.recovery_window),
            variable: usual.variable,
        };
        Registry::under(conditions, &self.config, local)
    }

    /// The environments with these ids, in this order; without any, the configuration's choice.
    pub fn select(
        &self,
        registry: &Registry,
        ids: &[String],
    ) -> Result<Vec<Arc<Environment>>, Failure> {
        let selection = match ids {
            [] => registry.selection(),
            ids => {
                let mut selection: Vec<Arc<Environment>> = Vec::new();
                for id in ids {
                    if selection.iter().any(|one| one.id().as_str() == id) {
                        return Err(Failure::Usage(format!("environment `{id}` is named twice")));
                    }
                    selection.push(self.find(registry, id)?);
                }
                selection
            }
        };
        for environment in &selection {
            self.require(environment)?;
        }
        Ok(selection)
    }

    /// One environment: the one with this id, or the configured default.
    pub fn one(&self, registry: &Registry, id: Option<&str>) -> Result<Arc<Environment>, Failure> {
        let default = registry.default_id().map(EnvironmentId::to_string);
        let id = id
            .map(str::to_owned)
            .or(default)
            .ok_or(Failure::NoDefault)?;
        let environment = self.find(registry, &id)?;
        self.require(&environment)?;
        Ok(environment)
    }

    fn find(&self, registry: &Registry, id: &str) -> Result<Arc<Environment>, Failure> {
        registry.get(id).ok_or_else(|| Failure::UnknownEnvironment {
            id: id.to_owned(),
            known: registry
                .all()
                .iter()
                .map(|one| one.id().to_string())
                .collect(),
        })
    }

    fn require(&self, environment: &Environment) -> Result<(), Failure> {
        match &self.executor {
            Err(missing) if environment.is_local() => Err(missing.clone().into()),
            _ => Ok(()),
        }
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
