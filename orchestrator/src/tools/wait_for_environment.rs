//! `wait_for_environment`: lets a model sit out an environment's start.
//!
//! It changes nothing in its own step: the environment can be used from the next one on. It takes
//! no place in line, so it holds up nothing.

use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Context, Prepared, function};
use crate::model::Output;
use crate::step::{StepSnapshot, StepState};

pub(super) const NAME: &str = "wait_for_environment";

#[derive(Debug, Deserialize)]
pub(super) struct Arguments {
    environment_id: String,
}

pub(super) fn definition(_: &StepSnapshot) -> Value {
    function(
        NAME,
        "Waits until an environment that is starting can be used, from the next step on.",
        json!({
            "type": "object",
            "properties": {
                "environment_id": {"type": "string", "description": "Which one to wait for."}
            },
            "required": ["environment_id"],
            "additionalProperties": false,
        }),
    )
}

pub(super) fn prepare(context: &Context, arguments: Arguments) -> Prepared {
    let context = context.clone();
    let work = async move {
        let id = arguments.environment_id;
        let known = context.step.named(&id);
        let id = known.map_or(id, |one| one.id.to_string());
        let outcome = match known.map(|one| &one.state) {
            None => return text(format!("environment `{id}` is neither ready nor starting")),
            Some(StepState::Available { .. }) => Ok(()),
            Some(_) => context.toolbox.environments.wait(&id).await,
        };
        match outcome {
            Ok(()) => text(json!({"environment_id": id, "status": "ready"}).to_string()),
            Err(reason) => text(format!("environment `{id}` did not become ready: {reason}")),
        }
    };
    Prepared {
        place: None,
        work: work.boxed(),
    }
}

fn text(text: String) -> Output {
    Output::Text(text)
}
