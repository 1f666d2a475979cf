//! The step: one model request, and the frozen picture of the environments it was made under.
//!
//! ```text
//!   Selection::capture ──► Arc<StepSnapshot> ──┬─► the environment text the model reads
//!                                              ├─► the tools it is offered
//!                                              └─► where each of its calls runs
//! ```
//!
//! A snapshot is a value. It is made in one place, at the boundary between two steps, and never
//! changes; a call carries the one it was issued under until its output is recorded. Nothing that
//! handles a call may ask how the environments are now.

mod capture;
mod route;

use std::sync::Arc;

use farstep_environments::config::OnPrimaryFailure;
use farstep_path_uri::PathUri;
use uuid::Uuid;

use crate::declared::{Declared, admits};
use crate::documents::Documents;
use crate::machine::Machine;
use crate::world::{EnvironmentEntry, EnvironmentsSection, State};

pub use capture::{Selection, SelectionOptions, working_folder};
pub use route::{Route, RouteError};

/// What stays the same for all steps of a turn.
#[derive(Debug, Clone)]
pub struct TurnConfig {
    pub thread: Uuid,
    pub turn: Uuid,
    pub model: ModelProfile,
    /// Steps do not wait for environments that are still starting.
    pub deferred: bool,
    pub on_primary_failure: OnPrimaryFailure,
}

/// What the loop must know about a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelProfile {
    pub name: String,
    pub effort: Option<String>,
    pub sees_images: bool,
    pub full_detail_images: bool,
    pub freeform_patches: bool,
}

/// The frozen picture.
#[derive(Debug)]
pub struct StepSnapshot {
    number: u64,
    turn: Arc<TurnConfig>,
    /// In order of priority.
    environments: Vec<StepEnvironment>,
    primary: Option<usize>,
    documents: Arc<Documents>,
}

#[derive(Debug, Clone)]
pub struct StepEnvironment {
    pub id: Arc<str>,
    /// Known once the executor said what it is, unless it was given.
    pub cwd: Option<PathUri>,
    pub os: Option<String>,
    pub declared: Arc<Declared>,
    pub state: StepState,
}

#[derive(Debug, Clone)]
pub enum StepState {
    Starting,
    /// The handle keeps the connection for as long as a step holds it.
    Available {
        machine: Arc<dyn Machine>,
        cwd: PathUri,
        problem: Option<String>,
    },
    Disconnected {
        reason: String,
    },
    Failed {
        reason: String,
    },
}

impl ModelProfile {
    /// What is assumed of a model nobody has described.
    pub fn unknown(name: String, effort: Option<String>) -> Self {
        Self {
            name,
            effort,
            sees_images: true,
            full_detail_images: false,
            freeform_patches: true,
        }
    }
}

impl StepSnapshot {
    pub(crate) fn new(
        number: u64,
        turn: Arc<TurnConfig>,
        environments: Vec<StepEnvironment>,
        documents: Arc<Documents>,
    ) -> Self {
        let primary = choose_primary(&environments, turn.on_primary_failure);
        Self {
            number,
            turn,
            environments,
            primary,
            documents,
        }
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn turn(&self) -> &TurnConfig {
        &self.turn
    }

    /// In order of priority.
    pub fn environments(&self) -> &[StepEnvironment] {
        &self.environments
    }

    /// Where a call without an id goes, which may be an environment that failed.
    pub fn primary(&self) -> Option<&StepEnvironment> {
        self.environments.get(self.primary?)
    }

    pub fn documents(&self) -> &Documents {
        &self.documents
    }

    /// The section of the world that tells the model about this step.
    pub fn section(&self, today: &Today) -> EnvironmentsSection {
        let entry = |(position, environment): (usize, &StepEnvironment)| {
            let entry = EnvironmentEntry {
                is_primary: self.primary == Some(position),
                cwd: environment.cwd.as_ref().map(PathUri::display_native),
                os: environment.os.clone(),
                roots: shown(&environment.declared.roots),
                labels: environment.declared.labels.clone(),
                state: environment.state.told(),
            };
            (environment.id.to_string(), entry)
        };
        let primary = self.primary().and_then(|primary| match &primary.state {
            StepState::Available { cwd, .. } => Some((cwd, &primary.declared)),
            _ => None,
        });
        EnvironmentsSection {
            environments: self.environments.iter().enumerate().map(entry).collect(),
            current_date: today.date.clone(),
            timezone: today.timezone.clone(),
            workspace_roots: primary
                .map(|(cwd, declared)| shown(&roots(cwd, &declared.roots)))
                .unwrap_or_default(),
            profile: primary.and_then(|(_, declared)| declared.profile),
        }
    }
}

/// The folders of an environment that works in `cwd`: somebody chose that by hand.
pub(crate) fn roots(cwd: &PathUri, declared: &[PathUri]) -> Vec<PathUri> {
    let mut roots = declared.to_vec();
    if !admits(declared, cwd) {
        roots.insert(0, cwd.clone());
    }
    roots
}

fn shown(paths: &[PathUri]) -> Vec<String> {
    paths.iter().map(PathUri::display_native).collect()
}

impl StepState {
    fn told(&self) -> State {
        match self {
            Self::Starting => State::Starting,
            Self::Available {
                machine, problem, ..
            } => State::Available {
                shell: machine.info().shell.name.clone(),
                problem: problem.clone(),
            },
            Self::Disconnected { reason } => State::Disconnected {
                reason: reason.clone(),
            },
            Self::Failed { reason } => State::Failed {
                reason: reason.clone(),
            },
        }
    }
}

/// The day, as the orchestrator's machine has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Today {
    pub date: String,
    pub timezone: String,
}

/// The first available one, unless the first selected one must not be replaced.
///
/// By default it must not when it failed, and may be overtaken while it is merely starting: the
/// model sees who is primary, and sees the change when it comes.
fn choose_primary(environments: &[StepEnvironment], rule: OnPrimaryFailure) -> Option<usize> {
    let gone = match environments.first()?.state {
        StepState::Available { .. } => false,
        StepState::Starting => rule == OnPrimaryFailure::Wait,
        StepState::Failed { .. } | StepState::Disconnected { .. } => {
            rule != OnPrimaryFailure::NextReady
        }
    };
    if gone {
        return Some(0);
    }
    environments
        .iter()
        .position(|one| matches!(one.state, StepState::Available { .. }))
}

#[cfg(test)]
mod tests;
