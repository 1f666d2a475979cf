//! A model that says what a test wrote down, and a conversation around it without any process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use farstep_environments::config::OnPrimaryFailure;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Conversation, Parts, Turn};
use crate::declared::Declared;
use crate::events::{Event, Events, Signal};
use crate::machine::fake::FakeSet;
use crate::model::{
    Item, Model, ModelError, ModelErrorKind, ModelEvent, Request, Role, Sampling, Usage,
};
use crate::retry::RetryPolicy;
use crate::step::{ModelProfile, Selection, SelectionOptions, Today};
use crate::tools::Toolbox;

type Hook = Box<dyn FnOnce() + Send>;

/// One answer to a sampling request.
pub(crate) struct Reply {
    events: Vec<Result<ModelEvent, ModelError>>,
    /// The stream stays open behind the events.
    hangs: bool,
    /// Runs when the request arrives, before anything is answered.
    hook: Option<Hook>,
}

impl Reply {
    pub(crate) fn items(items: impl IntoIterator<Item = Value>) -> Reply {
        Self::ends(items, Ok(None))
    }

    pub(crate) fn end_turn(items: impl IntoIterator<Item = Value>, end_turn: bool) -> Reply {
        Self::ends(items, Ok(Some(end_turn)))
    }

    /// The items arrive, and then the stream breaks.
    pub(crate) fn cut(items: impl IntoIterator<Item = Value>) -> Reply {
        let error = ModelError {
            kind: ModelErrorKind::Cut,
            message: "cut".into(),
            retry_after: None,
        };
        Self::ends(items, Err(error))
    }

    pub(crate) fn broken(error: ModelError) -> Reply {
        Self::ends([], Err(error))
    }

    pub(crate) fn hanging(items: impl IntoIterator<Item = Value>) -> Reply {
        let mut reply = Self::items(items);
        reply.events.pop();
        Reply {
            hangs: true,
            ..reply
        }
    }

    pub(crate) fn first(self, hook: impl FnOnce() + Send + 'static) -> Reply {
        Reply {
            hook: Some(Box::new(hook)),
            ..self
        }
    }

    fn ends(
        items: impl IntoIterator<Item = Value>,
        end: Result<Option<bool>, ModelError>,
    ) -> Reply {
        let item = |value: Value| {
            Ok(ModelEvent::ItemDone(
                Item::from_json(&value.to_string()).unwrap(),
            ))
        };
        let usage = Usage {
            input: 10,
            output: 1,
            ..Usage::default()
        };
        let end = end.map(|end_turn| ModelEvent::Completed {
            response_id: None,
            usage,
            end_turn,
        });
        let events = items.into_iter().map(item).chain([end]).collect();
        Reply {
            events,
            hangs: false,
            hook: None,
        }
    }
}

pub(crate) fn says(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "id": "m",
           "content": [{"type": "output_text", "text": text}]})
}

pub(crate) fn calls(call_id: &str, name: &str, arguments: Value) -> Value {
    json!({"type": "function_call", "call_id": call_id, "name": name,
           "arguments": arguments.to_string()})
}

pub(crate) fn runs(call_id: &str, command: &str) -> Value {
    calls(call_id, "exec_command", json!({"cmd": command}))
}

pub(crate) fn runs_in(call_id: &str, environment: &str, command: &str) -> Value {
    calls(
        call_id,
        "exec_command",
        json!({"cmd": command, "environment_id": environment}),
    )
}

pub(crate) fn patches(call_id: &str, text: &str) -> Value {
    json!({"type": "custom_tool_call", "call_id": call_id, "name": "apply_patch", "input": text})
}

#[derive(Default)]
pub(crate) struct Script {
    replies: Mutex<VecDeque<Reply>>,
    seen: Mutex<Vec<Request>>,
}

impl Model for Script {
    fn sample(&self, request: Request) -> Sampling {
        self.seen.lock().unwrap().push(request);
        let reply = self
            .replies
            .lock()
            .unwrap()
            .pop_front()
            .expect("one reply a request");
        if let Some(hook) = reply.hook {
            hook();
        }
        let events = stream::iter(reply.events);
        match reply.hangs {
            true => events.chain(stream::pending()).boxed(),
            false => events.boxed(),
        }
    }
}

/// A conversation, and everything a test wants to see of it.
pub(crate) struct Scene {
    pub(crate) conversation: Conversation,
    pub(crate) set: Arc<FakeSet>,
    pub(crate) toolbox: Arc<Toolbox>,
    pub(crate) stop: CancellationToken,
    script: Arc<Script>,
    signals: mpsc::Receiver<Signal>,
}

impl Scene {
    pub(crate) fn blocking(set: &Arc<FakeSet>, replies: impl IntoIterator<Item = Reply>) -> Scene {
        Self::new(set, replies, false, SelectionOptions::default())
    }

    /// With entries that declare something.
    pub(crate) fn declared(
        set: &Arc<FakeSet>,
        declared: impl IntoIterator<Item = (&'static str, Declared)>,
        replies: impl IntoIterator<Item = Reply>,
    ) -> Scene {
        let declared = declared.into_iter();
        let options = SelectionOptions {
            declared: declared
                .map(|(id, declared)| (id.to_owned(), Arc::new(declared)))
                .collect(),
            ..SelectionOptions::default()
        };
        Self::new(set, replies, true, options)
    }

    pub(crate) fn deferred(set: &Arc<FakeSet>, replies: impl IntoIterator<Item = Reply>) -> Scene {
        Self::new(set, replies, true, SelectionOptions::default())
    }

    fn new(
        set: &Arc<FakeSet>,
        replies: impl IntoIterator<Item = Reply>,
        deferred: bool,
        options: SelectionOptions,
    ) -> Scene {
        let (events, signals) = Events::channel();
        let script = Arc::new(Script {
            replies: Mutex::new(replies.into_iter().collect()),
            seen: Mutex::default(),
        });
        let toolbox = Toolbox::new(Arc::clone(set) as _, events.clone(), Vec::new());
        let parts = Parts {
            model: Arc::clone(&script) as _,
            profile: ModelProfile::unknown("m".into(), None),
            retry: RetryPolicy::new(0, 3).seeded(7),
            selection: Selection::new(Arc::clone(set) as _, options, events.clone()),
            toolbox: Arc::clone(&toolbox),
            events,
            deferred,
            on_primary_failure: OnPrimaryFailure::Error,
            today: || Today {
                date: "2026-11-20".into(),
                timezone: "Etc/UTC".into(),
            },
        };
        Scene {
            conversation: Conversation::new(Uuid::nil(), parts),
            set: Arc::clone(set),
            toolbox,
            stop: CancellationToken::new(),
            script,
            signals,
        }
    }

    /// One turn; what it says to the outside is collected meanwhile.
    pub(crate) async fn turn(&mut self, input: &str) -> Turn {
        let stop = self.stop.clone();
        let turn = self.conversation.run_turn(input, &stop).await;
        self.conversation.conclude(&turn).await;
        turn
    }

    /// More replies, for a turn that depends on what the one before brought.
    pub(crate) fn add(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.replies.lock().unwrap().extend(replies);
    }

    /// The events so far.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Ok(signal) = self.signals.try_recv() {
            if let Signal::Event(event) = signal {
                events.push(event);
            }
        }
        events
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.script.seen.lock().unwrap().clone()
    }

    /// The text of the output of a call; later ones win.
    pub(crate) fn output(&self, call_id: &str) -> String {
        output_of(self.conversation.history(), call_id).expect("the call has an output")
    }

    /// All texts the model was told in a user role, oldest first.
    pub(crate) fn told(&self) -> Vec<String> {
        let messages = self
            .conversation
            .history()
            .iter()
            .filter_map(Item::as_message);
        messages
            .filter(|one| one.role == Role::User)
            .map(|one| one.text.clone())
            .collect()
    }
}

pub(crate) fn output_of(history: &[Item], call_id: &str) -> Option<String> {
    history.iter().rev().find_map(|item| {
        let value: Value = serde_json::from_str(item.json()).unwrap();
        let is_output = value["type"].as_str()?.ends_with("_output");
        (is_output && value["call_id"] == call_id).then(|| {
            value["output"]
                .as_str()
                .map_or_else(|| value["output"].to_string(), str::to_owned)
        })
    })
}
