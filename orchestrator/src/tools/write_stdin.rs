//! `write_stdin`: looks at a process that is still running, and types into it.
//!
//! It has no environment argument: a session belongs to the environment that runs its process.

use std::time::Duration;

use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::exec_command::{self, milliseconds};
use super::{Context, Preparation, Prepared, function};
use crate::locks::Mode;
use crate::model::Output;
use crate::sessions::WriteError;
use crate::step::StepSnapshot;

pub(super) const NAME: &str = "write_stdin";

/// After typing, an answer is expected soon; a mere look is made to wait, so that a model does not
/// spend a request every quarter of a second.
const WRITE_DEFAULT: Duration = Duration::from_millis(250);
const WRITE_MAX: Duration = Duration::from_secs(30);
const POLL_MIN: Duration = Duration::from_secs(5);
const POLL_MAX: Duration = Duration::from_secs(300);

#[derive(Debug, Deserialize)]
pub(super) struct Arguments {
    session_id: u32,
    #[serde(default)]
    chars: String,
    yield_time_ms: Option<f64>,
    max_output_tokens: Option<f64>,
}

pub(super) fn definition(_: &StepSnapshot) -> Value {
    function(
        NAME,
        "Sends characters to a running process and returns what it has said since the last \
             look. Without characters it only waits and looks. Typing needs a process started \
             with tty=true; \\u0003 interrupts, \\u0004 ends the input.",
        json!({
            "type": "object",
            "properties": {
                "session_id": {
                    "type": "number",
                    "description": "The session that exec_command reported.",
                },
                "chars": {"type": "string", "description": "What to send; empty to only look."},
                "yield_time_ms": {
                    "type": "number",
                    "description": "How long to wait for output before answering.",
                },
                "max_output_tokens": {
                    "type": "number",
                    "description": "Longer output is cut in the middle.",
                },
            },
            "required": ["session_id"],
            "additionalProperties": false,
        }),
    )
}

pub(super) fn prepare(context: &Context, arguments: Arguments) -> Preparation {
    let id = arguments.session_id;
    let session = context
        .toolbox
        .sessions
        .get(id)
        .ok_or_else(|| format!("write_stdin failed: Unknown process id {id}"))?;
    let place = Some((session.environment().clone(), Mode::Alone));
    let toolbox = context.toolbox.clone();
    let step = context.step.number();
    let work = async move {
        let wish = arguments.yield_time_ms.map(milliseconds);
        let wait = if arguments.chars.is_empty() {
            wish.unwrap_or(POLL_MIN).clamp(POLL_MIN, POLL_MAX)
        } else {
            wish.unwrap_or(WRITE_DEFAULT)
                .clamp(WRITE_DEFAULT, WRITE_MAX)
        };
        if !arguments.chars.is_empty()
            && let Err(error) = session.write(arguments.chars.into_bytes()).await
        {
            return Output::Text(match error {
                WriteError::NoInput => "write_stdin failed: stdin of this process is closed; \
                                        start it again with tty=true to type into it"
                    .to_owned(),
                WriteError::Failed(reason) => format!("write_stdin failed: {reason}"),
            });
        }
        let look = session.look(wait).await;
        if look.end.is_some() {
            toolbox.sessions.forget(id);
        }
        tracing::debug!(step, process = id, "looked at a process");
        Output::Text(exec_command::answer(
            &session,
            look,
            arguments.max_output_tokens,
        ))
    };
    Ok(Prepared {
        place,
        work: work.boxed(),
    })
}
