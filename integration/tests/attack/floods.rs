//! Many messages (SR-22, SR-23, SR-24, SR-25).

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use farstep_integration::{Lab, Wire, encode, script};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{MIB, is_served};

/// Requests of every kind: quick and slow, right and wrong.
fn request(id: usize) -> String {
    let (method, params) = match id % 10 {
        0 => ("environment/status", Value::Null),
        1 => ("fs/getMetadata", json!({"path": "file:///"})),
        2 => ("fs/readFile", json!({"path": "file:///no/such"})),
        3 => ("process/read", json!({"processId": "none"})),
        4 => ("no/such", json!({})),
        5 => ("fs/canonicalize", json!({"path": 7})),
        6 => (
            "process/write",
            json!({"processId": "none", "chunk": "", "writeId": "1"}),
        ),
        7 => ("fs/readDirectory", json!({"path": "file:///etc"})),
        8 => ("process/read", json!({"processId": "p", "waitMs": 20})),
        _ => ("process/terminate", json!({"processId": "none"})),
    };
    json!({"id": id, "method": method, "params": params}).to_string()
}

#[tokio::test]
async fn ten_thousand_requests_at_once_get_one_answer_each() -> Result<()> {
    const REQUESTS: usize = 10_000;
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    wire.done("process/start", script("p", "exec sleep 1000"))
        .await?;
    let (mut out, mut from) = wire.split();
    let sending = async {
        for id in 0..REQUESTS {
            out.feed(Message::text(request(id))).await?;
        }
        // Malformed ones are answered as well.
        out.feed(Message::text("{")).await?;
        out.flush().await
    };
    let receiving = async {
        let mut missing: BTreeSet<usize> = (0..REQUESTS).collect();
        let mut malformed = 0;
        while !missing.is_empty() || malformed == 0 {
            let message = tokio::time::timeout(farstep_integration::PATIENCE, from.next()).await;
            let message = message.with_context(|| format!("{} are missing", missing.len()))?;
            let Message::Text(text) = message.context("the connection ended")?? else {
                continue;
            };
            let answer: Value = serde_json::from_str(&text)?;
            ensure!(
                answer.get("result").is_some() != answer.get("error").is_some(),
                "{answer}"
            );
            match answer["id"].as_u64() {
                Some(id) => ensure!(missing.remove(&usize::try_from(id)?), "{id} twice"),
                None => malformed += 1,
            }
        }
        // Nothing comes behind the last one.
        let more = tokio::time::timeout(Duration::from_millis(200), from.next()).await;
        ensure!(malformed == 1 && more.is_err(), "{more:?}");
        Ok(())
    };
    let (sent, received) = tokio::join!(sending, receiving);
    sent?;
    received
}

#[tokio::test]
async fn a_caller_that_asks_and_does_not_read_is_not_read_from() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let before = executor.memory()?.now;
    let (wire, _) = Wire::open(&executor.url).await?;
    let (mut out, mut from) = wire.split();
    // `environment/info` is ten times as long as its question.
    let mut sent = 0;
    loop {
        let question = format!(r#"{{"id":{sent},"method":"environment/info"}}"#);
        let asked = tokio::time::timeout(Duration::from_secs(1), out.send(Message::text(question)));
        match asked.await {
            Ok(asked) => asked?,
            // It takes no more: nobody reads, so nobody is read from.
            Err(_) => break,
        }
        sent += 1;
        ensure!(sent < 2_000_000, "it takes whatever it is sent");
    }
    is_served(&mut other).await?;
    let grown = executor.memory()?.at_most.saturating_sub(before);
    ensure!(grown < 48 * MIB, "{grown} bytes");
    // Once it reads, it gets everything. The last question may have been cut off.
    let mut answered = 0;
    while answered < sent {
        let message = tokio::time::timeout(farstep_integration::PATIENCE, from.next()).await?;
        let Message::Text(text) = message.context("the connection ended")?? else {
            continue;
        };
        let answer: Value = serde_json::from_str(&text)?;
        ensure!(answer["id"] == answered && answer["result"]["shell"].is_object());
        answered += 1;
    }
    Ok(())
}

#[tokio::test]
async fn what_breaks_the_rules_ends_its_own_connection_without_a_word() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let floods = [
        json!({"method": "no/such", "params": {}}),
        json!({"method": "process/start", "params": {}}),
        json!({"id": 99, "result": {}}),
        json!({"id": "99", "error": {"code": 1, "message": "m"}}),
    ];
    for message in floods {
        let (mut wire, session) = Wire::open(&executor.url).await?;
        wire.done("process/start", script("p", "exec sleep 1000"))
            .await?;
        for _ in 0..5_000 {
            if wire.feed_text(message.to_string()).await.is_err() {
                break;
            }
        }
        let _ended = wire.flush().await;
        ensure!(wire.drain().await? == 0, "{message} was answered");
        // The session is only detached.
        let mut again = Wire::resume(&executor.url, &session).await?;
        let running = again
            .done("process/terminate", json!({"processId": "p"}))
            .await?;
        ensure!(running == json!({"running": true}));
    }
    is_served(&mut other).await
}

#[tokio::test]
async fn saying_initialized_again_and_again_does_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    for _ in 0..50_000 {
        wire.feed_text(r#"{"method":"initialized"}"#).await?;
    }
    wire.flush().await?;
    is_served(&mut wire).await
}

#[tokio::test]
async fn control_calls_pass_everything_that_waits() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab
        .executor_with("far", &["--concurrent-requests", "1"])
        .await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    wire.done("process/start", script("deaf", "exec sleep 1000"))
        .await?;
    let big = lab.path().join("big");
    std::fs::write(&big, vec![b'x'; 8 << 20])?;
    let big = format!("file://{}", big.display());
    let mut waiting = BTreeSet::new();
    for at in 0..300 {
        let poll = json!({"processId": "deaf", "waitMs": 600_000});
        waiting.insert(wire.post("process/read", poll).await?);
        if at < 6 {
            // More than a pipe and what is queued for it: these wait for the program.
            let chunk = encode(&vec![b'x'; 1 << 20]);
            let write = json!({"processId": "deaf", "writeId": at.to_string(), "chunk": chunk});
            wire.post("process/write", write).await?;
            wire.post("fs/readFile", json!({"path": big})).await?;
        }
    }
    is_served(&mut wire).await?;
    let signal = json!({"processId": "other", "signal": "interrupt"});
    wire.done("process/signal", signal).await?;
    let info = wire.done("environment/info", Value::Null).await?;
    ensure!(info["shell"].is_object());
    let ended = wire
        .done("process/terminate", json!({"processId": "deaf"}))
        .await?;
    ensure!(ended == json!({"running": true}));
    // The end of the process is what all of them waited for.
    for id in waiting {
        let Ok(page) = wire.reply(id).await? else {
            bail!("a poll was refused")
        };
        ensure!(page["chunks"] == json!([]), "{page}");
    }
    Ok(())
}
