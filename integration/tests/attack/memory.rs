//! What attackers can make an executor hold (SR-24, SR-26).

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Executor, Lab, PATIENCE, Wire, script};
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
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

    // Whoever is refused is told to come back; small messages are never refused. How much is left
    // depends on who was cut off last, so the rest is taken piece by piece.
    let padding = "x".repeat(8 << 20);
    let large = json!({"id": 7, "method": "environment/status", "x": padding}).to_string();
    let mut refusal = None;
    for _ in 0..2 * CONNECTIONS {
        let mut late = Wire::dial(&executor.url).await?;
        late.initialize(None).await?.ok().context("no session")?;
        is_served(&mut late).await?;
        // It may be told while it still sends, and the answer lost with the connection.
        let _cut_off = late.send_text(large.clone()).await;
        match late.arrival().await {
            Ok(Some(answer)) if answer["id"] == -1 => {
                refusal = Some(answer);
                break;
            }
            Ok(Some(_served)) => {
                let (mut out, _) = late.split();
                let piece = vec![b' '; 8 << 20];
                let piece = Frame::message(piece, OpCode::Data(Data::Text), false);
                let _cut_off = out.send(Message::Frame(piece)).await;
                parked.push(out);
            }
            _ => {}
        }
    }
    let refusal = refusal.context("nobody was refused, or none of them was told")?;
    ensure!(refusal["error"]["code"] == -32001, "{refusal}");
    ensure!(
        refusal["error"]["data"]["retryAfterMs"].is_u64(),
        "{refusal}"
    );

    // What the others held is free when they go.
    drop((parked, listening));
    // Their end is noticed in a moment.
    loop {
        let mut again = Wire::dial(&executor.url).await?;
        again.initialize(None).await?.ok().context("no session")?;
        let sent = again.send_text(large.clone()).await;
        let answer = again.arrival().await;
        if sent.is_ok() && answer.is_ok_and(|answer| answer.is_some_and(|it| it["id"] == 7)) {
            return Ok(());
        }
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
async fn blocks_nobody_reads_are_not_made() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let file = lab.path().join("big");
    std::fs::write(&file, vec![b'x'; MIB as usize])?;
    let open = json!({"handleId": "h", "path": format!("file://{}", file.display())});
    let block = json!({"handleId": "h", "offset": 0, "len": MIB});
    let before = executor.memory()?.now;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    wire.done("fs/open", open).await?;
    for _ in 0..1000 {
        wire.post("fs/readBlock", block.clone()).await?;
    }
    // 1000 answers of 1.3 MiB were asked for.
    stays_small(&executor, before, &mut other).await
}

#[tokio::test]
async fn listings_nobody_reads_are_not_made() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let folder = lab.path().join("full");
    std::fs::create_dir(&folder)?;
    for number in 0..4000 {
        std::fs::write(folder.join(format!("{number:0>200}")), "")?;
    }
    let listing = json!({"path": format!("file://{}", folder.display())});
    let before = executor.memory()?.now;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    for _ in 0..1000 {
        wire.post("fs/readDirectory", listing.clone()).await?;
    }
    // 1000 answers of more than 1 MiB were asked for.
    stays_small(&executor, before, &mut other).await
}

/// Waits until an executor takes no more memory, and sees that this is little more than it took
/// `before`; `other` is served all the while.
async fn stays_small(executor: &Executor, before: u64, other: &mut Wire) -> Result<()> {
    let mut look = tokio::time::interval(std::time::Duration::from_millis(50));
    let (mut most, mut unchanged) = (0, 0);
    while unchanged < 10 {
        look.tick().await;
        is_served(other).await?;
        let at_most = executor.memory()?.at_most;
        unchanged = if at_most == most { unchanged + 1 } else { 0 };
        most = at_most;
    }
    let grown = most.saturating_sub(before);
    ensure!(grown < 96 * MIB, "{} MiB", grown / MIB);
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

#[tokio::test]
async fn output_that_nobody_reads_is_kept_once_for_all_and_the_rest_waits() -> Result<()> {
    const EACH: u64 = 2 * MIB;
    const PROCESSES: usize = 120;
    const MAX: u64 = 64 * MIB;
    let lab = Lab::new()?;
    let flag = format!("--retain-total-bytes={MAX}");
    let executor = lab.executor_with("far", &[&flag]).await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let before = executor.memory()?.now;
    // Each would keep a mebibyte for its reader.
    for id in 0..PROCESSES {
        let write = format!("exec head -c {EACH} /dev/zero");
        wire.post("process/start", script(&id.to_string(), &write))
            .await?;
    }
    let retained = || retained(&executor.url);
    // A quarter is set aside for processes that do not run yet.
    while retained().await? < MAX * 5 / 8 {
        is_served(&mut other).await?;
    }
    for _ in 0..20 {
        let retained = retained().await?;
        ensure!(retained <= MAX, "{} MiB", retained / MIB);
        is_served(&mut other).await?;
    }
    let grown = executor.memory()?.at_most.saturating_sub(before);
    ensure!(grown < 2 * MAX, "{} MiB", grown / MIB);
    // A program of somebody else does its work meanwhile.
    let work = "exec head -c 3000000 /dev/zero";
    other.done("process/start", script("work", work)).await?;
    ensure!(output_of(&mut other, 1).await? == 3_000_000);

    // Whoever reads gets all of it.
    ensure!(output_of(&mut wire, PROCESSES).await? == EACH * PROCESSES as u64);
    ensure!(retained().await? <= MAX);
    Ok(())
}

/// Bytes of output that arrive until so many processes are closed.
async fn output_of(wire: &mut Wire, mut processes: usize) -> Result<u64> {
    let mut bytes = 0;
    while processes > 0 {
        let message = wire.notification().await?.context("the connection ended")?;
        match message["method"].as_str() {
            Some("process/closed") => processes -= 1,
            Some("process/output") => {
                let chunk = message["params"]["chunk"].as_str().context("no chunk")?;
                let padding = chunk.bytes().rev().take_while(|byte| *byte == b'=');
                bytes += (chunk.len() / 4 * 3 - padding.count()) as u64;
            }
            _ => {}
        }
    }
    Ok(bytes)
}

/// Bytes of output that an executor says it retains.
async fn retained(url: &str) -> Result<u64> {
    let address = url.strip_prefix("ws://").context("another scheme")?;
    let mut tcp = TcpStream::connect(address).await?;
    let ask = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\n\r\n");
    tcp.write_all(ask.as_bytes()).await?;
    let mut page = String::new();
    tcp.read_to_string(&mut page).await?;
    let name = "farstep_retained_output_bytes ";
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.context("it does not say")?.trim().parse()?)
}
