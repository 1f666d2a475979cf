use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::model::{Ids, Item, Role, Usage};

/// A provider that plays one raw answer per connection and hands back the requests it saw.
struct Script {
    address: String,
    requests: JoinHandle<Vec<String>>,
}

impl Script {
    async fn start(answers: Vec<String>) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/v1/", listener.local_addr().unwrap());
        let requests = tokio::spawn(async move {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                requests.push(read_request(&mut stream).await);
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
            requests
        });
        Script { address, requests }
    }

    fn model(&self) -> HttpModel {
        HttpModel::new(&self.provider()).unwrap()
    }

    fn provider(&self) -> Provider {
        let quick = RetryPolicy::new(2, 0).first_delay(Duration::from_millis(1));
        Provider {
            retry: quick,
            ..Provider::new(self.address.clone())
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.unwrap();
        assert_ne!(count, 0, "the request broke off");
        seen.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            return text.into_owned();
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn sse(events: &[Value]) -> String {
    let body: String = events
        .iter()
        .map(|event| format!("event: x\ndata: {event}\n\n"))
        .collect();
    answer("200 OK", "content-type: text/event-stream\r\n", &body)
}

fn request() -> Request {
    Request {
        model: "m".into(),
        instructions: Item::message(Role::Developer, ["be brief"]),
        input: vec![Item::message(Role::User, ["hi"])],
        tools: Arc::from(Vec::new()),
        parallel_tool_calls: true,
        reasoning: None,
        verbosity: None,
        ids: Ids {
            session: "s-1".into(),
            thread: "t-1".into(),
            turn: "u-1".into(),
        },
    }
}

async fn play(model: &HttpModel) -> Vec<Result<ModelEvent, ModelError>> {
    model.sample(request()).collect().await
}

fn completed() -> Result<ModelEvent, ModelError> {
    let usage = Usage {
        input: 5,
        ..Usage::default()
    };
    Ok(ModelEvent::Completed {
        response_id: Some("r".into()),
        usage,
        end_turn: None,
    })
}

fn completed_json() -> Value {
    json!({"type": "response.completed", "response": {"id": "r", "usage": {"input_tokens": 5}}})
}

fn item_json() -> Value {
    json!({"type": "message", "id": "msg_0", "role": "assistant", "content": []})
}

fn item_done() -> Result<ModelEvent, ModelError> {
    Ok(ModelEvent::ItemDone(
        Item::from_json(&item_json().to_string()).unwrap(),
    ))
}

#[tokio::test]
async fn a_plain_answer_streams_to_its_completion_and_not_beyond() {
    let script = Script::start(vec![sse(&[
        json!({"type": "response.created", "response": {"id": "r"}}),
        json!({"type": "response.output_item.done", "item": item_json()}),
        completed_json(),
        json!({"type": "response.created", "response": {"id": "too late"}}),
    ])])
    .await;
    let created = Ok(ModelEvent::Created {
        response_id: Some("r".into()),
    });
    assert_eq!(
        play(&script.model()).await,
        vec![created, item_done(), completed()]
    );
}

#[tokio::test]
async fn the_request_names_us_and_carries_the_key() {
    let script = Script::start(vec![sse(&[completed_json()])]).await;
    let provider = Provider {
        api_key: Some("sk-test".into()),
        ..script.provider()
    };
    play(&HttpModel::new(&provider).unwrap()).await;
    let seen = script.requests.await.unwrap().remove(0);
    assert!(
        seen.starts_with("POST /v1/responses HTTP/1.1\r\n"),
        "{seen}"
    );
    for line in [
        "authorization: Bearer sk-test",
        "accept: text/event-stream",
        "content-type: application/json",
        "session-id: s-1",
        "thread-id: t-1",
        "x-client-request-id: t-1",
        concat!("user-agent: farstep/", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(
            seen.contains(&format!("\r\n{line}\r\n")),
            "{line} in {seen}"
        );
    }
    assert!(!seen.contains("accept-encoding"), "{seen}");
}

#[tokio::test]
async fn a_stumbling_server_is_asked_again_without_a_word() {
    let stumble = answer("500 Internal Server Error", "", "");
    let script = Script::start(vec![stumble.clone(), stumble, sse(&[completed_json()])]).await;
    assert_eq!(play(&script.model()).await, vec![completed()]);
    let requests = script.requests.await.unwrap();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0], requests[2]);
}

#[tokio::test]
async fn a_used_up_inner_budget_surfaces_the_last_error() {
    let stumble = answer(
        "503 Service Unavailable",
        "",
        r#"{"error":{"message":"later"}}"#,
    );
    let script = Script::start(vec![stumble.clone(), stumble.clone(), stumble]).await;
    let message = "the provider answered with status 503: later";
    let expected = ModelError::new(ModelErrorKind::Server { status: 503 }, message);
    assert_eq!(play(&script.model()).await, vec![Err(expected)]);
}

#[tokio::test]
async fn a_rate_limit_is_left_to_the_caller_with_its_delay() {
    let limit = answer("429 Too Many Requests", "retry-after: 7\r\n", "");
    let script = Script::start(vec![limit]).await;
    let expected = ModelError {
        kind: ModelErrorKind::RateLimited,
        message: "the provider answered with status 429".into(),
        retry_after: Some(Duration::from_secs(7)),
    };
    assert_eq!(play(&script.model()).await, vec![Err(expected)]);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let away = answer(
        "307 Temporary Redirect",
        "location: http://127.0.0.1:9/\r\n",
        "",
    );
    let script = Script::start(vec![away]).await;
    let message = "the provider answered with status 307";
    let expected = ModelError::new(ModelErrorKind::Refused { status: 307 }, message);
    assert_eq!(play(&script.model()).await, vec![Err(expected)]);
}

#[tokio::test]
async fn finished_items_come_before_the_cut() {
    let done = json!({"type": "response.output_item.done", "item": item_json()});
    let whole = sse(std::slice::from_ref(&done));
    let message = "the stream ended before the response was complete";
    let ended = Err(ModelError::new(ModelErrorKind::Cut, message));
    let script = Script::start(vec![whole.clone()]).await;
    assert_eq!(play(&script.model()).await, vec![item_done(), ended]);

    // The same, but the connection closes before the promised length is there.
    let short = whole.replacen("content-length: ", "content-length: 9", 1);
    let script = Script::start(vec![short]).await;
    let played = play(&script.model()).await;
    assert_eq!(played[0], item_done());
    assert!(
        matches!(
            &played[1..],
            [Err(ModelError {
                kind: ModelErrorKind::Cut,
                ..
            })]
        ),
        "{played:?}"
    );
}

#[tokio::test]
async fn nobody_listening_is_named_with_its_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let model = HttpModel::new(&Provider {
        retry: RetryPolicy::new(0, 0),
        ..Provider::new(address)
    });
    let played = play(&model.unwrap()).await;
    let [
        Err(ModelError {
            kind: ModelErrorKind::Unreachable,
            message,
            ..
        }),
    ] = &played[..]
    else {
        panic!("{played:?}")
    };
    assert!(
        message.starts_with("could not reach the provider at 127.0.0.1: "),
        "{message}"
    );
    assert!(message.to_lowercase().contains("refused"), "{message}");
}

#[test]
fn the_endpoint_keeps_path_and_query() {
    let join = |base: &str| endpoint(base).unwrap().to_string();
    assert_eq!(
        join("https://api.example.com/v1"),
        "https://api.example.com/v1/responses"
    );
    assert_eq!(
        join("https://api.example.com/v1/"),
        "https://api.example.com/v1/responses"
    );
    assert_eq!(join("http://localhost:1"), "http://localhost:1/responses");
    assert_eq!(
        join("https://h/o?api-version=2"),
        "https://h/o/responses?api-version=2"
    );
}

#[test]
fn an_address_that_cannot_work_is_refused_without_showing_a_password() {
    let refusal = |base: &str| endpoint(base).unwrap_err().to_string();
    assert_eq!(
        refusal("ftp://h/"),
        "the base url `ftp://h/` is not an http or https address: only these two schemes are spoken"
    );
    assert!(refusal("no address").starts_with("the base url `no address` is not"));
    let hidden = refusal("https://me:secret@h/v1");
    assert!(
        hidden.contains("`https://…@h/v1`") && !hidden.contains("secret"),
        "{hidden}"
    );
}
