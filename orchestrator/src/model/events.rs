//! One server-sent event's JSON, read leniently.
//!
//! The `type` inside the JSON decides. What is not JSON, not known or not well-formed is skipped:
//! providers add events at will, and only a finished item and the end of the response matter.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::{ModelError, ModelErrorKind};
use super::items::Item;
use super::usage::Usage;

/// What a provider's stream says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelEvent {
    /// The request was accepted.
    Created { response_id: Option<String> },
    /// An item begins to stream. For display only.
    ItemAdded {
        item_id: Option<String>,
        kind: String,
    },
    /// More of an answer's text. For display only.
    TextDelta {
        item_id: Option<String>,
        delta: String,
    },
    /// More of the reasoning, summarised or not. For display only.
    ReasoningDelta {
        item_id: Option<String>,
        delta: String,
    },
    /// An item is final. If it is a tool call it may start now.
    ItemDone(Item),
    /// The response is whole; nothing follows.
    Completed {
        response_id: Option<String>,
        usage: Usage,
        end_turn: Option<bool>,
    },
}

/// Reads one event's data. `None` is an event to skip.
pub(super) fn read(data: &str) -> Option<Result<ModelEvent, ModelError>> {
    let Ok(Typed { kind }) = serde_json::from_str::<Typed<'_>>(data) else {
        tracing::debug!(
            bytes = data.len(),
            "skipped an event that is not typed JSON"
        );
        return None;
    };
    match kind.as_ref() {
        "response.output_item.done" => item_done(data).map(Ok),
        "response.output_text.delta" => {
            delta(data).map(|(item_id, delta)| Ok(ModelEvent::TextDelta { item_id, delta }))
        }
        "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
            delta(data).map(|(item_id, delta)| Ok(ModelEvent::ReasoningDelta { item_id, delta }))
        }
        "response.output_item.added" => {
            let item = &value(data)?["item"];
            let kind = text(item, "type")?;
            Some(Ok(ModelEvent::ItemAdded {
                item_id: text(item, "id"),
                kind,
            }))
        }
        "response.created" => Some(Ok(ModelEvent::Created {
            response_id: text(&value(data)?["response"], "id"),
        })),
        "response.completed" => Some(Ok(completed(&value(data)?["response"]))),
        "response.failed" => Some(Err(ModelError::from_event(
            &value(data)?["response"]["error"],
        ))),
        "response.incomplete" => Some(Err(incomplete(&value(data)?["response"]))),
        "error" => {
            let event = value(data)?;
            Some(Err(ModelError::from_event(
                event.get("error").unwrap_or(&event),
            )))
        }
        _ => None,
    }
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct WithItem<'a> {
    // Kept as text: the item goes back to the provider exactly as it came.
    #[serde(borrow)]
    item: &'a RawValue,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(default, borrow)]
    item_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    delta: Cow<'a, str>,
}

fn item_done(data: &str) -> Option<ModelEvent> {
    let WithItem { item } = serde_json::from_str(data).ok()?;
    match Item::from_json(item.get()) {
        Ok(item) => Some(ModelEvent::ItemDone(item)),
        Err(error) => {
            tracing::debug!(%error, "kept a provider's item out of the history");
            None
        }
    }
}

fn delta(data: &str) -> Option<(Option<String>, String)> {
    let Delta { item_id, delta } = serde_json::from_str(data).ok()?;
    Some((item_id.map(Cow::into_owned), delta.into_owned()))
}

fn completed(response: &Value) -> ModelEvent {
    ModelEvent::Completed {
        response_id: text(response, "id"),
        usage: Usage::from_wire(&response["usage"]),
        end_turn: response["end_turn"].as_bool(),
    }
}

fn incomplete(response: &Value) -> ModelError {
    let reason = response["incomplete_details"]["reason"]
        .as_str()
        .unwrap_or("no reason given");
    ModelError::new(
        ModelErrorKind::Incomplete {
            reason: reason.to_owned(),
        },
        format!("the provider stopped before the response was complete: {reason}"),
    )
}

fn value(data: &str) -> Option<Value> {
    serde_json::from_str(data).ok()
}

fn text(value: &Value, member: &str) -> Option<String> {
    value.get(member).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(value: Value) -> Option<Result<ModelEvent, ModelError>> {
        read(&value.to_string())
    }

    #[test]
    fn what_is_not_understood_is_skipped() {
        for data in [
            "",
            "this is not json",
            "[1]",
            "{}",
            r#"{"type":7}"#,
            "[DONE]",
        ] {
            assert_eq!(read(data), None, "{data}");
        }
        assert_eq!(
            event(json!({"type": "response.not_invented_yet", "x": 1})),
            None
        );
        assert_eq!(event(json!({"type": "response.output_item.done"})), None);
        let future = json!({"type": "item_of_the_future", "id": "iof_1"});
        assert_eq!(
            event(json!({"type": "response.output_item.done", "item": future})),
            None
        );
        assert_eq!(
            event(json!({"type": "response.output_text.delta", "delta": {"x": 1}})),
            None
        );
    }

    #[test]
    fn a_finished_item_keeps_its_spelling() {
        let item = r#"{ "type":"reasoning",  "summary":[], "encrypted_content":"\u0041" }"#;
        let read = read(&format!(
            r#"{{"type":"response.output_item.done","item":{item}}}"#
        ));
        let expected = ModelEvent::ItemDone(Item::from_json(item).unwrap());
        assert_eq!(read, Some(Ok(expected)));
    }

    #[test]
    fn deltas_and_openings_are_for_display() {
        let delta = json!({"type": "response.output_text.delta", "item_id": "m", "delta": "a\nb"});
        let expected = ModelEvent::TextDelta {
            item_id: Some("m".into()),
            delta: "a\nb".into(),
        };
        assert_eq!(event(delta), Some(Ok(expected)));
        let thought = json!({"type": "response.reasoning_summary_text.delta", "delta": "hm"});
        let expected = ModelEvent::ReasoningDelta {
            item_id: None,
            delta: "hm".into(),
        };
        assert_eq!(event(thought), Some(Ok(expected)));
        let added =
            json!({"type": "response.output_item.added", "item": {"type": "message", "id": "m"}});
        let expected = ModelEvent::ItemAdded {
            item_id: Some("m".into()),
            kind: "message".into(),
        };
        assert_eq!(event(added), Some(Ok(expected)));
    }

    #[test]
    fn completion_may_leave_out_usage_and_end_turn() {
        let bare = json!({"type": "response.completed", "response": {"id": "r"}});
        let expected = ModelEvent::Completed {
            response_id: Some("r".into()),
            usage: Usage::default(),
            end_turn: None,
        };
        assert_eq!(event(bare), Some(Ok(expected)));
        let full = json!({"type": "response.completed",
            "response": {"usage": {"input_tokens": 3}, "end_turn": false}});
        let expected = ModelEvent::Completed {
            response_id: None,
            usage: Usage {
                input: 3,
                ..Usage::default()
            },
            end_turn: Some(false),
        };
        assert_eq!(event(full), Some(Ok(expected)));
    }

    #[test]
    fn failures_end_the_stream_with_their_kind() {
        let failed = json!({"type": "response.failed",
            "response": {"error": {"code": "invalid_prompt", "message": "no"}}});
        let kind = ModelErrorKind::Rejected {
            code: "invalid_prompt".into(),
        };
        assert_eq!(event(failed), Some(Err(ModelError::new(kind, "no"))));
        let incomplete = json!({"type": "response.incomplete",
            "response": {"incomplete_details": {"reason": "max_output_tokens"}}});
        let kind = ModelErrorKind::Incomplete {
            reason: "max_output_tokens".into(),
        };
        let message = "the provider stopped before the response was complete: max_output_tokens";
        assert_eq!(event(incomplete), Some(Err(ModelError::new(kind, message))));
        let error = json!({"type": "error", "code": "slow_down", "message": "busy"});
        assert_eq!(
            event(error),
            Some(Err(ModelError::new(ModelErrorKind::Overloaded, "busy")))
        );
    }
}
