//! The loop: from one user input to the point where the orchestrator waits for the next.
//!
//! ```text
//!   capture a step ─► tell what changed ─► sample ─► calls run as they arrive
//!        ▲                                              │ outputs, in call order
//!        └───────────── again? ◄────────────────────────┘
//! ```
//!
//! A [`Conversation`] owns the history and is changed by one turn at a time. It refuses to know
//! how a provider is reached, what a tool does, and how anything looks on a terminal.

mod sample;

use std::sync::Arc;

use farstep_environments::config::OnPrimaryFailure;
use futures_util::future::{Either, select};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::events::{ErrorMessage, Event, Events};
use crate::model::{Item, Model, ModelError, Role, Usage};
use crate::prompt;
use crate::retry::RetryPolicy;
use crate::step::{ModelProfile, Selection, StepSnapshot, Today, TurnConfig};
use crate::tools::Toolbox;
use crate::world::World;

/// A model that says "not finished" this often in a row without doing anything never will be.
const MAX_IDLE_STEPS: u32 = 50;

/// What a conversation is made of; chosen by whoever builds the process.
pub struct Parts {
    pub model: Arc<dyn Model>,
    pub profile: ModelProfile,
    pub retry: RetryPolicy,
    pub selection: Selection,
    pub toolbox: Arc<Toolbox>,
    pub events: Events,
    pub deferred: bool,
    pub on_primary_failure: OnPrimaryFailure,
    /// The clock is the caller's.
    pub today: fn() -> Today,
}

/// A thread: its history, and what the model has been told so far.
pub struct Conversation {
    parts: Parts,
    thread: Uuid,
    instructions: Item,
    history: Vec<Item>,
    /// The picture that the history ends with; `None` before the first turn.
    told: Option<World>,
    usage: Usage,
}

/// A turn that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    pub outcome: Result<(), TurnError>,
    /// What it cost.
    pub usage: Usage,
}

/// Why a turn did not complete. The text is a fragment for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TurnError {
    #[error("{0}")]
    Model(#[from] ModelError),
    #[error(
        "the model asked {MAX_IDLE_STEPS} times in a row to go on without calling a tool or \
         finishing"
    )]
    Idle,
    #[error("interrupted")]
    Interrupted,
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation")
            .field("thread", &self.thread)
            .field("items", &self.history.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

impl Conversation {
    pub fn new(thread: Uuid, parts: Parts) -> Self {
        let instructions = Item::message(Role::Developer, [prompt::BASE]);
        Self {
            parts,
            thread,
            instructions,
            history: Vec::new(),
            told: None,
            usage: Usage::default(),
        }
    }

    /// Everything said so far, after the base instructions.
    pub fn history(&self) -> &[Item] {
        &self.history
    }

    /// Runs one turn to its end, whichever end it is.
    pub async fn run_turn(&mut self, input: &str, stop: &CancellationToken) -> Turn {
        self.parts.events.emit(Event::TurnStarted).await;
        let config = Arc::new(TurnConfig {
            thread: self.thread,
            turn: Uuid::now_v7(),
            model: self.parts.profile.clone(),
            deferred: self.parts.deferred,
            on_primary_failure: self.parts.on_primary_failure,
        });
        let mut usage = Usage::default();
        let span = tracing::info_span!("turn", turn = %config.turn);
        let steps = self.steps(&config, input, &mut usage, stop);
        let outcome = steps.instrument(span).await;
        if outcome == Err(TurnError::Interrupted) {
            self.history
                .push(Item::message(Role::User, [prompt::TURN_ABORTED]));
        }
        Turn { outcome, usage }
    }

    /// Tells the event stream how a turn ended; whatever belongs to it must have been told before.
    pub async fn conclude(&self, turn: &Turn) {
        let event = match &turn.outcome {
            Ok(()) => Event::TurnCompleted {
                usage: self.usage.into(),
                turn_usage: turn.usage.into(),
            },
            Err(error) => {
                let message = error.to_string();
                if *error != TurnError::Interrupted {
                    let message = message.clone();
                    self.parts.events.emit(Event::Error { message }).await;
                }
                Event::TurnFailed {
                    error: ErrorMessage { message },
                }
            }
        };
        self.parts.events.emit(event).await;
    }

    async fn steps(
        &mut self,
        turn: &Arc<TurnConfig>,
        input: &str,
        turn_usage: &mut Usage,
        stop: &CancellationToken,
    ) -> Result<(), TurnError> {
        let mut step = self.capture(turn, stop).await?;
        self.tell(&step);
        self.history.push(Item::message(Role::User, [input]));
        let mut idle_steps = 0;
        loop {
            let sampling = self.sample(&step, stop);
            let sampled = sampling.instrument(tracing::info_span!("step")).await?;
            self.usage += sampled.usage;
            *turn_usage += sampled.usage;
            // A tool output is never left unseen, whatever `end_turn` says.
            idle_steps = match (sampled.called, sampled.end_turn) {
                (true, _) => 0,
                (false, Some(false)) => idle_steps + 1,
                (false, _) => return Ok(()),
            };
            if idle_steps > MAX_IDLE_STEPS {
                return Err(TurnError::Idle);
            }
            step = self.capture(turn, stop).await?;
            self.tell(&step);
        }
    }

    async fn capture(
        &mut self,
        turn: &Arc<TurnConfig>,
        stop: &CancellationToken,
    ) -> Result<Arc<StepSnapshot>, TurnError> {
        unless_stopped(stop, self.parts.selection.capture(turn)).await
    }

    /// Puts into the history what the model does not know yet about this step.
    fn tell(&mut self, step: &StepSnapshot) {
        let world = prompt::world(step, &(self.parts.today)());
        match &self.told {
            None => self.history.extend(prompt::opening(step, &world)),
            Some(told) => self.history.extend(prompt::difference(told, &world)),
        }
        self.told = Some(world);
    }
}

/// The future's result, unless stopping comes first.
async fn unless_stopped<T>(
    stop: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, TurnError> {
    // Stopping is polled first: it beats going on.
    match select(Box::pin(stop.cancelled()), Box::pin(work)).await {
        Either::Left(((), _)) => Err(TurnError::Interrupted),
        Either::Right((done, _)) => Ok(done),
    }
}

#[cfg(test)]
pub(crate) mod double;
#[cfg(test)]
mod tests;
