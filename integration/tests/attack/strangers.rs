//! What somebody can do who has not said who he is, or what he wants (SR-13, SR-14).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, PATIENCE, Wire};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::is_served;

/// Connections that nobody has authenticated; one more drops the oldest.
const UNKNOWN: usize = 256;

#[tokio::test]
async fn heads_that_never_end_are_cheap_and_keep_nobody_out() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let address = executor.url.trim_start_matches("ws://").to_owned();
    let before = executor.memory()?.now;
    let mut begun = Vec::new();
    for _ in 0..UNKNOWN {
        let mut socket = TcpStream::connect(&address).await?;
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {address}\r\nX: {}",
            "y".repeat(15_000)
        );
        socket.write_all(head.as_bytes()).await?;
        begun.push(socket);
    }
    is_served(&mut other).await?;
    let (mut one_more, _) = Wire::open(&executor.url).await?;
    is_served(&mut one_more).await?;
    let each = executor.memory()?.at_most.saturating_sub(before) / UNKNOWN as u64;
    ensure!(each <= 32 * 1024, "{each} bytes for each connection");
    Ok(())
}

#[tokio::test]
async fn a_head_of_any_size_is_refused_when_it_is_too_large() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let address = executor.url.trim_start_matches("ws://").to_owned();
    let long = "y".repeat(17 * 1024);
    for head in [
        format!("GET /{long} HTTP/1.1\r\nHost: {address}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {address}\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {address}\r\n{long}: x\r\n\r\n"),
        format!(
            "GET / HTTP/1.1\r\nHost: {address}\r\n{}\r\n",
            "a: b\r\n".repeat(101)
        ),
    ] {
        let mut socket = TcpStream::connect(&address).await?;
        socket.write_all(head.as_bytes()).await?;
        let mut answer = [0; 12];
        timeout(PATIENCE, socket.read_exact(&mut answer)).await??;
        let status = std::str::from_utf8(&answer)?;
        ensure!(
            matches!(status, "HTTP/1.1 431" | "HTTP/1.1 414"),
            "{status}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn who_upgrades_and_says_nothing_is_asked_and_then_hung_up_on() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let address = executor.url.trim_start_matches("ws://").to_owned();
    let mut socket = TcpStream::connect(&address).await?;
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(upgrade.as_bytes()).await?;
    let began = Instant::now();
    let mut heard = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut heard)).await??;
    ensure!(began.elapsed() >= Duration::from_secs(9), "too soon");
    let head = heard.windows(4).position(|end| end == b"\r\n\r\n");
    let frames = &heard[head.context("no head")? + 4..];
    // A ping, then a close frame that says why.
    ensure!(frames.starts_with(&[0x89, 0, 0x88]), "{frames:x?}");
    let said = String::from_utf8_lossy(frames);
    ensure!(said.ends_with("initialize did not come in time"), "{said}");
    is_served(&mut other).await
}
