//! What happened, as the outside sees it: the vocabulary of `--json` and of the terminal.
//!
//! The loop and the tools say *that* something happened; how it looks is `render`'s. The queue
//! between them is bounded, so a terminal that does not read slows the loop instead of growing it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;
use uuid::Uuid;

/// A screenful of bursts. When it is full, whoever has something to say waits for the reader.
const QUEUE: usize = 256;

/// How long a process's output waits for somebody to show it. A stopped terminal must cost the
/// person some lines, and not the model its output.
const SOON: Duration = Duration::from_millis(500);

/// One line of the event stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum Event {
    #[serde(rename = "thread.started")]
    ThreadStarted { thread_id: Uuid },
    #[serde(rename = "turn.started")]
    TurnStarted,
    #[serde(rename = "environment.connected")]
    EnvironmentConnected {
        environment_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        os: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
    },
    /// It could not be reached, or it was and is no longer.
    #[serde(rename = "environment.disconnected")]
    EnvironmentDisconnected {
        environment_id: String,
        reason: String,
    },
    #[serde(rename = "item.started")]
    ItemStarted { item: Item },
    #[serde(rename = "item.updated")]
    ItemUpdated { item: Item },
    #[serde(rename = "item.completed")]
    ItemCompleted { item: Item },
    #[serde(rename = "turn.completed")]
    TurnCompleted { usage: Usage, turn_usage: Usage },
    #[serde(rename = "turn.failed")]
    TurnFailed { error: ErrorMessage },
    #[serde(rename = "error")]
    Error { message: String },
}

/// One thing the model said or did, under an id that its events share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    pub id: ItemId,
    /// The number of the step whose snapshot it ran under.
    pub step: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<String>,
    #[serde(flatten)]
    pub detail: Detail,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Detail {
    AgentMessage {
        text: String,
    },
    Reasoning {
        text: String,
    },
    CommandExecution {
        command: String,
        aggregated_output: String,
        /// Null while it runs, and for good when the executor was lost.
        exit_code: Option<i64>,
        status: Status,
    },
    FileChange {
        changes: Vec<FileChange>,
        status: Status,
    },
    ImageView {
        path: String,
        status: Status,
    },
    /// A call that did not get as far as running anything.
    ToolCall {
        tool: String,
        error: String,
        status: Status,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    pub path: String,
    pub kind: ChangeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Add,
    Update,
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    InProgress,
    Completed,
    Failed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub cache_write_input_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_output_tokens: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorMessage {
    pub message: String,
}

/// `item_0`, `item_1`, ... in the order in which items began.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ItemId(Arc<str>);

impl Serialize for ItemId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl ItemId {
    #[cfg(test)]
    pub(crate) fn numbered(number: u64) -> Self {
        Self(format!("item_{number}").into())
    }
}

impl AsRef<str> for ItemId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// What travels to whoever shows it.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    Event(Event),
    /// Text for people who watch; it is repeated in full by an event later.
    Live(Live),
    /// Nothing follows.
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Live {
    /// New output of a command.
    Output {
        item: ItemId,
        environment_id: String,
        /// Cut anywhere, also inside a character.
        bytes: Bytes,
    },
    /// The model is writing.
    Text { delta: String },
}

/// The sending half, cloned into everything that has something to say.
#[derive(Debug, Clone)]
pub struct Events {
    queue: mpsc::Sender<Signal>,
    next_item: Arc<AtomicU64>,
}

impl Events {
    pub fn channel() -> (Self, mpsc::Receiver<Signal>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (
            Self {
                queue,
                next_item: Arc::default(),
            },
            receiver,
        )
    }

    pub(crate) fn item_id(&self) -> ItemId {
        let number = self.next_item.fetch_add(1, Ordering::Relaxed);
        ItemId(format!("item_{number}").into())
    }

    /// Waits for room. Nobody listening is not an error: the loop's work counts, not its echo.
    pub(crate) async fn emit(&self, event: Event) {
        if self.queue.send(Signal::Event(event)).await.is_err() {
            tracing::debug!("nobody listens to events");
        }
    }

    /// Says that nothing follows, whoever else still holds a sender.
    pub async fn end(&self) {
        if self.queue.send(Signal::End).await.is_err() {
            tracing::debug!("nobody listens to events");
        }
    }

    pub(crate) async fn live(&self, live: Live) {
        if self.queue.send(Signal::Live(live)).await.is_err() {
            tracing::trace!("nobody listens to live text");
        }
    }

    /// As [`Events::live`], for whoever must not wait long. False when it was not taken.
    pub(crate) async fn live_soon(&self, live: Live) -> bool {
        let sent = self.queue.send_timeout(Signal::Live(live), SOON).await;
        sent.is_ok()
    }
}

impl From<crate::model::Usage> for Usage {
    fn from(usage: crate::model::Usage) -> Self {
        Self {
            input_tokens: usage.input,
            cached_input_tokens: usage.cached_input,
            cache_write_input_tokens: usage.cache_write_input,
            output_tokens: usage.output,
            reasoning_output_tokens: usage.reasoning_output,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    #[test]
    fn a_command_item_has_the_members_a_reader_of_the_stream_expects() {
        let event = Event::ItemCompleted {
            item: Item {
                id: ItemId::numbered(4),
                step: 2,
                environment_id: Some("alpha".into()),
                detail: Detail::CommandExecution {
                    command: "/bin/sh -lc ls".into(),
                    aggregated_output: "a\n".into(),
                    exit_code: Some(0),
                    status: Status::Completed,
                },
            },
        };
        assert_eq!(
            to_value(event).unwrap(),
            json!({"type": "item.completed", "item": {
                "id": "item_4", "type": "command_execution", "step": 2, "environment_id": "alpha",
                "command": "/bin/sh -lc ls", "aggregated_output": "a\n", "exit_code": 0,
                "status": "completed"}})
        );
    }

    #[test]
    fn a_failed_turn_carries_its_message() {
        let event = Event::TurnFailed {
            error: ErrorMessage {
                message: "no".into(),
            },
        };
        assert_eq!(
            to_value(event).unwrap(),
            json!({"type": "turn.failed", "error": {"message": "no"}})
        );
    }

    #[tokio::test]
    async fn items_are_numbered_in_the_order_they_begin() {
        let (events, _queue) = Events::channel();
        let ids = [events.item_id(), events.clone().item_id()];
        assert_eq!(ids, [ItemId::numbered(0), ItemId::numbered(1)]);
    }
}
