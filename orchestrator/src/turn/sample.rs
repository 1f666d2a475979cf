//! One sampling request: the stream, the calls it starts, and the tries it takes.

use std::sync::Arc;

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Conversation, TurnError, unless_stopped};
use crate::events::{Detail, Event, Item as EventItem, Live};
use crate::model::{
    Body, Ids, Item, ModelError, ModelErrorKind, ModelEvent, Output, Reasoning, Request, Role,
    Usage,
};
use crate::retry::{Decision, pause};
use crate::step::StepSnapshot;
use crate::tools::{self, PendingCall};

/// What a completed response means for the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sampled {
    pub(super) called: bool,
    pub(super) end_turn: Option<bool>,
    pub(super) usage: Usage,
}

/// How one try ended.
enum Try {
    Done(Sampled),
    Broken(ModelError),
    Stopped,
}

impl Conversation {
    /// Samples until a response is whole. What finished in a try that broke off stays finished:
    /// its items are in the history, its calls run once, and the next try carries their outputs.
    pub(super) async fn sample(
        &mut self,
        step: &Arc<StepSnapshot>,
        stop: &CancellationToken,
    ) -> Result<Sampled, TurnError> {
        let tools = tools::advertised(step);
        let mut retries = self.parts.retry.stream();
        loop {
            let mut calls = Vec::new();
            let tried = self.stream_once(step, &tools, &mut calls, stop).await;
            let collected = self.collect(calls, stop).await;
            let error = match tried {
                Try::Done(sampled) => return collected.map(|()| sampled),
                Try::Stopped => return Err(TurnError::Interrupted),
                Try::Broken(error) => error,
            };
            collected?;
            if error.kind == ModelErrorKind::InvalidImage && self.forget_last_image() {
                let message = format!("An image was left out ({error})");
                self.parts.events.emit(Event::Error { message }).await;
                continue;
            }
            let Decision::Wait(delay) = retries.next(&error) else {
                return Err(error.into());
            };
            let (count, max) = (retries.granted(), retries.max());
            let message = format!("Reconnecting... {count}/{max} ({error})");
            self.parts.events.emit(Event::Error { message }).await;
            if !pause(delay, stop).await {
                return Err(TurnError::Interrupted);
            }
        }
    }

    /// Replaces the last image among the tool outputs by a text. False when there is none, so the
    /// number of images bounds how often this helps.
    fn forget_last_image(&mut self) -> bool {
        let is_image = |item: &Item| {
            matches!(item.body(), Body::Output { .. }) && item.json().contains("\"input_image\"")
        };
        let Some(place) = self.history.iter().rposition(is_image) else {
            return false;
        };
        let Body::Output { call_id } = self.history[place].body() else {
            return false;
        };
        let mut calls = self.history.iter().filter_map(Item::as_call);
        let Some(call) = calls.rfind(|call| call.call_id == *call_id) else {
            return false;
        };
        let text = "[the image was left out: the provider could not use it]".to_owned();
        self.history[place] = call.answer(&Output::Text(text));
        true
    }

    async fn stream_once(
        &mut self,
        step: &Arc<StepSnapshot>,
        tools: &Arc<[Value]>,
        calls: &mut Vec<PendingCall>,
        stop: &CancellationToken,
    ) -> Try {
        let mut stream = self.parts.model.sample(self.request(step, tools));
        loop {
            let event = match unless_stopped(stop, stream.next()).await {
                Err(_) => return Try::Stopped,
                Ok(None) => {
                    // A model must end with one or the other; this is a double that does not.
                    let message = "the stream ended before the response was complete";
                    return Try::Broken(ModelError::new(ModelErrorKind::Cut, message));
                }
                Ok(Some(Err(error))) => return Try::Broken(error),
                Ok(Some(Ok(event))) => event,
            };
            match event {
                ModelEvent::ItemDone(item) => {
                    self.announce(step, &item).await;
                    if let Some(call) = item.as_call() {
                        calls.push(self.parts.toolbox.dispatch(step, call));
                    }
                    self.history.push(item);
                }
                ModelEvent::TextDelta { delta, .. } => {
                    self.parts.events.live(Live::Text { delta }).await;
                }
                ModelEvent::Completed {
                    usage, end_turn, ..
                } => {
                    return Try::Done(Sampled {
                        called: !calls.is_empty(),
                        end_turn,
                        usage,
                    });
                }
                ModelEvent::Created { .. }
                | ModelEvent::ItemAdded { .. }
                | ModelEvent::ReasoningDelta { .. } => {}
            }
        }
    }

    /// Records the outputs in the order of the calls. When stopped, every call still gets one.
    async fn collect(
        &mut self,
        calls: Vec<PendingCall>,
        stop: &CancellationToken,
    ) -> Result<(), TurnError> {
        for mut call in calls {
            let output = match unless_stopped(stop, call.output()).await {
                Ok(output) => output,
                Err(_) => call.abort(),
            };
            self.history.push(call.call().answer(&output));
        }
        match stop.is_cancelled() {
            true => Err(TurnError::Interrupted),
            false => Ok(()),
        }
    }

    /// Tells the event stream about items that are not calls; calls tell about themselves.
    async fn announce(&self, step: &StepSnapshot, item: &Item) {
        let detail = match item.body() {
            Body::Message(message) if message.role == Role::Assistant => Detail::AgentMessage {
                text: message.text.clone(),
            },
            Body::Reasoning { summary } if !summary.is_empty() => Detail::Reasoning {
                text: summary.join("\n\n"),
            },
            _ => return,
        };
        let id = self.parts.events.item_id();
        let item = EventItem {
            id,
            step: step.number(),
            environment_id: None,
            detail,
        };
        self.parts.events.emit(Event::ItemCompleted { item }).await;
    }

    fn request(&self, step: &StepSnapshot, tools: &Arc<[Value]>) -> Request {
        let turn = step.turn();
        let effort = turn.model.effort.clone();
        Request {
            model: turn.model.name.clone(),
            instructions: self.instructions.clone(),
            input: self.history.clone(),
            tools: Arc::clone(tools),
            parallel_tool_calls: true,
            reasoning: effort.map(|effort| Reasoning {
                effort: Some(effort),
                summary: None,
            }),
            verbosity: None,
            ids: Ids {
                // A root thread is a session of its own.
                session: turn.thread.to_string(),
                thread: turn.thread.to_string(),
                turn: turn.turn.to_string(),
            },
        }
    }
}
