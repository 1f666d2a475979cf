//! Where a call runs. The answer depends on the step it was issued under and on nothing else.

use std::sync::Arc;

use farstep_path_uri::PathUri;

use super::{StepEnvironment, StepSnapshot, StepState};
use crate::machine::Machine;

/// One environment, ready for a call.
#[derive(Debug, Clone)]
pub struct Route {
    pub id: Arc<str>,
    pub cwd: PathUri,
    pub machine: Arc<dyn Machine>,
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
        self.environments
            .iter()
            .find(|environment| &*environment.id == id)
            .ok_or_else(|| RouteError::Unknown(id.to_owned()))
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
