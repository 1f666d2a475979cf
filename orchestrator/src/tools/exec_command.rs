//! `exec_command`: runs a command line in an environment's own shell.
//!
//! One round trip for a short command: the start is acknowledged, output and end are pushed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use farstep_path_uri::PathUri;
use farstep_protocol::method::environment::Shell;
use farstep_protocol::method::process::{EnvPolicy, Inherit, Metadata, StartParams};
use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Context, Preparation, Prepared, Refusal, apply_patch, function, with_environment_id};
use crate::events::{Detail, Event, Item, Status};
use crate::locks::Mode;
use crate::model::Output;
use crate::patch::patch_in_command;
use crate::sessions::{End, Look, Opening, Session};
use crate::step::{Route, StepSnapshot};
use crate::text;

pub(super) const NAME: &str = "exec_command";

const YIELD_DEFAULT: Duration = Duration::from_secs(10);
const YIELD_MIN: Duration = Duration::from_millis(250);
const YIELD_MAX: Duration = Duration::from_secs(30);
/// Process start is slow there, and a wait that always ends before it is a wasted step.
const YIELD_MIN_WINDOWS: Duration = Duration::from_secs(2);

/// What a model gets of one look unless it asks for less.
const MAX_OUTPUT_TOKENS: usize = 10_000;

#[derive(Debug, Deserialize)]
pub(super) struct Arguments {
    cmd: String,
    workdir: Option<String>,
    shell: Option<String>,
    login: Option<bool>,
    tty: Option<bool>,
    yield_time_ms: Option<f64>,
    max_output_tokens: Option<f64>,
    environment_id: Option<String>,
}

pub(super) fn definition(step: &StepSnapshot) -> Value {
    let properties = with_environment_id(
        step,
        json!({
            "cmd": {"type": "string", "description": "The command line."},
            "workdir": {
                "type": "string",
                "description": "Where to run it, in the environment's spelling; relative to its \
                                working folder, which is the default.",
            },
            "shell": {
                "type": "string",
                "description": "The shell to use; only the environment's own kind works.",
            },
            "login": {
                "type": "boolean",
                "description": "Whether to use a login shell; true by default.",
            },
            "tty": {
                "type": "boolean",
                "description": "Whether to run on a terminal, so that write_stdin can type; false \
                                by default.",
            },
            "yield_time_ms": {
                "type": "number",
                "description": "How long to wait for the end; a command that takes longer keeps \
                                running under a session id. 250 to 30000, 10000 by default.",
            },
            "max_output_tokens": {
                "type": "number",
                "description": "Longer output is cut in the middle.",
            },
        }),
    );
    function(
        NAME,
        "Runs a command in an environment's shell and returns its output, or a session id when it \
         is still running.",
        json!({
            "type": "object",
            "properties": properties,
            "required": ["cmd"],
            "additionalProperties": false,
        }),
    )
}

pub(super) fn prepare(context: &Context, arguments: Arguments) -> Preparation {
    let route = context.step.route(arguments.environment_id.as_deref())?;
    let refuse = |text: String| Refusal {
        text,
        environment: Some(route.id.to_string()),
    };
    // Models write patches as commands; what is nothing but a patch is applied as one.
    if let Some(patch) = patch_in_command(&arguments.cmd) {
        return apply_patch::prepare_in(context, patch, route, apply_patch::Shape::Command);
    }
    let cwd = match &arguments.workdir {
        Some(text) => route.cwd.join(text).map_err(|error| {
            refuse(format!(
                "exec_command failed: workdir `{text}` cannot be used: {error}"
            ))
        })?,
        None => route.cwd.clone(),
    };
    if let Some(reason) = route.outside(&cwd) {
        return Err(refuse(format!("exec_command rejected: workdir {reason}")));
    }
    let shell = &route.machine.info().shell;
    if let Some(wish) = &arguments.shell
        && kind_of(wish) != kind_of(&shell.name)
    {
        return Err(refuse(format!(
            "environment `{}` only supports `{}`",
            route.id, shell.name
        )));
    }
    let argv = command_line(shell, arguments.login.unwrap_or(true), &arguments.cmd);
    let params = context.start_params(argv, cwd, arguments.tty.unwrap_or(false));
    let place = Some((Arc::clone(&route.id), Mode::Shared));
    let wait = waiting_time(arguments.yield_time_ms, &route);
    let work = run(
        context.clone(),
        route,
        params,
        wait,
        arguments.max_output_tokens,
    );
    Ok(Prepared {
        place,
        work: work.boxed(),
    })
}

async fn run(
    context: Context,
    route: Route,
    params: StartParams,
    wait: Duration,
    max_tokens: Option<f64>,
) -> Output {
    let toolbox = &context.toolbox;
    let item = Item {
        id: toolbox.events.item_id(),
        step: context.step.number(),
        environment_id: Some(route.id.to_string()),
        detail: Detail::CommandExecution {
            command: text::shell_words(&params.argv),
            aggregated_output: String::new(),
            exit_code: None,
            status: Status::InProgress,
        },
    };
    let opening = Opening {
        environment: route.id,
        machine: route.machine,
        params,
        item,
    };
    let session = toolbox.sessions.open(opening);
    let look = session.look(wait).await;
    match &look.end {
        Some(End::NotStarted { reason }) => {
            toolbox.sessions.forget(session.number());
            return Output::Text(format!("exec_command failed: {reason}"));
        }
        Some(_) => toolbox.sessions.forget(session.number()),
        None => {
            toolbox
                .events
                .emit(Event::ItemUpdated {
                    item: session.item(),
                })
                .await
        }
    }
    Output::Text(answer(&session, look, max_tokens))
}

/// What a model reads about a look at a process.
pub(super) fn answer(session: &Session, look: Look, max_tokens: Option<f64>) -> String {
    let status = match &look.end {
        None => format!("Process running with session ID {}", session.number()),
        Some(End::Exited { code }) => format!("Process exited with code {code}"),
        Some(End::Lost { .. }) => "Process lost; its exit code is unknown".to_owned(),
        Some(End::NotStarted { .. }) => "Process did not start".to_owned(),
    };
    let budget = max_tokens.map_or(MAX_OUTPUT_TOKENS, |wish| wish.max(0.0) as usize);
    let mut output = text::for_model(&look.output, budget.min(MAX_OUTPUT_TOKENS));
    if let Some(End::NotStarted { reason }) = &look.end {
        output.text.push_str(reason);
    }
    format!(
        "Chunk ID: {}\nWall time: {:.4} seconds\n{status}\nOriginal token count: {}\nOutput:\n{}",
        text::chunk_id(),
        look.waited.as_secs_f64(),
        output.original_tokens,
        output.text,
    )
}

/// A number of milliseconds as models write it: any JSON number.
pub(super) fn milliseconds(number: f64) -> Duration {
    // A cast saturates, and what is not a number becomes zero.
    Duration::from_millis(number as u64)
}

fn waiting_time(wish: Option<f64>, route: &Route) -> Duration {
    let windows = route.machine.info().platform_os.as_deref() == Some("windows");
    let least = if windows {
        YIELD_MIN_WINDOWS
    } else {
        YIELD_MIN
    };
    wish.map_or(YIELD_DEFAULT, milliseconds)
        .clamp(least, YIELD_MAX)
}

/// `bash` for `/bin/bash`, `powershell` for `C:\...\PowerShell.exe`.
fn kind_of(shell: &str) -> String {
    let name = shell
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or(shell)
        .to_ascii_lowercase();
    name.strip_suffix(".exe").map(str::to_owned).unwrap_or(name)
}

fn command_line(shell: &Shell, login: bool, command: &str) -> Vec<String> {
    let flags: &[&str] = match (kind_of(&shell.name).as_str(), login) {
        ("powershell" | "pwsh", true) => &["-Command"],
        ("powershell" | "pwsh", false) => &["-NoProfile", "-Command"],
        ("cmd", _) => &["/c"],
        (_, true) => &["-lc"],
        (_, false) => &["-c"],
    };
    let words = [shell.path.as_str()]
        .into_iter()
        .chain(flags.iter().copied())
        .chain([command]);
    words.map(str::to_owned).collect()
}

impl Context {
    fn start_params(&self, argv: Vec<String>, cwd: PathUri, tty: bool) -> StartParams {
        let turn = self.step.turn();
        StartParams {
            // The table of sessions gives the id.
            process_id: String::new(),
            metadata: Some(Metadata {
                thread_id: Some(turn.thread),
                tool_call_id: Some(self.call_id.clone()),
            }),
            argv,
            cwd,
            env_policy: Some(EnvPolicy {
                inherit: Inherit::All,
                ignore_default_excludes: true,
                exclude: self.toolbox.withheld.clone(),
                set: BTreeMap::new(),
                include_only: Vec::new(),
            }),
            env: variables(&turn.thread.to_string(), &self.call_id),
            tty,
            pipe_stdin: false,
            arg0: None,
            sandbox: None,
            enforce_managed_network: false,
            managed_network: None,
            network_proxy: None,
            credential_providers: None,
            shell_snapshot: None,
            window: None,
        }
    }
}

/// Variables that keep programs from paging, colouring and waiting for a person.
fn variables(thread: &str, call: &str) -> BTreeMap<String, String> {
    let fixed = [
        ("NO_COLOR", "1"),
        ("TERM", "dumb"),
        ("LC_CTYPE", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("COLORTERM", ""),
        ("PAGER", "cat"),
        ("GIT_PAGER", "cat"),
        ("GH_PAGER", "cat"),
        ("FARSTEP", "1"),
        ("FARSTEP_THREAD_ID", thread),
        ("FARSTEP_TOOL_CALL_ID", call),
    ];
    fixed
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
