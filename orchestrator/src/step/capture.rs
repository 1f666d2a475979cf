//! The one place where a snapshot is made.
//!
//! A [`Selection`] is what a conversation has chosen: which environments, in which order, and in
//! which folders. It owns the handle on their current state, so nothing else can look.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use farstep_environments::EnvironmentInfo;
use farstep_path_uri::{Convention, PathUri};
use futures_util::future::join_all;
use uuid::Uuid;

use super::{StepEnvironment, StepSnapshot, StepState, TurnConfig};
use crate::declared::Declared;
use crate::documents::{self, Documents, Findings};
use crate::events::{Event, Events};
use crate::machine::{Change, EnvironmentSet, Presence, Refreshed, Seen};

/// How long a step waits for an environment's documents. Behind it the step goes on without
/// them, because an executor that hangs must not hold the loop.
const DOCUMENTS_WAIT: Duration = Duration::from_secs(10);

/// How long the first step of a turn waits for environments when it need not wait for them. Shorter
/// than anybody notices beside a model's answer; behind it they are shown as starting.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// What is chosen once, for the conversation.
#[derive(Debug, Clone, Default)]
pub struct SelectionOptions {
    /// Folders by environment, in the environment's spelling: given for this run.
    pub given: HashMap<String, String>,
    /// What the environments' own configuration declares.
    pub declared: HashMap<String, Arc<Declared>>,
    /// The orchestrator's folder, for environments on its own machine.
    pub local: Option<PathUri>,
}

/// The environments of a conversation.
#[derive(Debug)]
pub struct Selection {
    set: Arc<dyn EnvironmentSet>,
    options: SelectionOptions,
    events: Events,
    steps: u64,
    /// With deferred start: the turn whose first step is over.
    greeted: Option<Uuid>,
    /// Without deferred start: what the turn's first step found.
    frozen: Option<(Uuid, Vec<Seen>)>,
    /// One round per environment and folder, for the whole conversation.
    findings: HashMap<(Arc<str>, PathUri), Findings>,
    /// Where each environment was last placed, for when it cannot say so itself.
    folders: HashMap<Arc<str>, PathUri>,
    /// What the event stream said last about each environment.
    reported: HashMap<Arc<str>, bool>,
}

impl Selection {
    pub fn new(set: Arc<dyn EnvironmentSet>, options: SelectionOptions, events: Events) -> Self {
        Self {
            set,
            options,
            events,
            steps: 0,
            greeted: None,
            frozen: None,
            findings: HashMap::new(),
            folders: HashMap::new(),
            reported: HashMap::new(),
        }
    }

    /// The picture for the next sampling request.
    pub async fn capture(&mut self, turn: &Arc<TurnConfig>) -> Arc<StepSnapshot> {
        self.refresh().await;
        let seen = match turn.deferred {
            true => self.looked(turn.turn).await,
            false => self.settled(turn.turn).await,
        };
        let mut environments: Vec<StepEnvironment> = seen
            .into_iter()
            .map(|one| self.options.place(one))
            .collect();
        self.remember(&mut environments);
        let documents = self.consult(&mut environments).await;
        self.report(&environments).await;
        self.steps += 1;
        tracing::debug!(
            step = self.steps,
            environments = environments.len(),
            "step captured"
        );
        Arc::new(StepSnapshot::new(
            self.steps,
            Arc::clone(turn),
            environments,
            Arc::new(documents),
        ))
    }

    /// Takes in a changed configuration: here, because the step before is over and the next has not
    /// begun.
    async fn refresh(&mut self) {
        let Refreshed { change, problem } = self.set.refresh().await;
        if let Some(problem) = problem {
            let message = format!(
                "the changed configuration is not used, the environments stay as they were:\n{problem}"
            );
            self.events.emit(Event::Error { message }).await;
        }
        let Some(Change { declared, replaced }) = change else {
            return;
        };
        tracing::info!(replaced = replaced.len(), "the configuration has changed");
        self.options.declared = declared;
        self.frozen = None;
        // What is behind an id now may be another machine.
        self.findings.retain(|(id, _), _| !replaced.contains(id));
        self.folders.retain(|id, _| !replaced.contains(id));
        for id in replaced {
            if self.reported.remove(&id) == Some(true) {
                let event = Event::EnvironmentDisconnected {
                    environment_id: id.to_string(),
                    reason: "its configuration was changed or removed".to_owned(),
                };
                self.events.emit(event).await;
            }
        }
    }

    /// Whatever is there. Only the turn's first step waits a moment, because environments that are
    /// quick to start would otherwise be shown as starting for nothing.
    async fn looked(&mut self, turn: Uuid) -> Vec<Seen> {
        if self.greeted.replace(turn) == Some(turn) {
            return self.set.look();
        }
        let settled = tokio::time::timeout(FIRST_LOOK, self.set.settle()).await;
        settled.unwrap_or_else(|_| self.set.look())
    }

    /// The same picture for the whole turn, but for connections that have ended since: those are
    /// looked for again, because a handle on one can never answer any more.
    async fn settled(&mut self, turn: Uuid) -> Vec<Seen> {
        if let Some((frozen_in, seen)) = &self.frozen
            && *frozen_in == turn
            && seen.iter().all(Seen::may_answer)
        {
            return seen.clone();
        }
        let seen = self.set.settle().await;
        self.frozen = Some((turn, seen.clone()));
        seen
    }

    /// An environment that went away keeps the folder it had, as far as the model is told.
    fn remember(&mut self, environments: &mut [StepEnvironment]) {
        for environment in environments {
            match &environment.cwd {
                Some(cwd) => {
                    self.folders
                        .insert(Arc::clone(&environment.id), cwd.clone());
                }
                None => environment.cwd = self.folders.get(&environment.id).cloned(),
            }
        }
    }

    /// Reads the documents of environments that are new here, all at the same time.
    async fn consult(&mut self, environments: &mut [StepEnvironment]) -> Documents {
        let missing = environments
            .iter()
            .filter_map(|environment| match &environment.state {
                StepState::Available { machine, cwd, .. } => {
                    let key = (Arc::clone(&environment.id), cwd.clone());
                    (!self.findings.contains_key(&key)).then(|| (key, Arc::clone(machine)))
                }
                _ => None,
            });
        let rounds = missing.map(|(key, machine)| async move {
            let round = documents::read(&key.0, machine.as_ref(), &key.1);
            let findings = tokio::time::timeout(DOCUMENTS_WAIT, round).await;
            (key, machine, findings)
        });
        for (key, machine, findings) in join_all(rounds.collect::<Vec<_>>()).await {
            match findings {
                // What a dying connection did not answer is asked again over the next one.
                Ok(findings) if machine.is_connected() => {
                    if let Some(problem) = &findings.problem {
                        let message = format!("environment `{}`: {problem}", key.0);
                        self.events.emit(Event::Error { message }).await;
                    }
                    self.findings.insert(key, findings);
                }
                Ok(_) => {}
                Err(_) => tracing::warn!(env = %key.0, "reading project documents took too long"),
            }
        }
        let mut parts = Vec::new();
        for environment in environments {
            if let StepState::Available { cwd, problem, .. } = &mut environment.state
                && let Some(found) = self
                    .findings
                    .get(&(Arc::clone(&environment.id), cwd.clone()))
            {
                problem.clone_from(&found.problem);
                parts.extend(found.part.clone());
            }
        }
        Documents { parts }
    }

    /// Tells the event stream who came and who went since the last step.
    async fn report(&mut self, environments: &[StepEnvironment]) {
        for environment in environments {
            let (present, event) = match &environment.state {
                StepState::Starting => continue,
                StepState::Available { cwd, .. } => (
                    true,
                    Event::EnvironmentConnected {
                        environment_id: environment.id.to_string(),
                        os: environment.os.clone(),
                        cwd: Some(cwd.display_native()),
                    },
                ),
                StepState::Disconnected { reason } | StepState::Failed { reason } => (
                    false,
                    Event::EnvironmentDisconnected {
                        environment_id: environment.id.to_string(),
                        reason: reason.clone(),
                    },
                ),
            };
            if self.reported.insert(Arc::clone(&environment.id), present) != Some(present) {
                self.events.emit(event).await;
            }
        }
    }
}

impl Seen {
    fn may_answer(&self) -> bool {
        match &self.presence {
            Presence::Available(machine) => machine.is_connected(),
            _ => true,
        }
    }
}

impl SelectionOptions {
    /// Gives an environment its folder. The first that is known counts: given for this run, the
    /// environment's configuration, the orchestrator's folder where that is the same machine,
    /// the executor's folder, the executor's home.
    fn place(&self, seen: Seen) -> StepEnvironment {
        let given = self.given.get(&*seen.id).map(String::as_str);
        let declared = self.declared.get(&*seen.id).cloned().unwrap_or_default();
        let early = || {
            let given = given.and_then(absolute);
            given.or_else(|| declared.folder(None).cloned())
        };
        let (cwd, os, state) = match seen.presence {
            Presence::Available(machine) => {
                let os = machine.info().platform_os.clone();
                let own = self.local.as_ref().filter(|_| seen.local);
                let configured = declared.folder(own.or(machine.info().cwd.as_ref()));
                match working_folder(given, configured, own, machine.info()) {
                    Ok(cwd) => {
                        let state = StepState::Available {
                            machine,
                            cwd: cwd.clone(),
                            problem: None,
                        };
                        (Some(cwd), os, state)
                    }
                    Err(reason) => (None, os, StepState::Failed { reason }),
                }
            }
            Presence::Starting => (early(), None, StepState::Starting),
            Presence::Disconnected { reason } => {
                (early(), None, StepState::Disconnected { reason })
            }
            Presence::Failed { reason } => (early(), None, StepState::Failed { reason }),
        };
        StepEnvironment {
            id: seen.id,
            cwd,
            os,
            declared,
            state,
        }
    }
}

/// The first that is known counts; a relative wish is meant from there on.
///
/// `own` is the orchestrator's folder, for an executor on its machine.
pub fn working_folder(
    given: Option<&str>,
    configured: Option<&PathUri>,
    own: Option<&PathUri>,
    info: &EnvironmentInfo,
) -> Result<PathUri, String> {
    let base = configured
        .or(own)
        .or(info.cwd.as_ref())
        .or(info.user_home_dir.as_ref());
    match (given, base) {
        (None, Some(base)) => Ok(base.clone()),
        (None, None) => {
            Err("the executor reports no working folder; name one with --cwd".to_owned())
        }
        (Some(text), _) if text.starts_with("file:") => PathUri::parse_strict(text)
            .map_err(|error| format!("the working folder `{text}` is no usable URI: {error}")),
        (Some(text), Some(base)) => base
            .join(text)
            .map_err(|error| format!("the working folder `{text}` cannot be used: {error}")),
        (Some(text), None) => absolute(text)
            .ok_or_else(|| format!("the working folder `{text}` must be an absolute path")),
    }
}

/// A folder whose text alone says which platform it belongs to.
fn absolute(text: &str) -> Option<PathUri> {
    if text.starts_with("file:") {
        return PathUri::parse_strict(text).ok();
    }
    let convention = match text.as_bytes() {
        [b'/', ..] => Convention::Posix,
        [b'\\', b'\\', ..] | [_, b':', b'\\' | b'/', ..] => Convention::Windows,
        _ => return None,
    };
    PathUri::from_native(text, convention).ok()
}
