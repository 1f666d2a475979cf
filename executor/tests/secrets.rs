//! Secrets never get where they do not belong, at any level of the log (`security` SR-70 to SR-72).
//!
//! A session is played that hands the executor a word of its own in every place where a secret may
//! be. Then none of them is in the log, in the audit log, in an error, or in what plain HTTP says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One word for each place, none of which occurs anywhere by itself.
const PLACES: [&str; 19] = [
    "token",
    "argv",
    "arg0",
    "env",
    "policy",
    "stdin",
    "output",
    "file",
    "block",
    "misplaced",
    "unknown-member",
    "malformed",
    "http-header",
    "http-body",
    "http-query",
    "http-answer",
    "http-cookie",
    "credential",
    "proxy",
];

fn canary(place: &str) -> String {
    assert!(PLACES.contains(&place), "{place}");
    format!("canary-{place}-7c1f")
}

fn base64(text: &str) -> String {
    base64_simd::STANDARD.encode_to_string(text)
}

/// Bytes of base64 that stand in any text that holds `text` encoded, wherever it begins.
fn needles(text: &str) -> Vec<String> {
    let shifted = (0..3).map(|shift| {
        let encoded = base64(&format!("{}{text}", "-".repeat(shift)));
        let (from, to) = (encoded.len().min(4), encoded.len().saturating_sub(4));
        encoded[from..to].to_owned()
    });
    let hex = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    shifted.chain([text.to_owned(), hex]).collect()
}

fn assert_no_canary(what: &str, text: &str) {
    for place in PLACES {
        for needle in needles(&canary(place)) {
            assert!(!text.contains(&needle), "{place} is in {what}:\n{text}");
        }
    }
}

enum Wire {
    Lines(ChildStdin, BufReader<ChildStdout>),
    Socket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
}

/// A session with an executor of its own.
struct Session {
    child: Child,
    wire: Wire,
    next: u64,
    /// Everything that was refused, as it came.
    errors: Vec<String>,
    /// Where it listens, if it does.
    address: Option<String>,
}

impl Session {
    async fn start(folder: &Path, level: &str, format: &str, on_socket: bool) -> Session {
        let token_file = folder.join("token");
        std::fs::write(&token_file, canary("token") + &"x".repeat(43)).unwrap();
        let mut permissions = std::fs::metadata(&token_file).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        std::fs::set_permissions(&token_file, permissions).unwrap();

        let mut command = Command::new(env!("CARGO_BIN_EXE_farstep-executor"));
        command
            .args(["--audit-reads", "--log-format", format, "--audit-file"])
            .arg(folder.join("audit.jsonl"))
            .env("FARSTEP_LOG", level)
            .env("A_SETTING", canary("policy"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if on_socket {
            command.args([
                "--listen",
                "ws://127.0.0.1:0",
                "--ws-auth",
                "capability-token",
            ]);
            command.arg("--ws-token-file").arg(&token_file);
        } else {
            command.args(["--listen", "stdio"]);
        }
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (wire, address) = if on_socket {
            let mut line = String::new();
            stdout.read_line(&mut line).await.unwrap();
            let url = line.trim();
            let address = url.strip_prefix("ws://").unwrap().to_owned();
            refused_by_http(&address).await;
            (Wire::Socket(Box::new(dial(url).await)), Some(address))
        } else {
            (Wire::Lines(stdin, stdout), None)
        };
        let mut session = Session {
            child,
            wire,
            next: 1,
            errors: vec![],
            address,
        };
        session
            .call("initialize", json!({"clientName": "test"}))
            .await;
        session
            .send(json!({"method": "initialized"}).to_string())
            .await;
        session
    }

    async fn send(&mut self, text: String) {
        match &mut self.wire {
            Wire::Lines(stdin, _) => stdin.write_all((text + "\n").as_bytes()).await.unwrap(),
            Wire::Socket(socket) => socket.send(Message::text(text)).await.unwrap(),
        }
    }

    async fn receive(&mut self) -> Value {
        let text = async {
            match &mut self.wire {
                Wire::Lines(_, stdout) => {
                    let mut line = String::new();
                    stdout.read_line(&mut line).await.unwrap();
                    line
                }
                Wire::Socket(socket) => socket.next().await.unwrap().unwrap().to_string(),
            }
        };
        let text = tokio::time::timeout(PATIENCE, text).await.unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        if message.get("error").is_some() {
            self.errors.push(text);
        }
        message
    }

    async fn reply(&mut self, id: Value) -> Value {
        loop {
            let message = self.receive().await;
            if message["id"] == id {
                return message;
            }
        }
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let request = json!({"id": id, "method": method, "params": params});
        self.send(request.to_string()).await;
        self.reply(id.into()).await
    }

    /// Ends the executor; returns its log and what its port said to those it did not know.
    async fn end(mut self) -> (String, Vec<String>) {
        match self.wire {
            Wire::Lines(stdin, _) => drop(stdin),
            Wire::Socket(mut socket) => {
                // Closing is all the same to whoever is killed next.
                let _ = socket.close().await;
                let pid = i32::try_from(self.child.id().unwrap()).unwrap();
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            }
        }
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        let read = tokio::time::timeout(PATIENCE, stderr.read_to_string(&mut log));
        read.await.unwrap().unwrap();
        self.child.wait().await.unwrap();
        (log, self.errors)
    }
}

async fn dial(url: &str) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    let mut request = url.into_client_request().unwrap();
    let bearer = format!("Bearer {}{}", canary("token"), "x".repeat(43));
    request
        .headers_mut()
        .insert("authorization", bearer.parse().unwrap());
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

/// What plain HTTP answers, credentials in wrong places included.
async fn refused_by_http(address: &str) {
    for (path, header) in [
        (
            "/".to_owned(),
            format!("Authorization: Bearer {}", canary("credential")),
        ),
        (
            "/".to_owned(),
            format!("Authorization: Basic {}", base64(&canary("credential"))),
        ),
        (
            format!("/?token={}", canary("credential")),
            "X: y".to_owned(),
        ),
        (format!("/{}", canary("credential")), "X: y".to_owned()),
        (
            "/metrics".to_owned(),
            format!("Cookie: {}", canary("credential")),
        ),
        (
            "/".to_owned(),
            format!("Origin: http://{}", canary("credential")),
        ),
    ] {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, tcp.read_to_string(&mut answer));
        read.await.unwrap().unwrap();
        assert_no_canary("an answer to plain HTTP", &answer);
    }
}

/// Hands over a secret wherever one may be.
async fn play(session: &mut Session, folder: &Path) {
    let uri = |name: &str| format!("file://{}/{name}", folder.display());
    let script = format!(
        "read line; echo {}; exit 3 # {}",
        canary("output"),
        canary("argv")
    );
    let start = json!({
        "processId": "p", "argv": ["/bin/sh", "-c", script], "arg0": canary("arg0"),
        "cwd": "file:///", "tty": false, "pipeStdin": true, "env": {"SECRET": canary("env")},
        "envPolicy": {"inherit": "all", "ignoreDefaultExcludes": true, "exclude": [],
            "set": {"B": canary("policy")}, "includeOnly": []},
        "unknown": canary("unknown-member"),
    });
    assert_eq!(
        session.call("process/start", start.clone()).await["error"],
        json!(null)
    );
    let line = base64(&format!("{}\n", canary("stdin")));
    let write = json!({"processId": "p", "chunk": line, "writeId": "w"});
    session.call("process/write", write).await;
    let read = json!({"processId": "p", "afterSeq": 0, "waitMs": 60_000});
    session.call("process/read", read).await;
    let mut missing = start.clone();
    missing["processId"] = json!("missing");
    missing["argv"][0] = json!("/does/not/exist");
    session.call("process/start", missing.clone()).await;
    missing["cwd"] = json!("file:///does/not/exist");
    session.call("process/start", missing).await;
    for member in ["argv", "env", "envPolicy", "tty", "sandbox", "metadata"] {
        let mut misplaced = start.clone();
        misplaced[member] = json!(canary("misplaced"));
        session.call("process/start", misplaced).await;
    }
    let mut confined = start.clone();
    confined["credentialProviders"] = json!([{"secret": canary("proxy")}]);
    confined["networkProxy"] = json!({"password": canary("proxy")});
    session.call("process/start", confined).await;

    let data = base64(&canary("file"));
    for name in ["file", "no/such/folder/file"] {
        let write = json!({"path": uri(name), "dataBase64": data});
        session.call("fs/writeFile", write).await;
    }
    let broken = json!({"path": uri("file"), "dataBase64": format!("{data}!")});
    session.call("fs/writeFile", broken).await;
    session
        .call("fs/readFile", json!({"path": uri("file")}))
        .await;
    let open = json!({"path": uri("block"), "handleId": "h", "mode": "replace"});
    session.call("fs/open", open).await;
    let chunk = base64(&canary("block"));
    for offset in [0_u64, u64::MAX - 1] {
        let block = json!({"handleId": "h", "offset": offset, "chunk": chunk});
        session.call("fs/writeBlock", block).await;
    }
    session
        .call(
            "fs/readBlock",
            json!({"handleId": "h", "offset": 0, "len": 100}),
        )
        .await;
    let http = json!({
        "requestId": "r", "method": "POST",
        "url": format!("http://127.0.0.1:9/?key={}", canary("http-query")),
        "headers": [{"name": "x-secret", "value": canary("http-header")}],
        "bodyBase64": base64(&canary("http-body")),
    });
    session.call("http/request", http.clone()).await;
    let answering = talkative().await;
    for (id, stream) in [("whole", false), ("streamed", true)] {
        let mut answered = http.clone();
        answered["requestId"] = json!(id);
        answered["url"] = json!(format!("http://{answering}/?key={}", canary("http-query")));
        let from_env = json!({"name": "x-env", "value": "", "valueEnvVar": "A_SETTING"});
        answered["headers"].as_array_mut().unwrap().push(from_env);
        answered["streamResponse"] = json!(stream);
        let reply = session.call("http/request", answered).await;
        assert_eq!(reply["result"]["status"], 200, "{reply}");
    }
    let mut misplaced = http;
    misplaced["headers"] = json!(canary("misplaced"));
    session.call("http/request", misplaced).await;

    // The answer to what cannot be read has an id of its own.
    let malformed = format!(
        r#"{{"id":1,"method":"x","params":{{"a":"{}}}"#,
        canary("malformed")
    );
    session.send(malformed).await;
    session.reply(json!(-1)).await;
}

/// A server whose answers are full of secrets.
async fn talkative() -> std::net::SocketAddr {
    let answer = || async {
        (
            [("set-cookie", canary("http-cookie"))],
            canary("http-answer"),
        )
    };
    let routes = axum::Router::new().fallback(axum::routing::any(answer));
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(tcp, routes).await });
    address
}

async fn plays(level: &str, format: &str, on_socket: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut session = Session::start(folder.path(), level, format, on_socket).await;
    let is_socket = session.address.is_some();
    play(&mut session, folder.path()).await;
    let (log, errors) = session.end().await;

    assert_no_canary("the log", &log);
    let audit = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    assert_no_canary("the audit log", &audit);
    assert!(errors.len() > 12, "{}", errors.len());
    let own = env!("CARGO_MANIFEST_DIR");
    for error in &errors {
        assert_no_canary("an error", error);
        // SR-71: a peer learns nothing of how and where we were built or run.
        for inside in [own, ".rs:", "panicked", "backtrace", "RUST_"] {
            assert!(!error.contains(inside), "{error}");
        }
    }
    // What was looked at was there to be looked at.
    assert!(log.contains("session attached"), "{log}");
    assert_eq!(log.contains("call answered"), level == "trace", "{log}");
    assert_eq!(log.contains("message received"), level == "trace", "{log}");
    for event in [
        "http.request",
        "process.start",
        "process.exit",
        "fs.write",
        "fs.read",
        "session.new",
    ] {
        assert!(
            audit.contains(&format!(r#""ev":"{event}""#)),
            "{event}: {audit}"
        );
    }
    assert_eq!(audit.contains(r#""ev":"auth.fail""#), is_socket, "{audit}");
}

#[tokio::test]
async fn no_secret_is_told_on_a_socket() {
    plays("trace", "human", true).await;
    plays("info", "json", true).await;
}

#[tokio::test]
async fn no_secret_is_told_on_standard_streams() {
    plays("trace", "json", false).await;
    plays("info", "human", false).await;
}

#[tokio::test]
async fn what_a_peer_names_cannot_forge_a_line_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = Session::start(folder.path(), "trace", "human", true).await;
    let nasty = "x\u{1b}[2J\r\n2026-01-01T00:00:00.000Z ERROR forged\u{202e}\u{85}\u{2028}";
    let long = "y".repeat(100_000);
    for name in [nasty, &long] {
        // Too long a name or id is answered as what cannot be read; the log has it or has it not.
        for request in [
            json!({"id": 0, "method": name}),
            json!({"id": name, "method": "environment/status"}),
            json!({"id": &name[..name.len().min(60)], "method": "environment/status"}),
        ] {
            session.send(request.to_string()).await;
        }
        let path = format!("file:///{}", "y".repeat(name.len().min(4000)));
        session.call("fs/readFile", json!({"path": path})).await;
        let start = json!({
            "processId": &name[..name.len().min(60)], "argv": ["true"], "cwd": "file:///",
            "env": {}, "tty": false,
        });
        session.call("process/start", start).await;
    }
    let (log, _) = session.end().await;
    assert!(log.contains(r"x\u{1b}[2J\u{d}\u{a}2026"), "{log}");
    for line in log.lines() {
        assert!(line.len() <= 8 * 1024, "{}", line.len());
        assert!(!line.contains(&"y".repeat(1025)));
        assert!(
            line.starts_with("20") && !line.starts_with("2026-01-01T00:00"),
            "{line}"
        );
    }
    assert!(!log.contains(['\u{1b}', '\r', '\u{202e}', '\u{85}', '\u{2028}']));
}
