//! All environments of a configuration, by id.
//!
//! A registry never changes. A new configuration makes a new registry, which takes over the
//! environments that are the same; the others end when nobody holds them any more.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::TraceSource;
use crate::config::{
    Config, Connect, DefaultEnvironment, Entry, EnvironmentId, NamedValues, NewThread, Selector,
    Transport,
};
use crate::dial::{
    Bearer, Bootstrap, Dial, Meeting, Met, Program, Proxies, RECOVERY_WINDOW, Rendezvous, Ssh,
    Start, Stdio, Target, Tasks, Variable, WebSocket, Withheld,
};
use crate::environment::{Environment, Herald, Status};
use crate::known::{Acquaintance, KnownHosts};

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
    /// The traces calls belong to, so that they go on in executors and their commands.
    pub trace: Option<TraceSource>,
    /// Reads the variables of this process: those that entries name as the source of a secret, and
    /// those that name proxies.
    pub variable: Variable,
    /// Who is told when a connection is waited for.
    pub herald: Option<Herald>,
    /// Where it is kept whom environments led to. Without it, it is forgotten with the registry.
    pub known_hosts: Option<PathBuf>,
}

impl Default for Conditions {
    fn default() -> Conditions {
        Conditions {
            credentials: Vec::new(),
            recovery_window: RECOVERY_WINDOW,
            trace: None,
            variable: |name| std::env::var_os(name),
            herald: None,
            known_hosts: None,
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
    sources: Sources,
    tasks: Tasks,
}

/// What entries are read with, beside what they say.
#[derive(Clone, Debug)]
struct Sources {
    variable: Variable,
    known: Arc<KnownHosts>,
}

impl Registry {
    /// The environments of `config`. Connects nothing yet.
    pub fn new(config: &Config, local: LocalExecutor) -> Registry {
        Registry::under(Conditions::default(), config, local)
    }

    /// As [`Registry::new`], where something is to be otherwise than usual.
    pub fn under(conditions: Conditions, config: &Config, local: LocalExecutor) -> Registry {
        let withheld = Withheld::and(conditions.credentials);
        let tasks = Tasks::recovering_within(conditions.recovery_window)
            .belonging_to(conditions.trace)
            .announced_by(conditions.herald);
        let known = conditions.known_hosts.map(KnownHosts::at);
        let sources = Sources {
            variable: conditions.variable,
            known: Arc::new(known.unwrap_or_default()),
        };
        Registry::build(config, local, withheld, sources, tasks, &[])
    }

    /// The one environment of a machine that no configuration names: an executor is put there with
    /// the first connection. Its id is the host's name as far as ids allow.
    pub fn over_ssh(
        conditions: Conditions,
        bootstrap: Bootstrap,
        local: LocalExecutor,
    ) -> Registry {
        let legal = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        };
        let name: String = bootstrap.target.host.chars().map(legal).take(64).collect();
        let id = EnvironmentId::new(&name).unwrap_or_else(|_| EnvironmentId::local());
        let nothing = Config::nothing();
        let mut registry = Registry::under(conditions, &nothing, local);
        let dial = Arc::new(Ssh { bootstrap });
        let tasks = registry.tasks.clone();
        let environment = Environment::new(id.clone(), None, dial, tasks);
        registry.environments = vec![Arc::new(environment)];
        registry.default = Some(id);
        registry
    }

    /// The environments of a changed configuration. Those whose entry is the same stay the same,
    /// with their connections. Closing any of the two registries closes both.
    #[must_use]
    pub fn reconfigured(&self, config: &Config) -> Registry {
        Registry::build(
            config,
            self.local.clone(),
            self.withheld.clone(),
            self.sources.clone(),
            self.tasks.clone(),
            &self.environments,
        )
    }

    fn build(
        config: &Config,
        local: LocalExecutor,
        withheld: Withheld,
        sources: Sources,
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
                let dial = dial_entry(entry, &withheld, &sources);
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
            sources,
            tasks,
        }
    }

    /// An environment by its exact id.
    pub fn get(&self, id: &str) -> Option<Arc<Environment>> {
        let mut all = self.environments.iter();
        all.find(|environment| environment.id().as_str() == id)
            .map(Arc::clone)
    }

    /// The environments with a label, in the order of the file.
    pub fn labelled(&self, selector: &Selector) -> Vec<Arc<Environment>> {
        let has = |one: &&Arc<Environment>| {
            let labels = one.entry().and_then(|entry| entry.farstep.labels.as_ref());
            labels.is_some_and(|labels| selector.matches(labels))
        };
        self.environments.iter().filter(has).cloned().collect()
    }

    /// The environment of a label: the first that is ready, else the first that can be connected,
    /// tried one after the other. When none can, the first, so that its failure is told.
    pub async fn ready(&self, selector: &Selector) -> Option<Arc<Environment>> {
        let candidates = self.labelled(selector);
        let [first, _, ..] = candidates.as_slice() else {
            return candidates.into_iter().next();
        };
        let is_ready = |one: &&Arc<Environment>| matches!(one.status(), Status::Ready(_));
        if let Some(ready) = candidates.iter().find(is_ready) {
            return Some(Arc::clone(ready));
        }
        for candidate in &candidates {
            if candidate.executor().await.is_ok() {
                return Some(Arc::clone(candidate));
            }
        }
        Some(Arc::clone(first))
    }

    /// Where calls go that name no environment, if the configuration wants there to be one.
    pub fn default_id(&self) -> Option<&EnvironmentId> {
        self.default.as_ref()
    }

    /// What a conversation uses that chooses nothing itself: the default first, then the others in
    /// the order of the file; nothing at all without a default. Those that connect by hand alone have
    /// to be chosen by name.
    pub fn selection(&self) -> Vec<Arc<Environment>> {
        let Some(default) = self.default_id().and_then(|id| self.get(id.as_str())) else {
            return Vec::new();
        };
        let mut selection = vec![Arc::clone(&default)];
        if !self.default_only {
            let others = self.environments.iter();
            let wanted =
                |other: &&Arc<Environment>| other.id() != default.id() && !is_manual(other);
            selection.extend(others.filter(wanted).cloned());
        }
        selection
    }

    /// Every environment: the orchestrator's own machine, then the others in the order of the
    /// file.
    pub fn all(&self) -> Vec<Arc<Environment>> {
        self.environments.clone()
    }

    /// Starts connecting those of `selection` that are worth connecting before they are used:
    /// executors that listen. Those that are started wait for their first use, unless their entry
    /// says otherwise.
    pub fn connect_eagerly(selection: &[Arc<Environment>]) {
        for environment in selection {
            let is_eager = environment.entry().is_some_and(|entry| {
                match (entry.farstep.connect, &entry.transport) {
                    (Some(connect), _) => connect == Connect::Eager,
                    (None, Transport::WebSocket { .. } | Transport::Rendezvous { .. }) => true,
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
    let start = Start {
        program: Program {
            program: local.program.clone().into_os_string(),
            args: local.args.clone(),
            env: BTreeMap::new(),
            inherited: None,
            cwd: Some(local.cwd.clone()),
            own_group: true,
        },
        withheld: withheld.clone(),
    };
    Stdio {
        start: Arc::new(start),
        initialize_timeout: LOCAL_INITIALIZE,
    }
}

fn dial_entry(entry: &Entry, withheld: &Withheld, sources: &Sources) -> Arc<dyn Dial> {
    let variable = sources.variable;
    let acquaintance = Acquaintance::of(&sources.known, &entry.id);
    match &entry.transport {
        Transport::WebSocket {
            url,
            bearer,
            connect_timeout,
        } => Arc::new(WebSocket {
            target: Arc::new(Target {
                url: url.clone(),
                bearer: self::bearer(entry, bearer.as_ref(), variable),
                headers: entry.farstep.headers.clone().unwrap_or_default(),
                tls: entry.farstep.tls.clone(),
                proxies: Proxies {
                    configured: entry.farstep.proxy.clone(),
                    variable,
                },
                acquaintance,
                connect_timeout: *connect_timeout,
            }),
            initialize_timeout: entry.initialize_timeout,
        }),
        Transport::Rendezvous {
            base,
            connect_timeout,
        } => {
            let wishes = entry.farstep.rendezvous.clone();
            let named = wishes
                .as_ref()
                .and_then(|wishes| wishes.environment.clone());
            let meeting = Meeting {
                environment: named.unwrap_or_else(|| entry.id.as_str().to_owned()),
                executor_key: wishes
                    .as_ref()
                    .and_then(|wishes| wishes.executor_key.clone()),
                attestation_key: wishes.as_ref().and_then(|wishes| wishes.attestation_key),
                padding: wishes.as_ref().and_then(|wishes| wishes.padding) == Some(true),
                identity_file: wishes.and_then(|wishes| wishes.identity_file),
                registry: Target {
                    url: base.clone(),
                    bearer: self::bearer(entry, None, variable),
                    headers: NamedValues::default(),
                    tls: entry.farstep.tls.clone(),
                    proxies: Proxies {
                        configured: entry.farstep.proxy.clone(),
                        variable,
                    },
                    acquaintance,
                    connect_timeout: *connect_timeout,
                },
                met: Met::default(),
            };
            Arc::new(Rendezvous {
                target: Arc::new(meeting),
                initialize_timeout: entry.initialize_timeout,
            })
        }
        Transport::Stdio {
            program,
            args,
            env,
            cwd,
        } => {
            let ours = entry.farstep.env.clone().unwrap_or_default();
            let mut env = env.clone();
            env.extend(ours.set.unwrap_or_default().0);
            let start = Start {
                program: Program {
                    program: program.into(),
                    args: args.clone(),
                    env,
                    inherited: ours.pass,
                    cwd: cwd.clone(),
                    own_group: true,
                },
                withheld: withheld.clone().also(ours.unset.unwrap_or_default()),
            };
            Arc::new(Stdio {
                start: Arc::new(start),
                initialize_timeout: entry.initialize_timeout,
            })
        }
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

fn is_manual(environment: &Environment) -> bool {
    let entry = environment.entry();
    entry.is_some_and(|entry| entry.farstep.connect == Some(Connect::Manual))
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
        (
            Transport::Rendezvous {
                base,
                connect_timeout,
            },
            Transport::Rendezvous {
                base: new_base,
                connect_timeout: new_connect_timeout,
            },
        ) => base == new_base && connect_timeout == new_connect_timeout,
        (
            Transport::WebSocket { .. } | Transport::Rendezvous { .. } | Transport::Stdio { .. },
            _,
        ) => false,
    }
}

#[cfg(test)]
mod tests;
