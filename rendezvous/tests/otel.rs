//! Spans of a node as a collector receives them.

use std::process::Stdio;
use std::time::Duration;

use farstep_telemetry::testing::Collector;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_validation_continues_the_trace_of_its_executor_and_names_its_stream() {
    let collector = Collector::start().await;
    let endpoint = format!("http://{}", collector.address);
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_farstep-rendezvous"));
    for (name, _) in std::env::vars() {
        if name.starts_with("OTEL_") || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut node = command.spawn().unwrap();
    let mut line = String::new();
    let out = node.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).await.unwrap();
    let stream = "09f1cd6a-0570-47b5-b312-bb4aa134314a";
    let request = format!(
        "POST /cloud/environment/box/validate HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\
         content-length: 0\r\nx-codex-noise-stream-id: {stream}\r\n\
         traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n"
    );
    let address = line.trim().trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");

    // Nobody is connected, so it ends at once, and the last spans with it.
    let asked = std::fs::write(folder.path().join("drain"), "");
    asked.unwrap();
    let done = tokio::time::timeout(PATIENCE, node.wait_with_output()).await;
    let done = done.unwrap().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let spans = collector.spans();
    let span = spans.get("validate").unwrap();
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128;
    assert_eq!(span.trace, trace.to_be_bytes());
    assert_eq!(span.parent, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert!(collector.names(stream), "the stream is not named");
}
