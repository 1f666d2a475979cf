//! The body and the headers of one sampling request.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::items::{Item, Message};

/// Everything a sampling request says. Built afresh for each step; the items are shared.
#[derive(Debug, Clone)]
pub struct Request {
    pub model: String,
    /// The base instructions, a developer message. The same item for the whole thread, so that the
    /// provider's prompt cache recognises the beginning of every request.
    pub instructions: Item,
    /// The history after the instructions, oldest first.
    pub input: Vec<Item>,
    /// Tool definitions as they travel; the tools own their schemas.
    pub tools: Arc<[Value]>,
    pub parallel_tool_calls: bool,
    pub reasoning: Option<Reasoning>,
    /// `low`, `medium` or `high`, for models that know it.
    pub verbosity: Option<String>,
    pub ids: Ids,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Reasoning {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// Who is asking, for caching and for tracing on the provider's side.
#[derive(Debug, Clone)]
pub struct Ids {
    pub session: String,
    pub thread: String,
    pub turn: String,
}

/// Where the base instructions travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InstructionsStyle {
    /// As the first input item.
    #[default]
    DeveloperMessage,
    /// In the `instructions` member, for providers that know no developer role.
    Field,
}

#[derive(Serialize)]
struct Wire<'a> {
    model: &'a str,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    input: Vec<&'a Item>,
    #[serde(skip_serializing_if = "<[Value]>::is_empty")]
    tools: &'a [Value],
    tool_choice: &'static str,
    parallel_tool_calls: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a Reasoning>,
    store: bool,
    include: [&'static str; 1],
    prompt_cache_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    client_metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Text<'a> {
    verbosity: &'a str,
}

#[derive(Serialize)]
struct Metadata<'a> {
    session_id: &'a str,
    thread_id: &'a str,
    turn_id: &'a str,
}

impl Request {
    /// The JSON body.
    pub(super) fn body(&self, style: InstructionsStyle) -> serde_json::Result<Vec<u8>> {
        let (instructions, first) = match (style, self.instructions.as_message()) {
            (InstructionsStyle::Field, Some(Message { text, .. })) => (Some(text.as_str()), None),
            _ => (None, Some(&self.instructions)),
        };
        serde_json::to_vec(&Wire {
            model: &self.model,
            stream: true,
            instructions,
            input: first.into_iter().chain(&self.input).collect(),
            tools: &self.tools,
            tool_choice: "auto",
            parallel_tool_calls: self.parallel_tool_calls,
            reasoning: self.reasoning.as_ref(),
            // The provider keeps nothing: the whole history travels, sealed reasoning included.
            store: false,
            include: ["reasoning.encrypted_content"],
            prompt_cache_key: &self.ids.thread,
            text: self
                .verbosity
                .as_deref()
                .map(|verbosity| Text { verbosity }),
            client_metadata: Metadata {
                session_id: &self.ids.session,
                thread_id: &self.ids.thread,
                turn_id: &self.ids.turn,
            },
        })
    }

    /// The headers beyond content type and credentials.
    pub(super) fn headers(&self) -> [(&'static str, &str); 3] {
        [
            ("session-id", &self.ids.session),
            ("thread-id", &self.ids.thread),
            ("x-client-request-id", &self.ids.thread),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Role;

    fn request() -> Request {
        Request {
            model: "some-model".into(),
            instructions: Item::from_json(
                r#"{"type":"message","id":"msg_0","role":"developer","content":[{"type":"input_text","text":"be brief"}]}"#,
            )
            .unwrap(),
            input: vec![
                Item::from_json(r#"{"type":"message","id":"msg_1","role":"user","content":"hi"}"#).unwrap(),
            ],
            tools: Arc::from(vec![json!({"type": "function", "name": "exec_command"})]),
            parallel_tool_calls: true,
            reasoning: Some(Reasoning { effort: Some("low".into()), summary: None }),
            verbosity: Some("low".into()),
            ids: Ids { session: "s".into(), thread: "t".into(), turn: "u".into() },
        }
    }

    fn body(request: &Request, style: InstructionsStyle) -> Value {
        serde_json::from_slice(&request.body(style).unwrap()).unwrap()
    }

    #[test]
    fn the_body_has_every_member_of_a_plain_turn() {
        insta::assert_json_snapshot!(body(&request(), InstructionsStyle::DeveloperMessage));
    }

    #[test]
    fn members_without_a_value_are_left_out() {
        let mut bare = request();
        bare.tools = Arc::from(Vec::new());
        bare.reasoning = None;
        bare.verbosity = None;
        let sent = body(&bare, InstructionsStyle::DeveloperMessage);
        for member in ["instructions", "tools", "reasoning", "text"] {
            assert_eq!(sent.get(member), None, "{member}");
        }
    }

    #[test]
    fn instructions_can_travel_in_their_own_member() {
        let sent = body(&request(), InstructionsStyle::Field);
        assert_eq!(sent["instructions"], json!("be brief"));
        assert_eq!(sent["input"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn the_same_instructions_item_is_sent_every_time() {
        let mut again = request();
        again.input.push(Item::message(Role::User, ["more"]));
        let first = body(&request(), InstructionsStyle::DeveloperMessage);
        let second = body(&again, InstructionsStyle::DeveloperMessage);
        assert_eq!(first["input"][0], second["input"][0]);
        assert_eq!(first["input"][1], second["input"][1]);
    }
}
