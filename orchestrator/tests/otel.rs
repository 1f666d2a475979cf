//! One trace from whoever started `farstep`, through its own spans, to what an executor is asked.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use farstep_telemetry::testing::Collector;
use serde_json::Value;
use tokio::process::Command;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// An executor on standard streams that answers a handshake, notes what else it is asked, and ends.
const EXECUTOR: &str = r#"#!/bin/sh
read -r _
printf '{"id":1,"result":{"sessionId":"s","environmentInfo":{"shell":{"name":"sh","path":"/bin/sh"},"cwd":"file:///","platformOs":"linux"}}}\n'
read -r _
read -r asked
printf '%s' "$asked" >asked
"#;

/// Runs `farstep exec` against that executor; returns what it was asked.
async fn asked(variables: &[(&str, &str)]) -> Value {
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("executor");
    std::fs::write(&program, EXECUTOR).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let file = format!(
        "default = \"far\"\ninclude_local = false\n[[environments]]\nid = \"far\"\n\
         program = \"{}\"\ncwd = \"{}\"\n",
        program.display(),
        home.path().display()
    );
    std::fs::write(home.path().join("environments.toml"), file).unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_farstep"))
        .args(["exec", "--", "true"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("FARSTEP_HOME", home.path())
        .envs(variables.iter().copied())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    let said = String::from_utf8(ended.unwrap().stderr).unwrap();
    let asked = std::fs::read_to_string(home.path().join("asked"));
    serde_json::from_str(&asked.unwrap_or_else(|error| panic!("{error}: {said}"))).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn what_an_executor_is_asked_belongs_to_the_span_it_is_asked_in() {
    let collector = Collector::start().await;
    let endpoint = format!("http://{}", collector.address);
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let asked = asked(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("TRACEPARENT", &parent),
        ("TRACESTATE", "a=1"),
    ])
    .await;
    let spans = collector.spans();
    let root = &spans["farstep"];
    assert_eq!(
        (hex(&root.trace), hex(&root.parent)),
        (TRACE.into(), CALLER.into())
    );
    assert_eq!(asked["method"], "process/start");
    let trace = &asked["trace"];
    assert_eq!(
        trace["traceparent"],
        format!("00-{TRACE}-{}-01", hex(&root.id))
    );
    assert_eq!(trace["tracestate"], "a=1");
}

#[tokio::test]
async fn without_a_collector_it_belongs_to_what_farstep_was_started_in() {
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let told = asked(&[("TRACEPARENT", &parent)]).await;
    assert_eq!(told["trace"]["traceparent"], parent);
    let told = asked(&[]).await;
    assert_eq!(told["trace"], Value::Null);
}
