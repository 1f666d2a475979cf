//! Spans as a collector receives them: their parents, what commands are told, and that a collector
//! can neither be dialled unasked nor hold anything up.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use farstep_telemetry::testing::Collector;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An executor on its standard streams, with a handshake behind it.
struct Executor {
    child: Child,
    next: u64,
}

impl Executor {
    async fn start(variables: &[(&str, &str)]) -> Executor {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farstep-executor"));
        command
            .args(["--listen", "stdio", "--audit-file", "off"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (name, _) in std::env::vars() {
            let name_of_proxy = name.to_ascii_lowercase().ends_with("_proxy");
            if name.starts_with("OTEL_") || name_of_proxy {
                command.env_remove(name);
            }
        }
        let child = command.envs(variables.iter().copied()).spawn().unwrap();
        let mut executor = Executor { child, next: 1 };
        let hello = json!({"clientName": "test"});
        executor.call("initialize", hello, json!(null)).await;
        executor.send(json!({"method": "initialized"})).await;
        executor
    }

    async fn send(&mut self, message: Value) {
        let line = format!("{message}\n");
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).await.unwrap();
    }

    async fn call(&mut self, method: &str, params: Value, trace: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let request = json!({"id": id, "method": method, "params": params, "trace": trace});
        self.send(request).await;
        let stdout = self.child.stdout.as_mut().unwrap();
        let mut lines = BufReader::with_capacity(1, stdout).lines();
        loop {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
            let line = line.unwrap().unwrap().unwrap();
            let message: Value = serde_json::from_str(&line).unwrap();
            if message["id"] == id {
                return message["result"].clone();
            }
        }
    }

    /// Ends it, and returns what it said on standard error.
    async fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let ended = tokio::time::timeout(PATIENCE, self.child.wait_with_output()).await;
        let output = ended.unwrap().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn a_trace_goes_on_through_the_executor_into_its_commands() {
    let collector = Collector::start().await;
    let endpoint = format!("http://{}", collector.address);
    let mut executor = Executor::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    let start = json!({
        "processId": "p", "argv": ["/usr/bin/env"], "cwd": "file:///", "env": {}, "tty": false,
    });
    let trace = json!({"traceparent": format!("00-{TRACE}-{CALLER}-01"), "tracestate": "a=1"});
    executor.call("process/start", start, trace).await;
    let wait = json!({"processId": "p", "afterSeq": 0, "waitMs": 60_000});
    let page = executor.call("process/read", wait, json!(null)).await;
    executor
        .call("fs/readDirectory", json!({"path": "file:///"}), json!(null))
        .await;
    let said = executor.end().await;
    assert!(
        !said.contains("spans") && !said.contains("collector"),
        "{said}"
    );

    let spans = collector.spans();
    let start = &spans["process/start"];
    assert_eq!(
        (hex(&start.trace), hex(&start.parent)),
        (TRACE.into(), CALLER.into())
    );
    let chunk = page["chunks"][0]["chunk"].as_str().unwrap();
    let printed = base64_simd::STANDARD.decode_to_vec(chunk).unwrap();
    let told = format!(
        "TRACEPARENT=00-{TRACE}-{}-01\nTRACESTATE=a=1\n",
        hex(&start.id)
    );
    assert_eq!(String::from_utf8(printed).unwrap(), told);

    // Without a caller's trace, calls belong to their session, and that to its connection.
    let (session, connection) = (&spans["session"], &spans["connection"]);
    for name in ["process/read", "fs/readDirectory"] {
        let call = &spans[name];
        assert_eq!(
            (&call.parent, &call.trace),
            (&session.id, &session.trace),
            "{name}"
        );
    }
    assert_eq!(
        (&session.parent, &session.trace),
        (&connection.id, &connection.trace)
    );
    assert_eq!(connection.parent, b"");
}

#[tokio::test]
async fn nobody_is_dialled_who_was_not_named() {
    let collector = Collector::start().await;
    let endpoint = format!("http://{}", collector.address);
    let disabled = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_SDK_DISABLED", "true"),
    ];
    let other_signal = [("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", endpoint.as_str())];
    for variables in [&disabled[..], &other_signal[..]] {
        let mut executor = Executor::start(variables).await;
        executor
            .call("environment/status", json!({}), json!(null))
            .await;
        executor.end().await;
    }
    assert_eq!(collector.spans(), HashMap::new());
}

#[tokio::test]
async fn a_collector_that_is_gone_or_silent_holds_nothing_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    for address in [silent.local_addr().unwrap(), gone] {
        let endpoint = format!("http://{address}");
        let mut executor = Executor::start(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint),
            ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ])
        .await;
        for _ in 0..1000 {
            let status = executor
                .call("environment/status", json!({}), json!(null))
                .await;
            assert_eq!(status, json!({"status": "ready"}));
        }
        let said = executor.end().await;
        assert!(said.contains("did not reach the collector"), "{said}");
    }
}

#[tokio::test]
async fn a_protocol_that_is_not_spoken_is_named_and_the_executor_serves() {
    let mut executor = Executor::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ])
    .await;
    executor
        .call("environment/status", json!({}), json!(null))
        .await;
    let said = executor.end().await;
    assert!(said.contains("spans are not exported"), "{said}");
}
