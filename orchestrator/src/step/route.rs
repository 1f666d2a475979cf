//! Where a call runs. The answer depends on the step it was issued under and on nothing else.

use std::sync::Arc;

use farstep_environments::config::Selector;
use farstep_path_uri::PathUri;

use super::{StepEnvironment, StepSnapshot, StepState, roots};
use crate::declared::admits;
use crate::machine::Machine;

/// One environment, ready for a call.
#[derive(Debug, Clone)]
pub struct Route {
    pub id: Arc<str>,
    pub cwd: PathUri,
    pub machine: Arc<dyn Machine>,
    /// The folders to keep to; without any, all of the machine.
    roots: Arc<[PathUri]>,
}

impl Route {
    /// Why `path` is none of a call's business, if it is not. Nobody is there who could approve it.
    pub fn outside(&self, path: &PathUri) -> Option<String> {
        if self.roots.is_empty() || admits(&self.roots, path) {
            return None;
        }
        let roots: Vec<String> = self.roots.iter().map(PathUri::display_native).collect();
        Some(format!(
            "`{}` is outside of the workspace roots of `{}` ({}), and nobody can be asked to allow it",
            path.display_native(),
            self.id,
            roots.join(", ")
        ))
    }
}

/// Why a call cannot run anywhere. The text is what the model reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("unknown turn environment id `{0}`")]
    Unknown(String),
    #[error("No usable execution environment is available: none is selected.")]
    NoneSelected,
    #[error(
        "No usable execution environment is available. `{0}` was still starting when this step \
         began; call wait_for_environment and use it in the next step."
    )]
    Starting(String),
    #[error(
        "No usable execution environment is available. All of them were still starting when this \
         step began; call wait_for_environment and use them in the next step."
    )]
    AllStarting,
    #[error(
        "No usable execution environment is available. `{id}` was disconnected when this step \
         began: {reason}. It is being reconnected; try again in the next step or name another one."
    )]
    Disconnected { id: String, reason: String },
    #[error(
        "No usable execution environment is available. `{id}` could not be reached: {reason}. \
         Nothing was run elsewhere in its place."
    )]
    Failed { id: String, reason: String },
}

impl RouteError {
    /// The selected environment it is about.
    pub fn environment(&self) -> Option<&str> {
        match self {
            Self::Starting(id) | Self::Disconnected { id, .. } | Self::Failed { id, .. } => {
                Some(id)
            }
            Self::Unknown(_) | Self::NoneSelected | Self::AllStarting => None,
        }
    }
}

impl StepSnapshot {
    /// `None` means the primary of this step.
    pub fn route(&self, id: Option<&str>) -> Result<Route, RouteError> {
        match id {
            Some(id) => self.find(id)?.route(),
            None => match self.primary() {
                Some(primary) => primary.route(),
                None if self.environments.is_empty() => Err(RouteError::NoneSelected),
                None => Err(self.why_no_primary()),
            },
        }
    }

    fn find(&self, id: &str) -> Result<&StepEnvironment, RouteError> {
        self.named(id)
            .ok_or_else(|| RouteError::Unknown(id.to_owned()))
    }

    /// The environment with this id, else the first with this label that is available, else the
    /// first with it.
    pub fn named(&self, id: &str) -> Option<&StepEnvironment> {
        let mut all = self.environments.iter();
        if let Some(exact) = all.find(|one| &*one.id == id) {
            return Some(exact);
        }
        let selector = Selector::parse(id)?;
        let labelled = self.environments.iter();
        let mut labelled = labelled.filter(|one| selector.matches(&one.declared.labels));
        let is_available =
            |one: &&StepEnvironment| matches!(one.state, StepState::Available { .. });
        let first = labelled.clone().next();
        labelled.find(is_available).or(first)
    }

    fn why_no_primary(&self) -> RouteError {
        let mut reasons = self.environments.iter().filter_map(|one| one.route().err());
        match (reasons.next(), reasons.next()) {
            (Some(only), None) => only,
            // With several the first that is not merely starting says more.
            (Some(first), Some(_)) => self
                .environments
                .iter()
                .filter_map(|one| one.route().err())
                .find(|error| !matches!(error, RouteError::Starting(_)))
                .unwrap_or(match first {
                    RouteError::Starting(_) => RouteError::AllStarting,
                    other => other,
                }),
            (None, _) => RouteError::NoneSelected,
        }
    }
}

impl StepEnvironment {
    fn route(&self) -> Result<Route, RouteError> {
        let id = || self.id.to_string();
        match &self.state {
            StepState::Available { machine, cwd, .. } => Ok(Route {
                id: Arc::clone(&self.id),
                cwd: cwd.clone(),
                machine: Arc::clone(machine),
                roots: match self.declared.roots.as_slice() {
                    [] => Arc::default(),
                    declared => roots(cwd, declared).into(),
                },
            }),
            StepState::Starting => Err(RouteError::Starting(id())),
            StepState::Disconnected { reason } => Err(RouteError::Disconnected {
                id: id(),
                reason: reason.clone(),
            }),
            StepState::Failed { reason } => Err(RouteError::Failed {
                id: id(),
                reason: reason.clone(),
            }),
        }
    }
}
