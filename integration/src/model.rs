//! A model that answers as the test says: a real HTTP server with real server-sent events.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

/// The items one sampling request is answered with.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    items: Vec<Value>,
}

impl Reply {
    /// A final message.
    pub fn message(text: &str) -> Reply {
        Reply::default().and(json!({"type": "message", "role": "assistant",
            "content": [{"type": "output_text", "text": text}]}))
    }

    /// A call of a function tool.
    #[must_use]
    pub fn call(self, call_id: &str, name: &str, arguments: &Value) -> Reply {
        self.and(
            json!({"type": "function_call", "call_id": call_id, "name": name,
            "arguments": arguments.to_string()}),
        )
    }

    /// A call of a tool that takes free text.
    #[must_use]
    pub fn custom(self, call_id: &str, name: &str, input: &str) -> Reply {
        self.and(
            json!({"type": "custom_tool_call", "call_id": call_id, "name": name,
            "input": input}),
        )
    }

    fn and(mut self, item: Value) -> Reply {
        self.items.push(item);
        self
    }

    fn events(self, number: usize) -> String {
        let mut text = String::new();
        let mut event = |value: Value| text.push_str(&format!("data: {value}\n\n"));
        event(json!({"type": "response.created", "response": {"id": format!("resp_{number}")}}));
        for (index, mut item) in self.items.into_iter().enumerate() {
            if let Some(item) = item.as_object_mut() {
                item.insert("id".to_owned(), format!("item_{number}_{index}").into());
            }
            event(json!({"type": "response.output_item.done", "item": item}));
        }
        event(json!({"type": "response.completed", "response": {"id": format!("resp_{number}")}}));
        text
    }
}

type Script = dyn Fn(usize, &Value) -> Reply + Send + Sync;

/// A loopback Responses endpoint that asks `script` for every reply.
pub struct ScriptedModel {
    /// To be given as the base URL.
    pub url: String,
    requests: Arc<Mutex<Vec<Value>>>,
    _serving: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for ScriptedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedModel")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Shared {
    script: Arc<Script>,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl ScriptedModel {
    /// Serves. `script` gets the number of the request, from 0, and its body.
    pub async fn start(
        script: impl Fn(usize, &Value) -> Reply + Send + Sync + 'static,
    ) -> Result<ScriptedModel> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let shared = Shared {
            script: Arc::new(script),
            requests: requests.clone(),
        };
        let router = Router::new()
            .route("/v1/responses", post(respond))
            .with_state(shared);
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(ScriptedModel {
            url,
            requests,
            _serving: AbortOnDropHandle::new(serving),
        })
    }

    /// The bodies of all requests so far.
    pub fn requests(&self) -> Vec<Value> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn respond(State(shared): State<Shared>, body: String) -> Result<Response, Infallible> {
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let number = {
        let mut requests = shared
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        requests.push(body.clone());
        requests.len() - 1
    };
    let text = (shared.script)(number, &body).events(number);
    Ok(([(CONTENT_TYPE, "text/event-stream")], Body::from(text)).into_response())
}
