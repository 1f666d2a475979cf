//! The bounds of `security` section 5 at their edges, and that a caller is told of each.

use anyhow::{Result, ensure};
use farstep_integration::{Lab, Wire, script};
use serde_json::{Value, json};

use crate::is_served;

#[tokio::test]
async fn every_bound_is_announced() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let info = wire.done("environment/info", Value::Null).await?;
    let expected = [
        ("messageBytes", 64 << 20),
        ("frameBytes", 16 << 20),
        ("messageDepth", 127),
        ("messageValues", 262_144),
        ("requestIdBytes", 1024),
        ("requestsInFlight", 1024),
        ("answerBytesQueued", 8 << 20),
        ("processIdBytes", 256),
        ("writeIdBytes", 128),
        ("processesPerSession", 256),
        ("processes", 2048),
        ("fileHandles", 128),
    ];
    for (name, value) in expected {
        ensure!(
            info["farstepLimits"][name] == value,
            "{name}: {}",
            info["farstepLimits"]
        );
    }
    Ok(())
}

#[tokio::test]
async fn ids_have_a_longest_length() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let longest = "p".repeat(256);
    wire.done("process/start", script(&longest, "exec cat"))
        .await?;
    let longer = script(&"p".repeat(257), "exec cat");
    ensure!(wire.refused("process/start", longer).await? == -32602);
    let write = |id: usize| json!({"processId": longest, "chunk": "", "writeId": "w".repeat(id)});
    wire.done("process/write", write(128)).await?;
    ensure!(wire.refused("process/write", write(129)).await? == -32602);
    ensure!(wire.refused("process/write", write(0)).await? == -32602);
    let open = |id: usize| json!({"path": "file:///dev/null/../../etc/passwd", "handleId": "h".repeat(id), "mode": "read"});
    wire.done("fs/open", open(32)).await?;
    ensure!(wire.refused("fs/open", open(33)).await? == -32600);
    Ok(())
}

#[tokio::test]
async fn handles_and_processes_are_counted() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let open = |id: usize| json!({"path": "file:///etc/passwd", "handleId": id.to_string(), "mode": "read"});
    for id in 0..128 {
        wire.done("fs/open", open(id)).await?;
    }
    ensure!(wire.refused("fs/open", open(128)).await? == -32600);
    wire.done("fs/close", json!({"handleId": "5"})).await?;
    wire.done("fs/open", open(128)).await?;

    let start = |id: usize| script(&id.to_string(), "exec sleep 1000");
    let mut ids = Vec::new();
    for id in 0..257 {
        ids.push(wire.post("process/start", start(id)).await?);
    }
    let mut refused = 0;
    for id in ids {
        refused += usize::from(wire.reply(id).await?.is_err());
    }
    ensure!(refused == 1, "{refused} of 257");
    other.done("process/start", start(0)).await?;
    is_served(&mut wire).await
}

#[tokio::test]
async fn beyond_1024_requests_in_flight_a_connection_is_not_read_and_then_goes_on() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    wire.done(
        "process/start",
        script("p", "sleep 2; echo news; exec sleep 1000"),
    )
    .await?;
    let poll = json!({"processId": "p", "waitMs": 600_000});
    let mut polls = Vec::new();
    for _ in 0..3000 {
        polls.push(wire.post("process/read", poll.clone()).await?);
    }
    is_served(&mut other).await?;
    // Those that were read wait for the news; those that were not are read then.
    for id in polls {
        let page = wire.reply(id).await?;
        let chunk = page
            .as_ref()
            .ok()
            .and_then(|page| page.pointer("/chunks/0/chunk"));
        ensure!(chunk == Some(&json!("bmV3cwo=")), "{page:?}");
    }
    is_served(&mut wire).await
}
