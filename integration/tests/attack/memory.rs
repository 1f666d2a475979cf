//! What attackers can make an executor hold (SR-24, SR-26).

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, PATIENCE, Wire, script};
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::{MIB, is_served};

#[tokio::test]
async fn thirty_parked_messages_stay_within_the_budget_and_the_rest_is_refused() -> Result<()> {
    const CONNECTIONS: u64 = 30;
    const EACH_MIB: u64 = 60;
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let info = other.done("environment/info", Value::Null).await?;
    let budget = info["farstepLimits"]["messageBytesInAll"].as_u64();
    let budget = budget.context("no such limit")?;
    let before = executor.memory()?.now;
    let (mut parked, mut listening) = (Vec::new(), FuturesUnordered::new());
    for _ in 0..CONNECTIONS {
        let (wire, _) = Wire::open(&executor.url).await?;
        let (mut out, mut from) = wire.split();
        // And never the end of it.
        for at in 0..EACH_MIB {
            let kind = if at == 0 { Data::Text } else { Data::Continue };
            let piece = Frame::message(vec![b' '; 1 << 20], OpCode::Data(kind), false);
            if out.send(Message::Frame(piece)).await.is_err() {
                break;
            }
        }
        listening.push(async move { (from.next().await, from) });
        parked.push(out);
    }
    is_served(&mut other).await?;
    // Those who do not fit are told, or cut off while they still send.
    let fit = budget / (EACH_MIB * MIB);
    let mut told = 0;
    for _ in fit..CONNECTIONS {
        let refused = tokio::time::timeout(PATIENCE, listening.next()).await?;
        if let Some((Some(Ok(message)), _)) = refused {
            told += u64::from(message.to_text()?.contains("-32001"));
        }
    }
    ensure!(told > 0, "nobody was told why");
    let grown = executor.memory()?.at_most.saturating_sub(before);
    ensure!(grown < budget + 100 * MIB, "{} MiB", grown / MIB);

    // Whoever is refused is told to come back; small messages are never refused.
    let mut late = Wire::dial(&executor.url).await?;
    late.initialize(None).await?.ok().context("no session")?;
    is_served(&mut late).await?;
    let padding = "x".repeat(8 << 20);
    let large = json!({"id": 7, "method": "environment/status", "x": padding}).to_string();
    // It may be told while it still sends.
    let _cut_off = late.send_text(large.clone()).await;
    if let Ok(outcome) = late.reply(-1).await {
        let refusal = outcome.err().context("it was served")?;
        ensure!(refusal.code == -32001, "{refusal:?}");
        ensure!(
            refusal
                .data
                .is_some_and(|data| data["retryAfterMs"].is_u64())
        );
    }

    // What the others held is free when they go.
    drop((parked, listening));
    let mut again = Wire::dial(&executor.url).await?;
    again.initialize(None).await?.ok().context("no session")?;
    loop {
        let sent = again.send_text(large.clone()).await;
        if sent.is_ok() && again.reply(7).await.is_ok_and(|outcome| outcome.is_ok()) {
            return Ok(());
        }
        // Their end is noticed in a moment.
        again = Wire::dial(&executor.url).await?;
        again.initialize(None).await?.ok().context("no session")?;
    }
}

#[tokio::test]
async fn large_answers_nobody_reads_are_not_made() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let file = lab.path().join("big");
    std::fs::write(&file, vec![b'x'; 40 << 20])?;
    let file = json!({"path": format!("file://{}", file.display())});
    let before = executor.memory()?.now;
    let mut asked = Vec::new();
    for _ in 0..8 {
        let (mut wire, _) = Wire::open(&executor.url).await?;
        for _ in 0..8 {
            wire.post("fs/readFile", file.clone()).await?;
        }
        asked.push(wire);
    }
    for _ in 0..20 {
        is_served(&mut other).await?;
    }
    // 64 answers of 53 MiB were asked for.
    let grown = executor.memory()?.at_most.saturating_sub(before);
    ensure!(grown < 128 * MIB, "{} MiB", grown / MIB);
    Ok(())
}

#[tokio::test]
async fn finished_processes_do_not_fill_the_memory() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let before = executor.memory()?.now;
    for process in 0..150 {
        let write = "exec head -c 2500000 /dev/zero";
        wire.done("process/start", script(&process.to_string(), write))
            .await?;
        loop {
            let message = wire.notification().await?.context("the connection ended")?;
            if message["method"] == "process/closed" {
                break;
            }
        }
    }
    // 375 MB were written; 256 MiB may be kept, and what is kept is worth less with time.
    let grown = executor.memory()?.at_most.saturating_sub(before);
    ensure!(grown < 300 * MIB, "{} MiB", grown / MIB);
    is_served(&mut wire).await
}
