//! `farstep run`: one turn of a fresh conversation, from flags to an exit code.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use farstep_environments::config::{Config, OnPrimaryFailure};
use farstep_environments::{Environment, Registry};
use farstep_path_uri::PathUri;
use futures_util::future::try_join_all;
use jiff::Zoned;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use crate::cli::{Folders, RunArgs};
use crate::events::{Event, Events, Signal};
use crate::machine::{Configured, Following, declared as declared_by};
use crate::model::{HttpModel, Model, Provider};
use crate::render::{self, Failure, Human, Json};
use crate::retry::RetryPolicy;
use crate::settings::Settings;
use crate::setup::{Setup, Surroundings};
use crate::step::{ModelProfile, Selection, SelectionOptions, Today};
use crate::stop::Stop;
use crate::tools::Toolbox;
use crate::turn::{Conversation, Parts, TurnError};

const FAILED: u8 = 1;
const INTERRUPTED: u8 = 130;

/// How long the last lines may take to be shown before the process ends without them.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Tries of one HTTP request, and of a whole sampling request around them.
const REQUEST_RETRIES: u32 = 4;
const STREAM_RETRIES: u32 = 5;

/// Prompts beyond this are files and belong on a machine.
const MAX_PROMPT_BYTES: u64 = 1 << 20;

/// Runs the command and gives its exit code.
pub async fn run(args: RunArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let setup = Setup::load(surroundings)?;
    for warning in &setup.warnings {
        render::note(warning);
    }
    let settings = from_flags(&args).or(setup.settings.clone());
    let prompt = prompt(&args.prompt)?;
    let model = model(&settings, surroundings)?;
    let name = settings.model.clone().ok_or(Failure::NoModel)?;
    let withheld = settings.credentials();
    let registry = setup.registry(&withheld);
    let selection = setup.select(&registry, &args.environments).await?;
    without_skills(&selection)?;
    Registry::connect_eagerly(&selection);
    let options = options(&args.folders, &selection, surroundings)?;
    let deferred = settings.deferred.unwrap_or(selection.len() > 1);

    let (stop, _listener) = Stop::listen();
    let needed = tokio::select! {
        biased; // Whoever stops does not want to wait.
        () = stop.softly.cancelled() => None,
        outcome = required(&selection) => Some(outcome),
    };
    match needed {
        Some(Ok(())) => {}
        Some(Err(failure)) => {
            registry.close().await;
            return Err(failure);
        }
        None => {
            registry.close().await;
            return Ok(INTERRUPTED);
        }
    }
    let (events, signals) = Events::channel();
    let screen = show(args.json, selection.len() > 1, signals, stop.softly.clone());
    let (environments, registry) = match setup.config.farstep.hot_reload {
        Some(true) => {
            // Enough to close them all; what the file drops must not be held here.
            let closing = registry.reconfigured(&Config::nothing());
            let following = Following {
                follower: setup.follower,
                registry,
                named: match args.environments.as_slice() {
                    [] => Vec::new(),
                    _ => selection.iter().map(|one| one.id().to_string()).collect(),
                },
                variables: surroundings.variable,
                wanted: true,
            };
            (Configured::following(selection, following), closing)
        }
        Some(false) | None => (Configured::new(selection), registry),
    };
    let parts = Parts {
        model,
        profile: ModelProfile::unknown(name, settings.effort.clone()),
        retry: settings.retry_policy(),
        selection: Selection::new(environments.clone(), options, events.clone()),
        toolbox: Toolbox::new(environments, events.clone(), withheld),
        events: events.clone(),
        deferred,
        on_primary_failure: setup
            .config
            .farstep
            .on_primary_failure
            .unwrap_or(OnPrimaryFailure::Error),
        today,
    };
    let orderly = async {
        let outcome = one_turn(parts, &prompt, &stop.softly).await;
        events.end().await;
        // A terminal that does not take the last lines must not keep the process.
        let _ = tokio::time::timeout(LAST_LINES, screen).await;
        registry.close().await;
        outcome
    };
    let outcome = tokio::select! {
        biased; // Asking twice beats order.
        () = stop.at_once.cancelled() => Err(TurnError::Interrupted),
        outcome = orderly => outcome,
    };
    Ok(match outcome {
        Ok(()) => 0,
        Err(TurnError::Interrupted) => INTERRUPTED,
        Err(_) => FAILED,
    })
}

/// A conversation of one turn. Whatever still runs at its end is ended with it.
async fn one_turn(parts: Parts, prompt: &str, stop: &CancellationToken) -> Result<(), TurnError> {
    let thread = Uuid::now_v7();
    let toolbox = Arc::clone(&parts.toolbox);
    parts
        .events
        .emit(Event::ThreadStarted { thread_id: thread })
        .await;
    let mut conversation = Conversation::new(thread, parts);
    let turn = conversation.run_turn(prompt, stop).await;
    toolbox.sessions().terminate_all().await;
    // Told last, so that the end of the stream is the end of the turn.
    conversation.conclude(&turn).await;
    turn.outcome
}

/// A turn must not begin without the skills that an entry requires, and there are none yet.
fn without_skills(selection: &[Arc<Environment>]) -> Result<(), Failure> {
    let wish = selection.iter().find_map(|one| {
        let skill = one.entry()?.skills_required.first()?;
        Some((one.id().to_string(), skill.clone()))
    });
    wish.map_or(Ok(()), |(id, skill)| Err(Failure::Skill { id, skill }))
}

/// Waits for the environments without which their entries want no turn to begin.
async fn required(selection: &[Arc<Environment>]) -> Result<(), Failure> {
    let is_required = |one: &&Arc<Environment>| {
        let entry = one.entry();
        entry.is_some_and(|entry| entry.farstep.required == Some(true))
    };
    let attempts = selection.iter().filter(is_required).map(|one| async {
        let connected = one.executor().await;
        connected.map(drop).map_err(|error| Failure::Required {
            id: one.id().to_string(),
            error,
        })
    });
    try_join_all(attempts).await.map(drop)
}

fn from_flags(args: &RunArgs) -> Settings {
    Settings {
        base_url: args.base_url.clone(),
        model: args.model.clone(),
        effort: args.effort.clone(),
        api_key_env: args.api_key_env.clone(),
        deferred: args.deferred(),
        stream_max_retries: args.stream_max_retries,
        request_max_retries: args.request_max_retries,
        stream_idle_timeout_ms: args.stream_idle_timeout_ms,
        // A property of the network and not of a run, so there is no flag for it.
        recovery_seconds: None,
    }
}

fn prompt(argument: &str) -> Result<String, Failure> {
    let text = if argument == "-" {
        let mut text = String::new();
        std::io::stdin()
            .take(MAX_PROMPT_BYTES)
            .read_to_string(&mut text)
            .map_err(Failure::Prompt)?;
        text
    } else {
        argument.to_owned()
    };
    match text.trim().is_empty() {
        true => Err(Failure::Usage("the prompt is empty".to_owned())),
        false => Ok(text),
    }
}

fn model(settings: &Settings, surroundings: &Surroundings) -> Result<Arc<dyn Model>, Failure> {
    let mut provider = Provider::new(settings.base_url());
    provider.retry = settings.retry_policy();
    if let Some(milliseconds) = settings.stream_idle_timeout_ms {
        provider.idle_timeout = Duration::from_millis(milliseconds);
    }
    let variable = settings.api_key_env();
    provider.api_key = surroundings
        .text(variable)
        .filter(|key| !key.trim().is_empty())
        .map(|key| SecretString::from(key.trim()));
    // An address that cannot be used is the better complaint than a key it would not need.
    let model = HttpModel::new(&provider)?;
    if provider.api_key.is_none() && !is_loopback(settings.base_url()) {
        return Err(Failure::NoKey {
            variable: variable.to_owned(),
        });
    }
    Ok(Arc::new(model))
}

/// A model on this machine may need no key.
fn is_loopback(base_url: &str) -> bool {
    let url = Url::parse(base_url).ok();
    match url.as_ref().and_then(Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn options(
    folders: &Folders,
    selection: &[Arc<Environment>],
    surroundings: &Surroundings,
) -> Result<SelectionOptions, Failure> {
    let mut given = HashMap::new();
    if let Some(folder) = &folders.cd {
        let Some(primary) = selection.first() else {
            return Err(Failure::Usage(
                "--cd needs a selected environment".to_owned(),
            ));
        };
        given.insert(primary.id().to_string(), folder.clone());
    }
    for (id, folder) in &folders.cwd {
        if !selection.iter().any(|one| one.id().as_str() == id) {
            return Err(Failure::Usage(format!(
                "--cwd names `{id}`, which is not selected"
            )));
        }
        if given.insert(id.clone(), folder.clone()).is_some() {
            return Err(Failure::Usage(format!(
                "the folder of `{id}` is given twice"
            )));
        }
    }
    Ok(SelectionOptions {
        given,
        declared: declared_by(selection),
        local: PathUri::from_host(&surroundings.cwd).ok(),
    })
}

fn show(
    json: bool,
    several: bool,
    signals: mpsc::Receiver<Signal>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    if json {
        render::start(Json(std::io::stdout()), signals, stop)
    } else {
        render::start(
            Human::new(anstream::stdout(), anstream::stderr(), several),
            signals,
            stop,
        )
    }
}

/// The day on this machine.
pub(crate) fn today() -> Today {
    let now = Zoned::now();
    Today {
        date: now.date().to_string(),
        timezone: now.time_zone().iana_name().unwrap_or("Etc/UTC").to_owned(),
    }
}

impl Settings {
    fn retry_policy(&self) -> RetryPolicy {
        let requests = self.request_max_retries.unwrap_or(REQUEST_RETRIES);
        RetryPolicy::new(requests, self.stream_max_retries.unwrap_or(STREAM_RETRIES))
    }
}
