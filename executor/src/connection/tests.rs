use std::collections::BTreeMap;
use std::path::Path;

use farstep_transport::Memory;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;

mod audit;
#[cfg(unix)]
mod awake;
mod control;
mod durable;
mod files;
mod sealed;
mod trace;

const PATIENCE: Duration = Duration::from_secs(10);

/// A peer of a connection under test.
struct Peer {
    wire: Memory,
    served: JoinHandle<End>,
    stop: CancellationToken,
    /// Messages that came while another was awaited.
    unread: Vec<Value>,
}

impl Peer {
    fn connect(server: &Arc<Server>) -> Peer {
        Peer::connect_over(server, 1 << 20)
    }

    /// `capacity` bytes may be under way each way.
    fn connect_over(server: &Arc<Server>, capacity: usize) -> Peer {
        let (ours, wire) = farstep_transport::memory(capacity);
        let (server, stop) = (Arc::clone(server), CancellationToken::new());
        let stopped = stop.clone();
        let served = tokio::spawn(async move {
            let patience = Some(PATIENCE);
            let (end, _) = serve(&server, ours, Who::default(), patience, &stopped).await;
            end
        });
        Peer {
            wire,
            served,
            stop,
            unread: vec![],
        }
    }

    async fn open(server: &Arc<Server>) -> Peer {
        let mut peer = Peer::connect(server);
        peer.handshake(None).await;
        peer
    }

    /// Returns the session's id.
    async fn handshake(&mut self, resume: Option<&str>) -> String {
        let params = json!({"clientName": "test", "resumeSessionId": resume});
        let result = self.call("initialize", params).await.unwrap();
        self.send(json!({"method": "initialized"})).await;
        result["sessionId"].as_str().unwrap().to_owned()
    }

    async fn send(&mut self, message: Value) {
        self.wire.send(message.to_string().into()).await.unwrap();
    }

    async fn post(&mut self, id: &str, method: &str, params: Value) {
        self.send(json!({"id": id, "method": method, "params": params}))
            .await;
    }

    async fn next(&mut self) -> Value {
        let text = self.wire.next().await.unwrap().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The reply to a request, or the code it was refused with.
    async fn reply(&mut self, id: &str) -> Result<Value, i64> {
        loop {
            if let Some(at) = self.unread.iter().position(|message| message["id"] == id) {
                let mut message = self.unread.remove(at);
                return match message["error"]["code"].as_i64() {
                    Some(code) => Err(code),
                    None => Ok(message["result"].take()),
                };
            }
            let message = self.next().await;
            self.unread.push(message);
        }
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value, i64> {
        self.post(method, method, params).await;
        self.reply(method).await
    }

    async fn end(self) -> End {
        drop(self.wire);
        self.served.await.unwrap()
    }

    /// The end that needs no closing from this side.
    async fn ended(self) -> String {
        self.served.await.unwrap().to_string()
    }
}

fn start(process: &str, script: &str) -> Value {
    json!({"processId": process, "argv": ["/bin/sh", "-c", script], "cwd": "file:///", "env": {},
        "tty": false, "pipeStdin": true})
}

fn uri(path: &Path) -> String {
    farstep_path_uri::PathUri::from_host(path)
        .unwrap()
        .to_string()
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_initialize_in_time_is_not_waited_for() {
    let peer = Peer::connect(&Server::for_tests());
    let began = tokio::time::Instant::now();
    assert_eq!(
        peer.ended().await,
        "the peer did not say `initialize` in time"
    );
    assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
    // Saying other things is no excuse, and a refused `initialize` may be repeated as long.
    let mut peer = Peer::connect(&Server::for_tests());
    let almost = PATIENCE - Duration::from_millis(10);
    tokio::time::sleep(almost).await;
    assert_eq!(peer.call("initialize", json!({})).await, Err(-32602));
    tokio::time::sleep(almost).await;
    assert_eq!(peer.call("fs/open", json!({})).await, Err(-32600));
    tokio::time::sleep(PATIENCE - almost).await;
    assert_eq!(
        peer.ended().await,
        "the peer did not say `initialize` in time"
    );
    let mut peer = Peer::open(&Server::for_tests()).await;
    tokio::time::sleep(PATIENCE * 100).await;
    let status = peer.call("environment/status", json!({})).await;
    assert_eq!(status, Ok(json!({"status": "ready"})));
}

#[tokio::test]
async fn the_handshake_gates_every_method_there_is() {
    let mut peer = Peer::connect(&Server::for_tests());
    let known = [
        "environment/info",
        "process/read",
        "fs/readFile",
        "http/request",
    ];
    for method in known {
        assert_eq!(peer.call(method, json!({})).await, Err(-32600), "{method}");
    }
    assert_eq!(peer.call("no/such", json!({})).await, Err(-32601));
    assert_eq!(peer.call("initialize", json!({})).await, Err(-32602));
    let resume = json!({"clientName": "", "resumeSessionId": "nope"});
    assert_eq!(peer.call("initialize", resume).await, Err(-32600));

    peer.post("i", "initialize", json!({"clientName": ""}))
        .await;
    assert!(peer.reply("i").await.is_ok());
    for method in known {
        assert_eq!(peer.call(method, json!({})).await, Err(-32600), "{method}");
    }
    peer.send(json!({"method": "initialized"})).await;
    let status = peer.call("environment/status", Value::Null).await;
    assert_eq!(status, Ok(json!({"status": "ready"})));
    let again = peer.call("initialize", json!({"clientName": ""})).await;
    assert_eq!(again, Err(-32600));
}

#[tokio::test]
async fn a_malformed_message_is_answered_and_the_connection_goes_on() {
    let mut peer = Peer::connect(&Server::for_tests());
    for text in [
        "{bad",
        "[]",
        "{}",
        r#"{"id":null,"method":"m"}"#,
        r#"{"id":1,"id":2,"method":"m"}"#,
    ] {
        peer.wire.send(text.into()).await.unwrap();
        let answer = peer.next().await;
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(-1), &json!(-32600)),
            "{text}"
        );
    }
    peer.handshake(None).await;
}

#[tokio::test]
async fn breaking_the_rules_ends_the_connection() {
    for (message, reason) in [
        (json!({"method": "no/such"}), "unknown notification"),
        (
            json!({"method": "environment/status"}),
            "unknown notification",
        ),
        (
            json!({"id": 9, "result": {}}),
            "reply to a request that was never made",
        ),
        (
            json!({"id": 9, "error": {"code": 1, "message": ""}}),
            "reply to a request that was never made",
        ),
    ] {
        let mut peer = Peer::open(&Server::for_tests()).await;
        peer.send(message).await;
        assert_eq!(
            peer.ended().await,
            format!("the peer broke the rules: {reason}")
        );
    }
    let mut peer = Peer::connect(&Server::for_tests());
    peer.send(json!({"method": "initialized"})).await;
    let end = peer.ended().await;
    assert_eq!(
        end,
        "the peer broke the rules: initialized before initialize"
    );
}

#[tokio::test]
async fn requests_behind_a_start_wait_for_it_in_order() {
    let mut peer = Peer::open(&Server::for_tests()).await;
    peer.post("start", "process/start", start("p", "cat")).await;
    for (id, chunk) in [("w1", "YQ=="), ("w2", "Yg=="), ("w3", "Yw==")] {
        let write = json!({"processId": "p", "chunk": chunk, "writeId": id});
        peer.post(id, "process/write", write).await;
    }
    peer.post("again", "process/start", start("p", "cat")).await;
    peer.post(
        "read",
        "process/read",
        json!({"processId": "p", "waitMs": 60_000}),
    )
    .await;
    assert_eq!(peer.reply("again").await, Err(-32600));
    assert!(peer.reply("start").await.is_ok());
    for id in ["w1", "w2", "w3"] {
        assert_eq!(peer.reply(id).await, Ok(json!({"status": "accepted"})));
    }
    assert!(
        !peer.reply("read").await.unwrap()["chunks"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    let mut echoed = String::new();
    while echoed.len() < 12 {
        let read = json!({"processId": "p", "afterSeq": 0, "waitMs": 60_000});
        let page = peer.call("process/read", read).await.unwrap();
        let chunks = page["chunks"].as_array().unwrap();
        let bytes = chunks.iter().flat_map(|chunk| {
            farstep_protocol::frame::read_base64(chunk["chunk"].as_str().unwrap()).unwrap()
        });
        let text = String::from_utf8(bytes.collect()).unwrap();
        assert!("abc".starts_with(&text), "{text}");
        echoed = if text == "abc" {
            "all of it is here".into()
        } else {
            text
        };
    }
}

#[tokio::test]
async fn the_answer_to_a_start_goes_before_its_events_and_those_are_in_order() {
    let mut peer = Peer::open(&Server::for_tests()).await;
    for number in 0..20 {
        let script = "echo one; echo two >&2; exit 3";
        peer.post(
            &format!("s{number}"),
            "process/start",
            start(&format!("p{number}"), script),
        )
        .await;
    }
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let mut closed = 0;
    while closed < 20 {
        let message = peer.next().await;
        match message["method"].as_str() {
            None => {
                let process = message["result"]["processId"].as_str().unwrap();
                assert_eq!(seen.insert(process.to_owned(), 0), None, "{message}");
            }
            Some(method) => {
                let last = seen
                    .get_mut(message["params"]["processId"].as_str().unwrap())
                    .unwrap();
                *last += 1;
                assert_eq!(message["params"]["seq"], *last);
                closed += usize::from(method == "process/closed");
            }
        }
    }
}

/// A connection with a poll under way that ends when its process says something.
async fn polling(script: &str) -> Peer {
    let mut peer = Peer::open(&Server::for_tests()).await;
    let started = peer.call("process/start", start("p", script)).await;
    assert!(started.is_ok());
    let poll = json!({"processId": "p", "waitMs": 3_600_000});
    peer.post("poll", "process/read", poll).await;
    // Answered behind it, so the poll has arrived.
    peer.call("environment/status", json!({})).await.unwrap();
    peer
}

#[tokio::test]
async fn a_stop_lets_calls_finish_that_are_under_way_and_reads_no_more() {
    let mut peer = polling("sleep 0.3; echo done").await;
    peer.stop.cancel();
    tokio::task::yield_now().await;
    peer.post("late", "environment/status", json!({})).await;
    let page = peer.reply("poll").await.unwrap();
    assert_eq!(page["chunks"].as_array().unwrap().len(), 1);
    assert!(peer.unread.iter().all(|message| message["id"] != "late"));
    assert_eq!(peer.ended().await, "the executor stops");
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_its_grace() {
    let peer = polling("sleep 300").await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    peer.stop.cancel();
    assert_eq!(peer.ended().await, "the executor stops");
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn calls_are_counted_under_their_names_and_what_a_peer_makes_up_under_none() {
    let server = Server::for_tests();
    let mut peer = Peer::open(&server).await;
    for method in ["process/signal", "environment/status", "made/up", "made/up"] {
        let params = json!({"processId": "p", "signal": "interrupt"});
        let _: Result<Value, i64> = peer.call(method, params).await;
    }
    let page = server.metrics_page(1);
    for line in [
        "farstep_calls_total{method=\"process/signal\"} 1",
        "farstep_calls_total{method=\"environment/status\"} 1",
        "farstep_calls_total{method=\"unknown\"} 2",
        "farstep_calls_total{method=\"fs/copy\"} 0",
        "farstep_sessions_opened_total 1",
    ] {
        assert!(page.lines().any(|shown| shown == line), "{line} in\n{page}");
    }
    assert!(!page.contains("made/up"));
}

#[tokio::test]
async fn control_calls_do_not_wait_for_polls() {
    let mut peer = Peer::open(&Server::for_tests()).await;
    let started = peer.call("process/start", start("p", "sleep 300")).await;
    assert!(started.is_ok());
    for number in 0..50 {
        let poll = json!({"processId": "p", "waitMs": 3_600_000});
        peer.post(&format!("poll{number}"), "process/read", poll)
            .await;
    }
    assert!(peer.call("environment/status", json!({})).await.is_ok());
    let stopped = peer
        .call("process/terminate", json!({"processId": "p"}))
        .await;
    assert_eq!(stopped, Ok(json!({"running": true})));
    for number in 0..50 {
        assert_eq!(
            peer.reply(&format!("poll{number}")).await.unwrap()["exited"],
            true
        );
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_gets_every_answer_once_it_does() {
    const REQUESTS: usize = 5000;
    let server = Server::for_tests();
    let mut peer = Peer::connect_over(&server, 4096);
    peer.handshake(None).await;
    // A process that floods meanwhile, as in the lock-up this guards against.
    peer.post("start", "process/start", start("p", "cat /dev/zero"))
        .await;
    let (mut sink, mut stream) = peer.wire.split();
    let sending = async {
        for number in 0..REQUESTS {
            let method = ["environment/status", "environment/info"][number % 2];
            let request = json!({"id": number, "method": method});
            sink.send(request.to_string().into()).await.unwrap();
        }
        let stop =
            json!({"id": "stop", "method": "process/terminate", "params": {"processId": "p"}});
        sink.send(stop.to_string().into()).await.unwrap();
    };
    let receiving = async {
        let mut answered = vec![0; REQUESTS];
        loop {
            let text: Text = stream.next().await.unwrap().unwrap();
            let message: Value = serde_json::from_str(&text).unwrap();
            if let Some(number) = message["id"].as_u64() {
                answered[usize::try_from(number).unwrap()] += 1;
            }
            if message["method"] == "process/closed" {
                return answered;
            }
        }
    };
    let ((), answered) = tokio::join!(sending, receiving);
    assert_eq!(answered, vec![1; REQUESTS]);
}

#[tokio::test]
async fn a_session_goes_on_where_its_connection_ended() {
    let server = Server::for_tests();
    let mut first = Peer::connect(&server);
    let session = first.handshake(None).await;
    let started = first.call("process/start", start("p", "cat")).await;
    assert!(started.is_ok());
    first
        .post(
            "poll",
            "process/read",
            json!({"processId": "p", "waitMs": 60_000}),
        )
        .await;

    let mut second = Peer::connect(&server);
    let resume = json!({"clientName": "", "resumeSessionId": session});
    assert_eq!(second.call("initialize", resume).await, Err(-32010));
    assert!(matches!(first.end().await, End::Closed));
    assert_eq!(second.handshake(Some(&session)).await, session);
    let write = json!({"processId": "p", "chunk": "aGk=", "writeId": "1"});
    let written = second.call("process/write", write).await;
    assert_eq!(written, Ok(json!({"status": "accepted"})));
    let event = loop {
        let message = match second.unread.pop() {
            Some(message) => message,
            None => second.next().await,
        };
        if message["method"] == "process/output" {
            break message;
        }
    };
    let wanted = json!({"processId": "p", "seq": 1, "stream": "stdout", "chunk": "aGk="});
    assert_eq!(event["params"], wanted);
}

#[tokio::test]
async fn what_would_confine_is_refused_and_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let mut peer = Peer::open(&Server::for_tests()).await;
    let managed = json!({"permissions": {"type": "managed", "network": "enabled",
        "file_system": {"type": "unrestricted"}}, "windowsSandboxLevel": "disabled"});
    let write =
        |sandbox: &Value| json!({"path": uri(&path), "dataBase64": "YQ==", "sandbox": sandbox});
    assert_eq!(
        peer.call("fs/writeFile", write(&managed)).await,
        Err(-32600)
    );
    let mut run = start("p", "true");
    run["sandbox"] = managed;
    assert_eq!(peer.call("process/start", run).await, Err(-32600));
    let broken = json!({"permissions": {"type": "open"}, "windowsSandboxLevel": "disabled"});
    assert_eq!(peer.call("fs/writeFile", write(&broken)).await, Err(-32602));
    assert!(!path.exists());

    let open = json!({"permissions": {"type": "external", "network": "enabled"},
        "windowsSandboxLevel": "disabled"});
    assert_eq!(peer.call("fs/writeFile", write(&open)).await, Ok(json!({})));
    assert_eq!(std::fs::read(&path).unwrap(), b"a");
}
