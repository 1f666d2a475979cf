//! The tools: which are offered in a step, and how a call becomes an answer.
//!
//! ```text
//!   ToolCall ─► prepare (arguments, route: the call's own step) ─► place in line ─► work ─► Output
//!                  │ refusal                                                          ▲
//!                  └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Preparing happens where calls are still in their order and looks at nothing but the snapshot.
//! The work runs on a task of its own. Each tool lives in one file: its schema, its arguments,
//! its work.

mod apply_patch;
mod exec_command;
mod view_image;
mod wait_for_environment;
mod write_stdin;

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::events::{Detail, Event, Events, Item, Status};
use crate::locks::{Locks, Mode};
use crate::machine::EnvironmentSet;
use crate::model::{Output, Payload, ToolCall};
use crate::sessions::Sessions;
use crate::step::{RouteError, StepSnapshot};

/// What the tools of a conversation share. Nothing in here says where a call runs.
#[derive(Debug)]
pub struct Toolbox {
    sessions: Sessions,
    locks: Locks,
    events: Events,
    /// Only to wait on; a route comes from a step.
    environments: Arc<dyn EnvironmentSet>,
    /// Names of variables that no command may inherit: they hold the model's credentials.
    withheld: Vec<String>,
}

/// A call in progress. Dropping it ends the work at its next wait; processes live on.
#[derive(Debug)]
pub struct PendingCall {
    call: ToolCall,
    began: Instant,
    task: AbortOnDropHandle<Output>,
}

/// What a tool needs to know about the call it serves.
#[derive(Clone)]
struct Context {
    step: Arc<StepSnapshot>,
    toolbox: Arc<Toolbox>,
    call_id: String,
}

/// A call that may run: whom it must not disturb, and what it does.
struct Prepared {
    place: Option<(Arc<str>, Mode)>,
    work: BoxFuture<'static, Output>,
}

/// A call that cannot run. The text is its output.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    text: String,
    environment: Option<String>,
}

type Preparation = Result<Prepared, Refusal>;

/// A tool's name, and how a step describes it.
type Tool = (&'static str, fn(&StepSnapshot) -> Value);

const TOOLS: [Tool; 5] = [
    (exec_command::NAME, exec_command::definition),
    (write_stdin::NAME, write_stdin::definition),
    (apply_patch::NAME, apply_patch::definition),
    (view_image::NAME, view_image::definition),
    (wait_for_environment::NAME, wait_for_environment::definition),
];

/// The definitions this step offers.
pub fn advertised(step: &StepSnapshot) -> Arc<[Value]> {
    TOOLS
        .iter()
        .filter(|(name, _)| offers(step, name))
        .map(|(_, definition)| definition(step))
        .collect()
}

/// Whether a tool exists in this step. That depends on what is selected and not on what is
/// available, so that the tools stay the same while environments come up.
fn offers(step: &StepSnapshot, name: &str) -> bool {
    let turn = step.turn();
    let by_the_model = match name {
        exec_command::NAME | write_stdin::NAME => true,
        apply_patch::NAME => turn.model.freeform_patches,
        view_image::NAME => turn.model.sees_images,
        wait_for_environment::NAME => turn.deferred,
        _ => false,
    };
    by_the_model && !step.environments().is_empty()
}

impl Toolbox {
    pub fn new(
        environments: Arc<dyn EnvironmentSet>,
        events: Events,
        withheld: Vec<String>,
    ) -> Arc<Self> {
        let sessions = Sessions::new(events.clone());
        Arc::new(Self {
            sessions,
            locks: Locks::default(),
            events,
            environments,
            withheld,
        })
    }

    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Starts a call under the step it was issued in.
    pub fn dispatch(self: &Arc<Self>, step: &Arc<StepSnapshot>, call: &ToolCall) -> PendingCall {
        let context = Context {
            step: Arc::clone(step),
            toolbox: Arc::clone(self),
            call_id: call.call_id.clone(),
        };
        let work = match context.prepare(call) {
            Ok(Prepared { place, work }) => {
                let place = place.map(|(id, mode)| self.locks.line_up(&id, mode));
                async move {
                    let _permit = match place {
                        Some(place) => Some(place.await),
                        None => None,
                    };
                    work.await
                }
                .boxed()
            }
            Err(refusal) => context.refuse(shown_name(call), refusal).boxed(),
        };
        let name = shown_name(call);
        let span = tracing::info_span!("call", otel.name = name, call = call.call_id);
        PendingCall {
            call: call.clone(),
            began: Instant::now(),
            task: AbortOnDropHandle::new(tokio::spawn(work.instrument(span))),
        }
    }
}

impl PendingCall {
    pub fn call(&self) -> &ToolCall {
        &self.call
    }

    /// Waits for the output. May be dropped and called again.
    pub async fn output(&mut self) -> Output {
        match (&mut self.task).await {
            Ok(output) => output,
            Err(error) => {
                tracing::error!(call = %self.call.call_id, %error, "a tool ended without an output");
                Output::Text("the tool failed because of a bug in the orchestrator".to_owned())
            }
        }
    }

    /// Ends the work; what it has already said counts.
    pub fn abort(&mut self) -> Output {
        if let Some(output) = self.output().now_or_never() {
            return output;
        }
        self.task.abort();
        let seconds = self.began.elapsed().as_secs_f64();
        Output::Text(format!("Wall time: {seconds:.1} seconds\naborted by user"))
    }
}

impl Context {
    fn prepare(&self, call: &ToolCall) -> Preparation {
        // A tool that the step did not offer does not exist in it.
        if call.namespace.is_some() || !offers(&self.step, &call.name) {
            return Err(format!("unsupported call: {}", shown_name(call)).into());
        }
        match call.name.as_str() {
            exec_command::NAME => exec_command::prepare(self, arguments(&call.payload)?),
            write_stdin::NAME => write_stdin::prepare(self, arguments(&call.payload)?),
            apply_patch::NAME => apply_patch::prepare(self, free_text(&call.payload)),
            view_image::NAME => view_image::prepare(self, arguments(&call.payload)?),
            wait_for_environment::NAME => Ok(wait_for_environment::prepare(
                self,
                arguments(&call.payload)?,
            )),
            other => Err(format!("unsupported call: {other}").into()),
        }
    }

    async fn refuse(self, tool: String, refusal: Refusal) -> Output {
        let id = self.toolbox.events.item_id();
        let detail = Detail::ToolCall {
            tool,
            error: refusal.text.clone(),
            status: Status::Failed,
        };
        let environment_id = refusal.environment;
        let item = Item {
            id,
            step: self.step.number(),
            environment_id,
            detail,
        };
        self.toolbox
            .events
            .emit(Event::ItemCompleted { item })
            .await;
        Output::Text(refusal.text)
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self {
            text,
            environment: None,
        }
    }
}

impl From<RouteError> for Refusal {
    fn from(error: RouteError) -> Self {
        Self {
            text: error.to_string(),
            environment: error.environment().map(str::to_owned),
        }
    }
}

fn shown_name(call: &ToolCall) -> String {
    match &call.namespace {
        Some(namespace) => format!("{namespace}.{}", call.name),
        None => call.name.clone(),
    }
}

/// Unknown members are ignored; the first that is wrong is named.
fn arguments<T: DeserializeOwned>(payload: &Payload) -> Result<T, Refusal> {
    let (Payload::Function { arguments: text } | Payload::Custom { input: text }) = payload;
    // Some models send nothing for "no arguments".
    let text = if text.trim().is_empty() { "{}" } else { text };
    serde_json::from_str(text)
        .map_err(|error| format!("failed to parse function arguments: {error}").into())
}

/// A free-form tool that is called as a function carries its text as the only string argument.
fn free_text(payload: &Payload) -> String {
    match payload {
        Payload::Custom { input } => input.clone(),
        Payload::Function { arguments } => {
            let parsed: Option<Value> = serde_json::from_str(arguments).ok();
            let input = parsed
                .as_ref()
                .and_then(|value| value.get("input")?.as_str());
            input.unwrap_or(arguments).to_owned()
        }
    }
}

/// A function tool as it travels.
fn function(name: &str, description: &str, parameters: Value) -> Value {
    serde_json::json!({
        "type": "function",
        "name": name,
        "description": description,
        "strict": false,
        "parameters": parameters,
    })
}

/// Adds the argument that names an environment, where there is a choice.
fn with_environment_id(step: &StepSnapshot, mut properties: Value) -> Value {
    if step.environments().len() > 1 {
        let labelled = step
            .environments()
            .iter()
            .any(|one| !one.declared.labels.is_empty());
        let description = match labelled {
            false => "Which environment to use; leave it out for the primary one.",
            true => {
                "Which environment to use, by its id or as `label:NAME=VALUE`: then the first that is \
                 available. Leave it out for the primary one."
            }
        };
        properties["environment_id"] = serde_json::json!({
            "type": "string",
            "description": description,
        });
    }
    properties
}

#[cfg(test)]
mod tests;
