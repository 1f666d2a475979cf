//! All environments of a configuration, by id.
//!
//! A registry never changes. A new configuration makes a new registry, which takes over the
//! environments that are the same; the others end when nobody holds them any more.

use farstep_protocol::rpc::Trace;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::config::{
    Config, Connect, DefaultEnvironment, Entry, EntryExtension, EnvironmentId, NewThread, Transport,
};
use crate::dial::{
    Bearer, Dial, Program, RECOVERY_WINDOW, Stdio, Target, Tasks, Unsupported, Variable, WebSocket,
    Withheld,
};
use crate::environment::Environment;

/// How long the executor of our own machine may take to say hello.
const LOCAL_INITIALIZE: Duration = Duration::from_secs(10);

/// How the executor of the orchestrator's own machine is started. It is an executor like any
/// other: there is no second way to run things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalExecutor {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub cwd: PathBuf,
}

/// What no configuration says and whoever runs the environments decides.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// Variables that started programs do not inherit, beside those known to hold credentials.
    pub credentials: Vec<String>,
    /// For how long a lost connection is tried to be recovered before its environment counts as
    /// lost. What uses it meanwhile waits. 45 s unless said otherwise, below the 80 s that
    /// executors grant a session without a connection.
    pub recovery_window: Duration,
    /// The trace every call belongs to, so that it goes on in executors and their commands. It is
    /// told to all of them, so it must not be one that was not checked.
    pub trace: Option<Trace>,
    /// Reads the variables of this process that entries name as the source of a secret.
    pub variable: Variable,
}

impl Default for Conditions {
    fn default() -> Conditions {
        Conditions {
            credentials: Vec::new(),
            recovery_window: RECOVERY_WINDOW,
            trace: None,
            variable: |name| std::env::var_os(name),
        }
    }
}

/// The environments of one configuration.
#[derive(Debug)]
pub struct Registry {
    environments: Vec<Arc<Environment>>,
    default: Option<EnvironmentId>,
    default_only: bool,
    local: LocalExecutor,
    withheld: Withheld,
    variable: Variable,
    tasks: Tasks,
}

impl Registry {
    /// The environments of `config`. Connects nothing yet.
    pub fn new(config: &Config, local: LocalExecutor) -> Registry {
        Registry::under(Conditions::default(), config, local)
    }

    /// As [`Registry::new`], where something is to be otherwise than usual.
    pub fn under(conditions: Conditions, config: &Config, local: LocalExecutor) -> Registry {
        let withheld = Withheld::and(conditions.credentials);
        let tasks =
            Tasks::recovering_within(conditions.recovery_window).belonging_to(conditions.trace);
        Registry::build(config, local, withheld, conditions.variable, tasks, &[])
    }

    /// The environments of a changed configuration. Those whose entry is the same stay the same,
    /// with their connections. Closing any of the two registries closes both.
    #[must_use]
    pub fn reconfigured(&self, config: &Config) -> Registry {
        Registry::build(
            config,
            self.local.clone(),
            self.withheld.clone(),
            self.variable,
            self.tasks.clone(),
            &self.environments,
        )
    }

    fn build(
        config: &Config,
        local: LocalExecutor,
        withheld: Withheld,
        variable: Variable,
        tasks: Tasks,
        present: &[Arc<Environment>],
    ) -> Registry {
        let kept = |entry: Option<&Entry>| {
            let same = |environment: &&Arc<Environment>| match (environment.entry(), entry) {
                (Some(old), Some(new)) => is_same(old, new),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            present.iter().find(same).map(Arc::clone)
        };
        let own = config.include_local.then(|| {
            kept(None).unwrap_or_else(|| {
                let dial = Arc::new(dial_local(&local, &withheld));
                let id = EnvironmentId::local();
                Arc::new(Environment::new(id, None, dial, tasks.clone()))
            })
        });
        let configured = config.entries.iter().map(|entry| {
            kept(Some(entry)).unwrap_or_else(|| {
                let dial = dial_entry(entry, &withheld, variable);
                let (id, entry) = (entry.id.clone(), Some(entry.clone()));
                Arc::new(Environment::new(id, entry, dial, tasks.clone()))
            })
        });
        Registry {
            environments: own.into_iter().chain(configured).collect(),
            default: match &config.default {
                DefaultEnvironment::Disabled => None,
                DefaultEnvironment::Environment(id) => Some(id.clone()),
            },
            default_only: config.farstep.new_thread == Some(NewThread::DefaultOnly),
            local,
            withheld,
            variable,
            tasks,
        }
    }

    /// An environment by its exact id.
    pub fn get(&self, id: &str) -> Option<Arc<Environment>> {
        let mut all = self.environments.iter();
        all.find(|environment| environment.id().as_str() == id)
            .map(Arc::clone)
    }

    /// Where calls go that name no environment, if the configuration wants there to be one.
    pub fn default_id(&self) -> Option<&EnvironmentId> {
        self.default.as_ref()
    }

    /// What a conversation uses that chooses nothing itself: the default first, then the others in
    /// the order of the file; nothing at all without a default.
    pub fn selection(&self) -> Vec<Arc<Environment>> {
        let Some(default) = self.default_id().and_then(|id| self.get(id.as_str())) else {
            return Vec::new();
        };
        let mut selection = vec![Arc::clone(&default)];
        if !self.default_only {
            let others = self.environments.iter();
            selection.extend(others.filter(|other| other.id() != default.id()).cloned());
        }
        selection
    }

    /// Every environment: the orchestrator's own machine, then the others in the order of the
    /// file.
    pub fn all(&self) -> Vec<Arc<Environment>> {
        self.environments.clone()
    }

    /// Starts connecting what is worth connecting before it is used: executors that listen.
    /// Those that are started wait for their first use, unless their entry says otherwise.
    pub fn connect_eagerly(&self) {
        for environment in &self.environments {
            let is_eager = environment.entry().is_some_and(|entry| {
                match (entry.farstep.connect, &entry.transport) {
                    (Some(connect), _) => connect == Connect::Eager,
                    (None, Transport::WebSocket { .. }) => true,
                    (None, Transport::Stdio { .. }) => false,
                }
            });
            if is_eager {
                environment.connect();
            }
        }
    }

    /// Ends every connection and started program, also those that are still held, and waits until
    /// nothing is left of them.
    pub async fn close(&self) {
        self.tasks.close().await;
    }
}

fn dial_local(local: &LocalExecutor, withheld: &Withheld) -> Stdio {
    Stdio {
        program: Program {
            program: local.program.clone().into_os_string(),
            args: local.args.clone(),
            env: BTreeMap::new(),
            inherited: None,
            cwd: Some(local.cwd.clone()),
        },
        withheld: withheld.clone(),
        initialize_timeout: LOCAL_INITIALIZE,
    }
}

fn dial_entry(entry: &Entry, withheld: &Withheld, variable: Variable) -> Arc<dyn Dial> {
    let dial: Arc<dyn Dial> = match &entry.transport {
        Transport::WebSocket {
            url,
            bearer,
            connect_timeout,
        } => Arc::new(WebSocket {
            target: Arc::new(Target {
                url: url.clone(),
                bearer: self::bearer(entry, bearer.as_ref(), variable),
                connect_timeout: *connect_timeout,
            }),
            initialize_timeout: entry.initialize_timeout,
        }),
        Transport::Stdio {
            program,
            args,
            env,
            cwd,
        } => {
            let ours = entry.farstep.env.clone().unwrap_or_default();
            let mut env = env.clone();
            env.extend(ours.set.unwrap_or_default().0);
            Arc::new(Stdio {
                program: Program {
                    program: program.into(),
                    args: args.clone(),
                    env,
                    inherited: ours.pass,
                    cwd: cwd.clone(),
                },
                withheld: withheld.clone().also(ours.unset.unwrap_or_default()),
                initialize_timeout: entry.initialize_timeout,
            })
        }
    };
    match unsupported(&entry.farstep) {
        Some(key) => {
            let label = dial.label();
            Arc::new(Unsupported { label, key })
        }
        None => dial,
    }
}

/// Where the token of an entry comes from; the configuration lets there be only one.
fn bearer(entry: &Entry, inline: Option<&SecretString>, variable: Variable) -> Bearer {
    let source = entry
        .farstep
        .auth
        .as_ref()
        .and_then(|auth| auth.bearer.as_ref());
    match (source, inline) {
        (Some(source), _) => Bearer::From(source.clone(), variable),
        (None, Some(inline)) => Bearer::Inline(inline.clone()),
        (None, None) => Bearer::None,
    }
}

/// The first key that guards a connection in a way this version cannot. Going without would be
/// less safe than what was asked for.
fn unsupported(extension: &EntryExtension) -> Option<&'static str> {
    let keys = [
        (extension.tls.is_some(), "farstep.tls"),
        (extension.headers.is_some(), "farstep.headers"),
    ];
    keys.into_iter()
        .find_map(|(is_set, key)| is_set.then_some(key))
}

/// Whether two entries lead to the same connection.
fn is_same(old: &Entry, new: &Entry) -> bool {
    old.id == new.id
        && old.initialize_timeout == new.initialize_timeout
        && old.skills_required == new.skills_required
        && old.farstep == new.farstep
        && is_same_transport(&old.transport, &new.transport)
}

fn is_same_transport(old: &Transport, new: &Transport) -> bool {
    match (old, new) {
        (
            Transport::WebSocket {
                url,
                bearer,
                connect_timeout,
            },
            Transport::WebSocket {
                url: new_url,
                bearer: new_bearer,
                connect_timeout: new_connect_timeout,
            },
        ) => {
            let exposed = bearer.as_ref().map(ExposeSecret::expose_secret);
            let new_exposed = new_bearer.as_ref().map(ExposeSecret::expose_secret);
            url == new_url && exposed == new_exposed && connect_timeout == new_connect_timeout
        }
        (
            Transport::Stdio {
                program,
                args,
                env,
                cwd,
            },
            Transport::Stdio {
                program: new_program,
                args: new_args,
                env: new_env,
                cwd: new_cwd,
            },
        ) => program == new_program && args == new_args && env == new_env && cwd == new_cwd,
        (Transport::WebSocket { .. }, Transport::Stdio { .. })
        | (Transport::Stdio { .. }, Transport::WebSocket { .. }) => false,
    }
}

#[cfg(test)]
mod tests;
