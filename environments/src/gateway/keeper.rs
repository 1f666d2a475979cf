//! What an entry says about its machine, kept to for clients that know nothing of the entry.
//!
//! ```text
//!   client ── initialize, environment/info ──▶ noted ──▶ executor
//!          ◀── another machine: refused; its folder: the entry's ◀── answer
//!          ── process/start ──▶ inside the roots? with the entry's variables ──▶ executor
//!          ── files ──▶ inside the roots? ──▶ executor
//! ```
//!
//! It is for entries that say something; with the others messages pass unread. Paths are judged as the
//! model's tools judge them: by their names, and only where something runs, is written or is read.

use std::collections::HashMap;
use std::sync::Arc;

use farstep_path_uri::PathUri;
use farstep_protocol::frame;
use farstep_protocol::method::environment::{self, EnvironmentInfo};
use farstep_protocol::method::{fs, initialize, process};
use farstep_protocol::rpc::{
    ErrorCode, Limits, Message, Params, Request, RequestId, RpcError, parse,
};
use farstep_transport::Text;
use serde_json::Value;

use crate::config::EnvironmentId;
use crate::terms::Terms;

/// Questions about the machine that wait for their answers. A client asks once or twice.
const PENDING_MAX: usize = 64;

/// What becomes of a message of the client.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It goes on.
    Pass(Text),
    /// It does not; this is the answer.
    Answer(Text),
}

/// Where in an answer the machine describes itself.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Initialize,
    Info,
}

#[derive(Debug)]
pub(super) struct Keeper {
    id: EnvironmentId,
    terms: Arc<Terms>,
    /// The folders that count as the workspace; without any, all of the machine.
    roots: Vec<PathUri>,
    pending: HashMap<RequestId, Asked>,
    /// Why it is not the machine that is meant.
    other: Option<RpcError>,
}

impl Keeper {
    /// None for an entry that demands nothing.
    pub(super) fn of(id: &EnvironmentId, terms: &Arc<Terms>) -> Option<Keeper> {
        terms.binds().then(|| Keeper {
            id: id.clone(),
            terms: Arc::clone(terms),
            roots: terms.workspace(),
            pending: HashMap::new(),
            other: None,
        })
    }

    /// The client says this.
    pub(super) fn asked(&mut self, text: Text) -> Verdict {
        let outcome = match parse(&text, &Limits::default()) {
            Ok(Message::Request(request)) => {
                let id = request.id.clone();
                self.consider(request, &text).map_err(|error| {
                    let mut refusal = String::new();
                    frame::refusal(&mut refusal, &id, &error);
                    refusal
                })
            }
            // What is no request asks for nothing, and what is no message is the executor's to refuse.
            _ => Ok(None),
        };
        match outcome {
            Ok(None) => Verdict::Pass(text),
            Ok(Some(instead)) => Verdict::Pass(Text::from(instead)),
            Err(refusal) => Verdict::Answer(Text::from(refusal)),
        }
    }

    /// What goes on instead of the request, if not the request itself.
    fn consider(&mut self, request: Request<'_>, text: &str) -> Result<Option<String>, RpcError> {
        if let Some(other) = &self.other {
            return Err(other.clone());
        }
        let asked = match &*request.method {
            initialize::INITIALIZE => Some(Asked::Initialize),
            environment::INFO => Some(Asked::Info),
            _ => None,
        };
        if let Some(asked) = asked {
            if self.pending.len() >= PENDING_MAX {
                let message = "too many questions about the machine are without an answer";
                return Err(RpcError::new(ErrorCode::Overloaded, message));
            }
            self.pending.insert(request.id, asked);
            return Ok(None);
        }
        if &*request.method == process::START {
            return self.start(request.params, text);
        }
        if !self.roots.is_empty() {
            for path in paths(&request.method, request.params)? {
                self.admit(&path)?;
            }
        }
        Ok(None)
    }

    fn start(&self, params: Params<'_>, text: &str) -> Result<Option<String>, RpcError> {
        let mut params: process::StartParams = params.parse()?;
        self.admit(&params.cwd)?;
        if !self
            .terms
            .equip(&mut params.env, params.env_policy.as_mut())
        {
            return Ok(None);
        }
        let unread = |_| RpcError::new(ErrorCode::InvalidRequest, "it is no message");
        let mut message: Value = serde_json::from_str(text).map_err(unread)?;
        // All else stays as the client wrote it.
        message["params"]["env"] = serde_json::to_value(&params.env).map_err(unread)?;
        message["params"]["envPolicy"] =
            serde_json::to_value(&params.env_policy).map_err(unread)?;
        Ok(Some(message.to_string()))
    }

    fn admit(&self, path: &PathUri) -> Result<(), RpcError> {
        let is_inside = self.roots.iter().any(|root| root.contains(path));
        if self.roots.is_empty() || is_inside {
            return Ok(());
        }
        let roots: Vec<String> = self.roots.iter().map(PathUri::display_native).collect();
        let message = format!(
            "`{}` is outside of the workspace roots of `{}` ({}), to which the gateway keeps its clients",
            path.display_native(),
            self.id,
            roots.join(", ")
        );
        Err(RpcError::new(ErrorCode::InvalidRequest, message))
    }

    /// The executor says this; what the client hears.
    pub(super) fn answered(&mut self, text: Text) -> Text {
        if self.pending.is_empty() {
            return text;
        }
        let told = match parse(&text, &Limits::default()) {
            Ok(Message::Reply { id, outcome }) => match (self.pending.remove(&id), outcome) {
                (Some(asked), Ok(result)) => self.describe(&id, asked, result),
                _ => None,
            },
            _ => None,
        };
        told.map_or(text, Text::from)
    }

    /// The answer of another machine is a refusal; that of the right one names the entry's folder.
    fn describe(&mut self, id: &RequestId, asked: Asked, result: &str) -> Option<String> {
        let mut result: Value = serde_json::from_str(result).ok()?;
        let said = match asked {
            Asked::Initialize => result.get_mut("environmentInfo")?,
            Asked::Info => &mut result,
        };
        let info: EnvironmentInfo = serde_json::from_value(said.clone()).ok()?;
        let mut answer = String::new();
        if let Err(error) = self.terms.is_meant(&info) {
            tracing::warn!(%error, "the client is refused");
            let error = RpcError::new(ErrorCode::InvalidRequest, error.to_string());
            frame::refusal(&mut answer, id, &error);
            self.other = Some(error);
            return Some(answer);
        }
        let folder = self.terms.folder(info.cwd.as_ref())?;
        *said.get_mut("cwd")? = Value::from(folder.as_str());
        frame::reply(&mut answer, id, &result);
        Some(answer)
    }
}

/// Whose content a request reads or changes.
fn paths(method: &str, params: Params<'_>) -> Result<Vec<PathUri>, RpcError> {
    Ok(match method {
        fs::READ_FILE => vec![params.parse::<fs::PathParams>()?.path],
        fs::WRITE_FILE => vec![params.parse::<fs::WriteFileParams<'_>>()?.path],
        fs::CREATE_DIRECTORY => vec![params.parse::<fs::CreateDirectoryParams>()?.path],
        fs::REMOVE => vec![params.parse::<fs::RemoveParams>()?.path],
        fs::OPEN => vec![params.parse::<fs::OpenParams>()?.path],
        fs::DIGEST => vec![params.parse::<fs::DigestParams>()?.path],
        fs::SET_MODE => vec![params.parse::<fs::SetModeParams>()?.path],
        fs::SET_TIMES => vec![params.parse::<fs::SetTimesParams>()?.path],
        fs::COPY => {
            let params: fs::CopyParams = params.parse()?;
            vec![params.source_path, params.destination_path]
        }
        fs::RENAME => {
            let params: fs::RenameParams = params.parse()?;
            vec![params.source_path, params.destination_path]
        }
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::config;

    fn keeper(farstep: &str) -> Option<Keeper> {
        let text = format!(
            "[[environments]]\nid = \"box\"\nurl = \"ws://box\"\n[environments.farstep]\n{farstep}"
        );
        let config = config::parse(&text, Path::new("/")).unwrap();
        let entry = &config.entries[0];
        Keeper::of(&entry.id, &Arc::new(Terms::of(entry)))
    }

    fn told(verdict: Verdict) -> (bool, Value) {
        let (passes, text) = match verdict {
            Verdict::Pass(text) => (true, text),
            Verdict::Answer(text) => (false, text),
        };
        (passes, serde_json::from_str(&text).unwrap())
    }

    fn text(value: &Value) -> Text {
        Text::from(value.to_string())
    }

    fn request(method: &str, params: Value) -> Value {
        json!({"id": 7, "method": method, "params": params})
    }

    fn start(cwd: &str) -> Value {
        let params = json!({
            "processId": "p", "argv": ["true"], "cwd": cwd, "env": {"A": "client", "B": "b"},
            "envPolicy": {"inherit": "all", "ignoreDefaultExcludes": true, "exclude": [],
                "set": {}, "includeOnly": []},
            "tty": false, "unknown": [1, {"to": "us"}],
        });
        request("process/start", params)
    }

    #[test]
    fn an_entry_that_demands_nothing_has_nobody_to_keep_to_it() {
        assert!(keeper("labels = { a = \"b\" }").is_none());
        assert!(keeper("").is_none());
    }

    #[test]
    fn processes_have_the_entrys_variables_and_all_else_is_the_clients() {
        let mut keeper =
            keeper("env = { set = { A = \"entry\" }, pass = [\"PATH\"], unset = [\"X\"] }")
                .unwrap();
        let asked = start("file:///anywhere");
        let (passes, passed) = told(keeper.asked(text(&asked)));
        let mut expected = asked;
        expected["params"]["env"]["A"] = json!("entry");
        expected["params"]["envPolicy"]["includeOnly"] = json!(["PATH"]);
        expected["params"]["envPolicy"]["exclude"] = json!(["X"]);
        assert_eq!((passes, passed), (true, expected));
    }

    #[test]
    fn what_lies_outside_of_the_roots_is_refused_by_name() {
        let mut keeper =
            keeper("cwd = \"/srv/work\"\nroots = [\"/srv/app\", \"/srv/lib\"]").unwrap();
        for inside in ["file:///srv/app", "file:///srv/lib/x", "file:///srv/work/y"] {
            let asked = start(inside);
            assert_eq!(told(keeper.asked(text(&asked))), (true, asked));
            let asked = request("fs/readFile", json!({"path": inside}));
            assert_eq!(told(keeper.asked(text(&asked))), (true, asked));
        }
        let outside = "file:///etc/passwd";
        let both = |from: &str, to: &str| json!({"sourcePath": from, "destinationPath": to, "recursive": false});
        for refused in [
            start(outside),
            request("fs/readFile", json!({"path": outside})),
            request("fs/writeFile", json!({"path": outside, "dataBase64": ""})),
            request("fs/createDirectory", json!({"path": outside})),
            request(
                "fs/remove",
                json!({"path": outside, "recursive": false, "force": false}),
            ),
            request("fs/copy", both(outside, "file:///srv/app/x")),
            request("fs/copy", both("file:///srv/app/x", outside)),
        ] {
            let (passes, answer) = told(keeper.asked(text(&refused)));
            assert!(!passes, "{refused}");
            let message = "`/etc/passwd` is outside of the workspace roots of `box` (/srv/app, \
                           /srv/lib, /srv/work), to which the gateway keeps its clients";
            let error = json!({"code": -32600, "message": message});
            assert_eq!(answer, json!({"id": 7, "error": error}), "{refused}");
        }
        // Looking whether something is there is free, as it is for the model.
        let asked = request("fs/getMetadata", json!({"path": outside}));
        assert_eq!(told(keeper.asked(text(&asked))), (true, asked));
        // What cannot be read cannot be judged.
        let asked = request("fs/writeFile", json!({"path": 5}));
        assert!(!told(keeper.asked(text(&asked))).0);
    }

    #[test]
    fn another_machine_than_the_entry_says_is_refused_for_good() {
        let mut keeper = keeper("os = \"windows\"").unwrap();
        let asked = request("initialize", json!({"clientName": "c"}));
        assert!(told(keeper.asked(text(&asked))).0);
        let info = json!({"shell": {"name": "sh", "path": "/bin/sh"}, "platformOs": "linux"});
        let reply = json!({"id": 7, "result": {"sessionId": "s", "environmentInfo": info}});
        let answer: Value = serde_json::from_str(&keeper.answered(text(&reply))).unwrap();
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("`farstep.os` is \"windows\""), "{message}");
        assert_eq!(answer["id"], 7);
        let (passes, later) = told(keeper.asked(text(&start("file:///"))));
        assert_eq!((passes, &later["error"]), (false, &answer["error"]));
    }

    #[test]
    fn the_machine_starts_commands_where_the_entry_says() {
        for (farstep, reported, expected) in [
            ("cwd = \"/srv/app\"", "file:///root", "file:///srv/app"),
            ("roots = [\"/srv\"]", "file:///root", "file:///srv"),
            ("roots = [\"/srv\"]", "file:///srv/x", "file:///srv/x"),
        ] {
            let mut keeper = keeper(farstep).unwrap();
            let info = json!({"shell": {"name": "sh", "path": "/bin/sh"}, "cwd": reported,
                "more": true});
            for (method, result) in [
                (
                    "initialize",
                    json!({"sessionId": "s", "environmentInfo": info}),
                ),
                ("environment/info", info.clone()),
            ] {
                assert!(told(keeper.asked(text(&request(method, json!({}))))).0);
                let reply = json!({"id": 7, "result": result});
                let answer: Value = serde_json::from_str(&keeper.answered(text(&reply))).unwrap();
                let mut wanted = reply;
                let place = match method {
                    "initialize" => &mut wanted["result"]["environmentInfo"]["cwd"],
                    _ => &mut wanted["result"]["cwd"],
                };
                *place = json!(expected);
                assert_eq!(answer, wanted, "{farstep} {method}");
            }
        }
    }
}
