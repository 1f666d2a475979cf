//! The mind of the scripted model: what to say to a sampling request.
//!
//! A reply depends on the request and on nothing else, so a repeated request gets the same reply.
//! The model believes only what it reads: before each step it looks at the outputs of the one
//! before, and when they are not what they should be it says so and stops. It cannot finish a task
//! that did not happen.

use serde_json::{Value, json};

use super::task::{self, BUILT, CARRIED, SERVED};
use super::{BUILDER, SERVER};

/// The steps of the task, in order. A step is over when its outputs are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Step {
    Look,
    Write,
    Test,
    Repair,
    Retest,
    Read,
    Deliver,
    Start,
    Check,
}

const STEPS: [Step; 9] = [
    Step::Look,
    Step::Write,
    Step::Test,
    Step::Repair,
    Step::Retest,
    Step::Read,
    Step::Deliver,
    Step::Start,
    Step::Check,
];

/// How often the model looks whether the server has come up.
const LOOKS: usize = 3;

/// What the model answers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    pub(super) text: String,
    /// Tool calls, as items.
    pub(super) calls: Vec<Value>,
    /// The last step whose outputs were right.
    pub(super) reached: Option<Step>,
}

/// Answers a sampling request, given as its body.
pub(super) fn reply(request: &Value) -> Reply {
    let seen = Seen(request);
    let mut reached = None;
    for step in STEPS {
        let next = match step.outcome(&seen) {
            Ok(Outcome::Right) => {
                reached = Some(step);
                continue;
            }
            Ok(Outcome::Open(reply)) => reply,
            Err(why) => Reply {
                text: format!("I stop here, because {why}"),
                calls: Vec::new(),
                reached,
            },
        };
        return Reply { reached, ..next };
    }
    Reply {
        text: "Done. `builder` wrote, tested and repaired roman.sh; `server` runs it in the \
               background and answered 1994 with MCMXCIV."
            .to_owned(),
        calls: Vec::new(),
        reached,
    }
}

/// Where a step stands.
enum Outcome {
    Right,
    /// The step has to be taken, or taken further, by this reply.
    Open(Reply),
}

impl Step {
    fn outcome(self, seen: &Seen<'_>) -> Result<Outcome, String> {
        match self {
            Step::Look => look(seen),
            Step::Write => write(seen),
            Step::Test => test(seen),
            Step::Repair => repair(seen),
            Step::Retest => retest(seen),
            Step::Read => read(seen),
            Step::Deliver => deliver(seen),
            Step::Start => start(seen),
            Step::Check => check(seen),
        }
    }
}

fn look(seen: &Seen<'_>) -> Result<Outcome, String> {
    let Some(builder) = seen.command("look_builder") else {
        seen.expect_two_environments()?;
        return open(
            "I have two environments. First I look at where I am.",
            [
                run("look_builder", BUILDER, "pwd"),
                run("look_server", SERVER, "pwd"),
            ],
        );
    };
    let server = seen
        .command("look_server")
        .ok_or("`server` gave no output")?;
    builder.must_exit(0)?;
    server.must_exit(0)?;
    if builder.output.trim() == server.output.trim() {
        return Err("both environments say they are in the same folder.".to_owned());
    }
    Ok(Outcome::Right)
}

fn write(seen: &Seen<'_>) -> Result<Outcome, String> {
    let Some(output) = seen.output("write") else {
        let files = BUILT.map(|file| (file.name, file.text));
        return open(
            "They are different places. I write the program and its test on `builder`.",
            [patch("write", &task::adding(BUILDER, files))],
        );
    };
    must_say(output, "Exit code: 0")?;
    BUILT
        .iter()
        .try_for_each(|file| must_say(output, &format!("A {}", file.name)))?;
    Ok(Outcome::Right)
}

fn test(seen: &Seen<'_>) -> Result<Outcome, String> {
    let Some(test) = seen.command("test") else {
        return open("Now the test.", [run("test", BUILDER, "sh test.sh")]);
    };
    test.must_exit(1)?;
    must_say(test.output, "FAIL  4 = IV, got IIII")?;
    Ok(Outcome::Right)
}

fn repair(seen: &Seen<'_>) -> Result<Outcome, String> {
    let Some(output) = seen.output("repair") else {
        return open(
            "It fails: 4 comes out as IIII, because the pairs that subtract are missing. I add \
             them.",
            [patch("repair", &task::repairing(BUILDER))],
        );
    };
    must_say(output, "Exit code: 0")?;
    must_say(output, "M roman.sh")?;
    Ok(Outcome::Right)
}

fn retest(seen: &Seen<'_>) -> Result<Outcome, String> {
    let Some(test) = seen.command("retest") else {
        return open(
            "The same test again.",
            [run("retest", BUILDER, "sh test.sh")],
        );
    };
    test.must_exit(0)?;
    must_say(test.output, "ok    4 = IV")?;
    must_say(test.output, "ok    1994 = MCMXCIV")?;
    Ok(Outcome::Right)
}

fn read(seen: &Seen<'_>) -> Result<Outcome, String> {
    let Some(file) = seen.command("read") else {
        return open(
            "It passes. `server` does not see the files of `builder`, so I read the program ...",
            [run("read", BUILDER, &format!("cat {CARRIED}"))],
        );
    };
    file.must_exit(0)?;
    must_say(file.output, "roman() {")?;
    Ok(Outcome::Right)
}

fn deliver(seen: &Seen<'_>) -> Result<Outcome, String> {
    let Some(output) = seen.output("deliver") else {
        // What was read, not what was written: the repaired file travels through the model.
        let file = seen.command("read").map(|file| (CARRIED, file.output));
        let files = file
            .into_iter()
            .chain(SERVED.map(|file| (file.name, file.text)));
        return open(
            "... and write it there, with a small server around it.",
            [patch("deliver", &task::adding(SERVER, files))],
        );
    };
    must_say(output, "Exit code: 0")?;
    let names = SERVED.map(|file| file.name);
    [CARRIED]
        .iter()
        .chain(&names)
        .try_for_each(|name| must_say(output, &format!("A {name}")))?;
    Ok(Outcome::Right)
}

fn start(seen: &Seen<'_>) -> Result<Outcome, String> {
    let Some(started) = seen.command("start") else {
        // On a terminal, so that the process ends with its executor, whatever becomes of us.
        let arguments = json!({"cmd": "exec sh server.sh", "environment_id": SERVER, "login": false,
            "tty": true, "yield_time_ms": 500});
        let call = function("start", "exec_command", &arguments);
        return open("I start it on `server` and leave it running.", [call]);
    };
    let session = started
        .session
        .ok_or_else(|| format!("the server does not run:\n{}", started.output.trim_end()))?;
    let mut last = started;
    for look in 0..LOOKS {
        if last.output.contains("ready") {
            return Ok(Outcome::Right);
        }
        let call = format!("wait_{look}");
        let Some(now) = seen.command(&call) else {
            let arguments = json!({"session_id": session});
            let call = function(&call, "write_stdin", &arguments);
            return open("It is not ready yet; I wait for it.", [call]);
        };
        if now.session.is_none() {
            return Err(format!("the server has ended:\n{}", now.output.trim_end()));
        }
        last = now;
    }
    Err("the server does not become ready.".to_owned())
}

fn check(seen: &Seen<'_>) -> Result<Outcome, String> {
    let Some(answer) = seen.command("check") else {
        return open(
            "It is ready. I ask it for 1994.",
            [run("check", SERVER, "sh ask.sh 1994")],
        );
    };
    answer.must_exit(0)?;
    match answer.output.trim() {
        "MCMXCIV" => Ok(Outcome::Right),
        other => Err(format!("the server answered 1994 with `{other}`.")),
    }
}

fn open(text: &str, calls: impl IntoIterator<Item = Value>) -> Result<Outcome, String> {
    Ok(Outcome::Open(Reply {
        text: text.to_owned(),
        calls: calls.into_iter().collect(),
        reached: None,
    }))
}

fn run(call_id: &str, environment: &str, command: &str) -> Value {
    let arguments = json!({"cmd": command, "environment_id": environment, "login": false});
    function(call_id, "exec_command", &arguments)
}

fn function(call_id: &str, name: &str, arguments: &Value) -> Value {
    json!({"type": "function_call", "id": format!("fc_{call_id}"), "call_id": call_id,
        "name": name, "arguments": arguments.to_string()})
}

fn patch(call_id: &str, input: &str) -> Value {
    json!({"type": "custom_tool_call", "id": format!("ctc_{call_id}"), "call_id": call_id,
        "name": "apply_patch", "input": input})
}

fn must_say(output: &str, text: &str) -> Result<(), String> {
    match output.contains(text) {
        true => Ok(()),
        false => Err(format!(
            "I expected `{text}` and read:\n{}",
            output.trim_end()
        )),
    }
}

/// The request, as a model reads it.
struct Seen<'a>(&'a Value);

impl<'a> Seen<'a> {
    fn items(&self) -> impl Iterator<Item = &'a Value> {
        self.0["input"].as_array().into_iter().flatten()
    }

    /// The text a tool answered a call with.
    fn output(&self, call_id: &str) -> Option<&'a str> {
        self.items()
            .filter(|item| {
                item["type"]
                    .as_str()
                    .is_some_and(|kind| kind.ends_with("_output"))
            })
            .find(|item| item["call_id"] == call_id)
            .and_then(|item| item["output"].as_str())
    }

    fn command(&self, call_id: &str) -> Option<Command<'a>> {
        self.output(call_id).map(Command::read)
    }

    /// Both environments must be told of, and calls must be able to name them.
    fn expect_two_environments(&self) -> Result<(), String> {
        let told: String = self
            .items()
            .map(|item| item["content"].to_string())
            .collect();
        for id in [BUILDER, SERVER] {
            // As it is spelled inside JSON.
            if !told.contains(&format!("environment id=\\\"{id}\\\"")) {
                return Err(format!("nobody tells me of an environment `{id}`."));
            }
        }
        let tools = self.0["tools"].as_array().into_iter().flatten();
        let mut commands = tools.filter(|tool| tool["name"] == "exec_command");
        let named = |tool: &Value| tool["parameters"]["properties"]["environment_id"].is_object();
        match commands.any(named) {
            true => Ok(()),
            false => Err("I have no tool that runs commands by environment.".to_owned()),
        }
    }
}

/// The answer of `exec_command` and `write_stdin`.
#[derive(Clone, Copy)]
struct Command<'a> {
    whole: &'a str,
    exit: Option<i64>,
    session: Option<u64>,
    output: &'a str,
}

impl<'a> Command<'a> {
    fn read(whole: &'a str) -> Command<'a> {
        let (head, output) = whole.split_once("Output:\n").unwrap_or((whole, ""));
        let after = |lead: &str| head.lines().find_map(|line| line.strip_prefix(lead));
        Command {
            whole,
            exit: after("Process exited with code ").and_then(|code| code.parse().ok()),
            session: after("Process running with session ID ").and_then(|id| id.parse().ok()),
            output,
        }
    }

    fn must_exit(&self, code: i64) -> Result<(), String> {
        match self.exit == Some(code) {
            true => Ok(()),
            false => Err(format!(
                "I expected the command to exit with {code} and read:\n{}",
                self.whole.trim_end()
            )),
        }
    }
}

#[cfg(test)]
mod tests;
