//! The items of a conversation.
//!
//! An item is kept as the JSON text it came in, because it is sent back with every later request
//! and a member we do not know may matter to the provider. The little we need from it is read once,
//! when the item is made, into a typed [`Body`].

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

/// One entry of the conversation. Cheap to clone.
#[derive(Clone)]
pub struct Item(Arc<Inner>);

struct Inner {
    json: Box<RawValue>,
    id: Option<String>,
    body: Body,
}

/// What this orchestrator understands of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Message(Message),
    /// The summary paragraphs; the reasoning itself may be sealed in the JSON.
    Reasoning {
        summary: Vec<String>,
    },
    Call(ToolCall),
    /// The answer to the call of the same id.
    Output {
        call_id: String,
    },
    /// Work the provider did by itself: kept and sent back, never executed here.
    Hosted {
        kind: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    /// All text blocks, joined by line feeds.
    pub text: String,
    /// `commentary` or `final_answer`, when the provider says.
    pub phase: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    User,
    Assistant,
    Developer,
}

/// A tool call, whichever of the two shapes it has on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    pub call_id: String,
    pub name: String,
    pub namespace: Option<String>,
    pub payload: Payload,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// JSON text, not yet parsed: a mistake in it is answered by the tool, not by the stream.
    Function {
        arguments: String,
    },
    Custom {
        input: String,
    },
}

/// What a tool answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    Text(String),
    /// `url` is a data URL; images never travel by reference.
    Image {
        url: String,
        detail: Detail,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    High,
    Original,
}

/// Why a provider's item is kept out of the history.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ItemError {
    #[error("item is not a JSON object with a type")]
    Shapeless,
    #[error("item type `{0}` is unknown")]
    UnknownType(String),
    #[error("item of type `{kind}` lacks `{member}`")]
    Lacks { kind: String, member: &'static str },
}

impl Item {
    /// Takes an item as the provider sent it.
    pub fn from_json(json: &str) -> Result<Item, ItemError> {
        let value: Value = serde_json::from_str(json).map_err(|_| ItemError::Shapeless)?;
        let raw =
            RawValue::from_string(json.trim().to_owned()).map_err(|_| ItemError::Shapeless)?;
        Item::assemble(raw, &value)
    }

    /// A message of ours to the model, one `input_text` block per text.
    pub fn message<T: AsRef<str>>(role: Role, texts: impl IntoIterator<Item = T>) -> Item {
        let kind = if role == Role::Assistant {
            "output_text"
        } else {
            "input_text"
        };
        let content: Vec<Value> = texts
            .into_iter()
            .map(|text| json!({"type": kind, "text": text.as_ref()}))
            .collect();
        Item::own(&json!({
            "type": "message",
            "id": new_id("msg"),
            "role": role.as_str(),
            "content": content,
        }))
    }

    /// The provider's id, or ours if we made the item.
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    pub fn body(&self) -> &Body {
        &self.0.body
    }

    /// The JSON text that travels.
    pub fn json(&self) -> &str {
        self.0.json.get()
    }

    pub fn as_call(&self) -> Option<&ToolCall> {
        match self.body() {
            Body::Call(call) => Some(call),
            _ => None,
        }
    }

    pub fn as_message(&self) -> Option<&Message> {
        match self.body() {
            Body::Message(message) => Some(message),
            _ => None,
        }
    }

    fn own(value: &Value) -> Item {
        #[expect(
            clippy::expect_used,
            reason = "built here from string keys and plain values"
        )]
        let item = serde_json::value::to_raw_value(value)
            .ok()
            .and_then(|raw| Item::assemble(raw, value).ok())
            .expect("our own items are well-formed");
        item
    }

    fn assemble(json: Box<RawValue>, value: &Value) -> Result<Item, ItemError> {
        let body = Body::read(value)?;
        let id = text_of(value, "id");
        Ok(Item(Arc::new(Inner { json, id, body })))
    }
}

impl ToolCall {
    /// The item that answers this call.
    pub fn answer(&self, output: &Output) -> Item {
        let (kind, prefix) = match self.payload {
            Payload::Function { .. } => ("function_call_output", "fco"),
            Payload::Custom { .. } => ("custom_tool_call_output", "ctco"),
        };
        Item::own(&json!({
            "type": kind,
            "id": new_id(prefix),
            "call_id": self.call_id,
            "output": output.to_wire(),
        }))
    }
}

impl Output {
    fn to_wire(&self) -> Value {
        match self {
            Output::Text(text) => Value::from(text.as_str()),
            Output::Blocks(blocks) => blocks.iter().map(Block::to_wire).collect(),
        }
    }
}

impl Block {
    fn to_wire(&self) -> Value {
        match self {
            Block::Text(text) => json!({"type": "input_text", "text": text}),
            Block::Image { url, detail } => {
                let detail = match detail {
                    Detail::High => "high",
                    Detail::Original => "original",
                };
                json!({"type": "input_image", "image_url": url, "detail": detail})
            }
        }
    }
}

impl Body {
    fn read(item: &Value) -> Result<Body, ItemError> {
        let kind = item
            .get("type")
            .and_then(Value::as_str)
            .ok_or(ItemError::Shapeless)?;
        let need = |member: &'static str| {
            text_of(item, member).ok_or(ItemError::Lacks {
                kind: kind.to_owned(),
                member,
            })
        };
        Ok(match kind {
            "message" => Body::Message(Message {
                role: Role::read(&need("role")?).ok_or(ItemError::Lacks {
                    kind: kind.to_owned(),
                    member: "role",
                })?,
                text: texts_of(item.get("content")).join("\n"),
                phase: text_of(item, "phase"),
            }),
            "reasoning" => Body::Reasoning {
                summary: texts_of(item.get("summary")),
            },
            "function_call" => Body::Call(ToolCall {
                call_id: need("call_id")?,
                name: need("name")?,
                namespace: text_of(item, "namespace"),
                payload: Payload::Function {
                    arguments: need("arguments")?,
                },
            }),
            "custom_tool_call" => Body::Call(ToolCall {
                call_id: need("call_id")?,
                name: need("name")?,
                namespace: text_of(item, "namespace"),
                payload: Payload::Custom {
                    input: need("input")?,
                },
            }),
            "function_call_output" | "custom_tool_call_output" => Body::Output {
                call_id: need("call_id")?,
            },
            "web_search_call" | "image_generation_call" | "compaction" => Body::Hosted {
                kind: kind.to_owned(),
            },
            other => return Err(ItemError::UnknownType(other.to_owned())),
        })
    }
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Developer => "developer",
        }
    }

    fn read(text: &str) -> Option<Role> {
        Some(match text {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            // Older providers say `system` for what is now `developer`.
            "developer" | "system" => Role::Developer,
            _ => return None,
        })
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.json.serialize(serializer)
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Item) -> bool {
        self.json() == other.json()
    }
}

impl Eq for Item {}

// Contents stay out of logs, so `Debug` names the item and gives its size.
impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.body() {
            Body::Message(message) => message.role.as_str(),
            Body::Reasoning { .. } => "reasoning",
            Body::Call(call) => &call.name,
            Body::Output { call_id } => call_id,
            Body::Hosted { kind } => kind,
        };
        let id = self.id().unwrap_or("-");
        write!(f, "Item({kind}, {id}, {} bytes)", self.json().len())
    }
}

/// A fresh id of our own, e.g. `msg_` and a time-ordered UUID.
fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::now_v7())
}

fn text_of(item: &Value, member: &str) -> Option<String> {
    item.get(member).and_then(Value::as_str).map(str::to_owned)
}

/// The texts of a content list; a bare string counts as a list of one.
fn texts_of(content: Option<&Value>) -> Vec<String> {
    match content {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(blocks)) => blocks
            .iter()
            .filter_map(|block| text_of(block, "text"))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
