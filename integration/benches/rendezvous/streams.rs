//! What the relay adds to a round trip, and what it carries.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::node::{Node, Registry, Socket, data, dial, next};
use crate::{Figures, percentile, sorted};

/// A full record with its frame around it.
const RECORD: usize = 61_456;

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) async fn measure(node: &Node, figures: &mut Figures) -> Result<()> {
    let registry = node.registry();
    latency(&registry, figures).await?;
    let one = throughput(&registry, "one", 1, 1, 1 << 30).await?;
    figures.at_least("one stream, 1 GiB of records", one, 150.0, "MiB/s");
    let all = throughput(&registry, "all", 8, 8, 64 << 20).await?;
    figures.at_least("64 streams of 8 executors", all, 400.0, "MiB/s");
    fairness(&registry, figures).await
}

/// 1,000 messages a second of 1 KiB on 200 streams, against the same without a relay.
async fn latency(registry: &Registry, figures: &mut Figures) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut echoes = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            tcp.set_nodelay(true)?;
            echoes.spawn(async move { echo(tokio_tungstenite::accept_async(tcp).await?).await });
        }
        anyhow::Ok(())
    });
    let mut direct = Vec::new();
    for _ in 0..200 {
        direct.push(dial(&url).await?);
    }
    let direct = round_trips(direct).await?;
    let mut relayed = Vec::new();
    for id in ["echo-1", "echo-2"] {
        let (link, harnesses) = registry.pair(id, 100).await?;
        tasks.spawn(echo(link));
        relayed.extend(harnesses);
    }
    let relayed = round_trips(relayed).await?;
    let both = |percent| (percentile(&direct, percent), percentile(&relayed, percent));
    println!(
        "round trips without and with the relay, ms: p50 {:.3?}, p99 {:.3?}",
        both(50),
        both(99)
    );
    // A round trip crosses the relay twice, and a message once.
    let added = |percent| (percentile(&relayed, percent) - percentile(&direct, percent)) / 2.0;
    figures.at_most("added to a message of 1 KiB, p50", added(50), 0.15, "ms");
    figures.at_most("added to a message of 1 KiB, p99", added(99), 1.0, "ms");
    Ok(())
}

async fn echo<S>(socket: tokio_tungstenite::WebSocketStream<S>) -> Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut sink, mut stream) = socket.split();
    loop {
        let bytes = next(&mut stream).await?;
        sink.send(Message::Binary(bytes)).await?;
    }
}

/// Milliseconds of each, sorted.
async fn round_trips(sockets: Vec<Socket>) -> Result<Vec<f64>> {
    const ROUNDS: u32 = 25;
    let mut tasks = JoinSet::new();
    let count = u32::try_from(sockets.len())?;
    for (number, mut socket) in (0u32..).zip(sockets) {
        tasks.spawn(async move {
            let stream = format!("s{}", number % 100);
            let interval = Duration::from_millis(1) * count;
            tokio::time::sleep(Duration::from_millis(1) * number).await;
            let mut ticks = tokio::time::interval(interval);
            let mut times = Vec::new();
            for seq in 0..ROUNDS {
                ticks.tick().await;
                let message = data(&stream, seq, 1024);
                let began = Instant::now();
                socket.send(message).await?;
                next(&mut socket).await?;
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok(times)
        });
    }
    let mut all = Vec::new();
    while let Some(times) = tasks.join_next().await {
        all.extend(times??);
    }
    Ok(sorted(all))
}

/// MiB a second from executors to orchestrators, all together.
async fn throughput(
    registry: &Registry,
    name: &str,
    executors: usize,
    streams: usize,
    bytes: usize,
) -> Result<f64> {
    let mut pairs = Vec::new();
    for number in 0..executors {
        pairs.push(registry.pair(&format!("{name}-{number}"), streams).await?);
    }
    let rounds = bytes / RECORD;
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for (link, harnesses) in pairs {
        tasks.spawn(async move {
            let (mut sink, _stream) = link.split();
            for seq in 0..u32::try_from(rounds)? {
                for number in 0..streams {
                    sink.feed(data(&format!("s{number}"), seq, RECORD)).await?;
                }
            }
            sink.flush().await?;
            // The websocket stays until everything has arrived.
            Ok(Some(sink))
        });
        for mut harness in harnesses {
            tasks.spawn(async move {
                for _ in 0..rounds {
                    next(&mut harness).await?;
                }
                anyhow::Ok(None::<SplitSink<Socket, Message>>)
            });
        }
    }
    let mut links = Vec::new();
    while let Some(done) = tasks.join_next().await {
        links.push(done??);
    }
    let seconds = began.elapsed().as_secs_f64();
    let carried = rounds * RECORD * streams * executors;
    Ok(carried as f64 / MIB / seconds)
}

/// A call on a quiet stream while another of the same executor floods.
async fn fairness(registry: &Registry, figures: &mut Figures) -> Result<()> {
    const CALLS: u32 = 500;
    let (link, harnesses) = registry.pair("fair", 2).await?;
    let [mut loud, mut quiet] = <[Socket; 2]>::try_from(harnesses).ok().context("two")?;
    let (mut sink, mut stream) = link.split();
    let (answer, mut answers) = mpsc::channel::<Bytes>(8);
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    // The executor writes answers between the records of the flood, as ours takes turns.
    tasks.spawn(async move {
        for seq in 0.. {
            if let Ok(bytes) = answers.try_recv() {
                sink.send(Message::Binary(bytes)).await?;
            }
            sink.send(data("s0", seq, RECORD)).await?;
        }
        Ok(())
    });
    tasks.spawn(async move {
        loop {
            answer.send(next(&mut stream).await?).await?;
        }
    });
    tasks.spawn(async move {
        loop {
            next(&mut loud).await?;
        }
    });
    let mut times = Vec::new();
    for seq in 0..CALLS {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let began = Instant::now();
        quiet.send(data("s1", seq, 200)).await?;
        next(&mut quiet).await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let times = sorted(times);
    figures.at_most(
        "a call while another stream floods, p99",
        percentile(&times, 99),
        20.0,
        "ms",
    );
    Ok(())
}
