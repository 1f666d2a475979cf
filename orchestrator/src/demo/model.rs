//! The scripted model's voice: a Responses endpoint on loopback.
//!
//! It speaks HTTP and server-sent events as a provider does, so the loop in front of it is the real
//! one, from the first byte of a request to the last event of the answer.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::future::BoxFuture;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::script::{self, Reply, Step};

/// The demo's whole conversation is a small part of this; more is not the demo's.
const MAX_REQUEST_BYTES: usize = 16 * 1024 * 1024;

/// Called with each step that was reached, before the next one is asked for.
pub(super) type Interlude = Arc<dyn Fn(Step) -> BoxFuture<'static, ()> + Send + Sync>;

/// A running endpoint; it ends with this handle.
#[derive(Debug)]
pub(super) struct ScriptedModel {
    base_url: String,
    _serving: AbortOnDropHandle<()>,
}

impl ScriptedModel {
    pub(super) async fn start(interlude: Interlude) -> io::Result<ScriptedModel> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let router = Router::new()
            .route("/v1/responses", post(respond))
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(interlude);
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "the scripted model ended early");
            }
        });
        Ok(ScriptedModel {
            base_url,
            _serving: AbortOnDropHandle::new(serving),
        })
    }

    pub(super) fn base_url(&self) -> &str {
        &self.base_url
    }
}

async fn respond(State(interlude): State<Interlude>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reply = script::reply(&request);
    if let Some(step) = reply.reached {
        interlude(step).await;
    }
    let events = events(&reply, body.len());
    let chunks = events
        .into_iter()
        .map(|event| Ok::<_, Infallible>(wire(&event)));
    let headers = [(CONTENT_TYPE, "text/event-stream")];
    (headers, Body::from_stream(stream::iter(chunks))).into_response()
}

fn wire(event: &Value) -> String {
    let kind = event["type"].as_str().unwrap_or_default();
    format!("event: {kind}\ndata: {event}\n\n")
}

/// The stream of a whole answer.
fn events(reply: &Reply, request_bytes: usize) -> Vec<Value> {
    // Named after the step, so that a repeated answer is the same answer.
    let name = match reply.reached {
        Some(step) => format!("{step:?}").to_lowercase(),
        None => "begin".to_owned(),
    };
    let (response, message) = (format!("resp_{name}"), format!("msg_{name}"));
    let mut events = vec![
        json!({"type": "response.created", "response": {"id": response}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item":
            {"type": "message", "id": message, "role": "assistant", "content": []}}),
    ];
    events.extend(reply.text.split_inclusive(' ').map(|word| {
        json!({"type": "response.output_text.delta", "output_index": 0, "item_id": message,
            "delta": word})
    }));
    let message = json!({"type": "message", "id": message, "role": "assistant",
        "content": [{"type": "output_text", "text": reply.text}]});
    for (index, item) in [&message].into_iter().chain(&reply.calls).enumerate() {
        events.push(
            json!({"type": "response.output_item.done", "output_index": index, "item": item}),
        );
    }
    // There are no tokens; their usual estimate keeps the summary honest about sizes.
    let written: usize = reply.calls.iter().map(|call| call.to_string().len()).sum();
    let (input, output) = (
        request_bytes.div_ceil(4),
        (reply.text.len() + written).div_ceil(4),
    );
    events.push(
        json!({"type": "response.completed", "response": {"id": response,
        "status": "completed", "end_turn": reply.calls.is_empty(), "usage":
        {"input_tokens": input, "output_tokens": output, "total_tokens": input + output}}}),
    );
    events
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::StreamExt;

    use super::*;
    use crate::model::{HttpModel, Ids, Item, Model, ModelEvent, Provider, Request, Role};

    fn request() -> Request {
        Request {
            model: "scripted".into(),
            instructions: Item::message(Role::Developer, ["be brief"]),
            input: vec![Item::message(
                Role::User,
                ["environment id=\"builder\" is all"],
            )],
            tools: Arc::from(Vec::new()),
            parallel_tool_calls: true,
            reasoning: None,
            verbosity: None,
            ids: Ids {
                session: "s".into(),
                thread: "t".into(),
                turn: "u".into(),
            },
        }
    }

    #[tokio::test]
    async fn the_real_client_understands_the_scripted_model() {
        let reached = Arc::<Mutex<Vec<Step>>>::default();
        let told = Arc::clone(&reached);
        let interlude: Interlude = Arc::new(move |step| {
            told.lock().unwrap().push(step);
            Box::pin(std::future::ready(()))
        });
        let model = ScriptedModel::start(interlude).await.unwrap();
        let client = HttpModel::new(&Provider::new(model.base_url())).unwrap();
        let mut said = String::new();
        let mut stream = client.sample(request());
        while let Some(event) = stream.next().await {
            match event.unwrap() {
                ModelEvent::TextDelta { delta, .. } => said += &delta,
                ModelEvent::ItemDone(item) => assert_eq!(item.as_message().unwrap().text, said),
                ModelEvent::Completed { end_turn, .. } => assert_eq!(end_turn, Some(true)),
                _ => {}
            }
        }
        assert_eq!(
            said,
            "I stop here, because nobody tells me of an environment `server`."
        );
        assert_eq!(*reached.lock().unwrap(), []);
    }
}
