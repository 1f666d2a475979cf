//! What servers and callers can make an executor hold with `http/request` (SR-56).

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, PATIENCE, Wire};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::{MIB, is_served};

/// A server that answers every request with `head` and then `bytes` of body, as long as somebody
/// takes them, and counts those that were taken whole.
struct Origin {
    url: String,
    taken: watch::Receiver<u64>,
}

async fn server(head: String, bytes: u64) -> Result<Origin> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let (taken_whole, taken) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let head = format!("HTTP/1.1 200 OK\r\n{head}content-length: {bytes}\r\n\r\n");
            let taken_whole = taken_whole.clone();
            tokio::spawn(async move {
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(socket.read_u8().await?);
                }
                socket.write_all(head.as_bytes()).await?;
                let piece = vec![b'x'; 64 * 1024];
                let mut left = bytes;
                while left > 0 {
                    let count = left.min(piece.len() as u64);
                    socket.write_all(&piece[..count as usize]).await?;
                    left -= count;
                }
                taken_whole.send_modify(|count| *count += 1);
                std::io::Result::Ok(())
            });
        }
    });
    Ok(Origin { url, taken })
}

fn get(url: &str, stream: bool) -> Value {
    json!({"method": "GET", "url": url, "requestId": "r", "streamResponse": stream})
}

#[tokio::test]
async fn a_body_too_large_to_answer_whole_is_refused_and_not_collected() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let origin = server(String::new(), 700 * MIB).await?;
    let before = executor.memory()?.now;
    ensure!(
        wire.refused("http/request", get(&origin.url, false))
            .await?
            == -32603
    );
    let grown = executor.memory()?.at_most.saturating_sub(before);
    ensure!(grown < 64 * MIB, "{} MiB", grown / MIB);
    is_served(&mut wire).await
}

#[tokio::test]
async fn whole_answers_nobody_reads_are_not_collected_without_end() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let mut origin = server(String::new(), 12 * MIB).await?;
    let before = executor.memory()?.now;
    for _ in 0..100 {
        wire.post("http/request", get(&origin.url, false)).await?;
    }
    // 100 answers of 16 MiB were asked for, of which 16 may be there or on their way.
    tokio::time::timeout(PATIENCE, origin.taken.wait_for(|taken| *taken >= 16)).await??;
    for _ in 0..500 {
        is_served(&mut other).await?;
    }
    let taken = *origin.taken.borrow();
    ensure!(taken < 20, "{taken} bodies were collected");
    let grown = executor.memory()?.at_most.saturating_sub(before);
    ensure!(grown < 700 * MIB, "{} MiB", grown / MIB);
    Ok(())
}

#[tokio::test]
async fn a_streamed_body_waits_for_its_reader_and_follows_its_head() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    // A head as large as this is no small answer any more.
    let origin = server(format!("x: {}\r\n", "y".repeat(40_000)), 200 * MIB).await?;
    let before = executor.memory()?.now;
    wire.post("http/request", get(&origin.url, true)).await?;
    for _ in 0..500 {
        is_served(&mut other).await?;
    }
    let first = wire.arrival().await?.context("the connection ended")?;
    ensure!(first["result"]["status"] == 200, "the body came first");
    let (mut seq, mut base64) = (0, 0);
    loop {
        let delta = wire.arrival().await?.context("the connection ended")?;
        let delta = &delta["params"];
        seq += 1;
        ensure!(delta["seq"] == seq, "{seq}: {}", delta["seq"]);
        let text = delta["deltaBase64"].as_str().context("no delta")?;
        ensure!(text.len() <= (256 << 10) / 3 * 4 + 4, "{}", text.len());
        base64 += text.trim_end_matches('=').len() as u64 * 3 / 4;
        if delta["done"] == true {
            ensure!(delta["error"].is_null(), "{}", delta["error"]);
            break;
        }
    }
    ensure!(base64 == 200 * MIB, "{base64}");
    let grown = executor.memory()?.at_most.saturating_sub(before);
    ensure!(grown < 32 * MIB, "{} MiB", grown / MIB);
    Ok(())
}

#[tokio::test]
async fn a_body_that_does_not_end_in_time_ends_with_the_time_it_had() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut request = get(&format!("http://{}/", listener.local_addr()?), true);
    // Long enough for the head to come, however busy the machine is.
    request["timeoutMs"] = 3000.into();
    wire.post("http/request", request).await?;
    let (mut socket, _) = listener.accept().await?;
    // An answer that comes before its question is none.
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(socket.read_u8().await?);
    }
    let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx";
    socket.write_all(begun).await?;
    let last = loop {
        let arrived = wire.arrival().await?.context("the connection ended")?;
        ensure!(arrived.get("error").is_none(), "{arrived}");
        if arrived["params"]["done"] == true {
            break arrived["params"].clone();
        }
    };
    let wanted = json!({
        "requestId": "r", "seq": 2, "deltaBase64": "", "done": true,
        "error": "it took longer than 3s",
    });
    ensure!(last == wanted, "{last}");
    is_served(&mut wire).await
}
