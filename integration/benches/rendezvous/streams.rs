//! What the relay adds to a round trip, and what it carries.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result};
use bytes::Bytes;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::node::{BUSY_BYTES, Node, Registry, Socket, as_our_executor, cpu_of, data, dial, next};
use crate::{Figures, percentile, sorted};

/// A full record with its frame around it.
const RECORD: usize = 61_456;

/// Of round trips, without and with the relay by turns.
const PASSES: u32 = 3;

/// Round trips of a stream in each.
const ROUNDS: u32 = 15;

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) async fn measure(node: &Node, figures: &mut Figures) -> Result<()> {
    let registry = node.registry();
    latency(&registry, figures).await?;
    for (name, executors, streams, bytes, least) in [
        ("one stream, 1 GiB of records", 1, 1, 1 << 30, 150.0),
        ("64 streams of 8 executors", 8, 8, 64 << 20, 400.0),
    ] {
        let without = direct(executors * streams, bytes).await?;
        let mut ends = Vec::new();
        for number in 0..executors {
            ends.push(
                registry
                    .pair(&format!("{streams}-{number}"), streams)
                    .await?,
            );
        }
        let (ours, its) = (cpu_of("self")?, node.cpu()?);
        let found = throughput(ends, streams, bytes).await?;
        let (ours, its) = (cpu_of("self")? - ours, node.cpu()? - its);
        let gib = (executors * streams * bytes) as f64 / MIB / 1024.0;
        println!(
            "{name}: {without:.0} MiB/s without the relay; processor for a GiB: the node {:.2} s, \
             the load {:.2} s",
            its / gib,
            ours / gib
        );
        figures.at_least(name, found, least, "MiB/s");
    }
    fairness(&registry, figures).await?;
    revocation(node, figures).await
}

/// MiB a second of as many streams, each in a websocket of its own and no node between its ends.
async fn direct(count: usize, bytes: usize) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/", listener.local_addr()?);
    let mut ends = Vec::new();
    for _ in 0..count {
        let accepting = async {
            accept_async(listener.accept().await?.0)
                .await
                .map_err(Error::from)
        };
        let (here, there) = tokio::try_join!(dial(&url, BUSY_BYTES), accepting)?;
        as_our_executor(&here)?;
        ends.push((here, there));
    }
    let rounds = bytes / RECORD;
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    let began = Instant::now();
    for (mut here, mut there) in ends {
        tasks.spawn(async move {
            for seq in 0..u32::try_from(rounds)? {
                here.feed(data("s0", seq, RECORD)).await?;
            }
            here.flush().await?;
            // The websocket stays until everything has arrived.
            let _ = here.next().await;
            Ok(())
        });
        tasks.spawn(async move {
            for _ in 0..rounds {
                next(&mut there).await?;
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok((rounds * RECORD * count) as f64 / MIB / began.elapsed().as_secs_f64())
}

/// 1,000 messages a second of 1 KiB on 200 streams, against the same without a relay.
async fn latency(registry: &Registry, figures: &mut Figures) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/", listener.local_addr()?);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut echoes = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            tcp.set_nodelay(true)?;
            echoes.spawn(async move { echo(accept_async(tcp).await?).await });
        }
        anyhow::Ok(())
    });
    let mut direct = Vec::new();
    for _ in 0..200 {
        direct.push(dial(&url, BUSY_BYTES).await?);
    }
    let mut relayed = Vec::new();
    for id in ["echo-1", "echo-2"] {
        let (link, harnesses) = registry.pair(id, 100).await?;
        tasks.spawn(echo(link));
        relayed.extend(harnesses);
    }
    // By turns, so that what the machine does besides is in both.
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for seq in 0..PASSES {
        without.extend(round_trips(&mut direct, seq).await?);
        with.extend(round_trips(&mut relayed, seq).await?);
    }
    let (without, with) = (sorted(without), sorted(with));
    let both = |percent| (percentile(&without, percent), percentile(&with, percent));
    println!(
        "round trips without and with the relay, ms: p50 {:.3?}, p99 {:.3?}",
        both(50),
        both(99)
    );
    // A round trip crosses the relay twice, and a message once.
    let added = |percent| (percentile(&with, percent) - percentile(&without, percent)) / 2.0;
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

/// Milliseconds of each. The sockets are as before when it is done.
async fn round_trips(sockets: &mut Vec<Socket>, pass: u32) -> Result<Vec<f64>> {
    let mut tasks = JoinSet::new();
    let count = u32::try_from(sockets.len())?;
    for (number, mut socket) in (0u32..).zip(sockets.drain(..)) {
        tasks.spawn(async move {
            let stream = format!("s{}", number % 100);
            let interval = Duration::from_millis(1) * count;
            tokio::time::sleep(Duration::from_millis(1) * number).await;
            let mut ticks = tokio::time::interval(interval);
            let mut times = Vec::new();
            for seq in pass * ROUNDS..(pass + 1) * ROUNDS {
                ticks.tick().await;
                let message = data(&stream, seq, 1024);
                let began = Instant::now();
                socket.send(message).await?;
                next(&mut socket).await?;
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
            anyhow::Ok((number, socket, times))
        });
    }
    let (mut back, mut all) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (number, socket, times) = done??;
        back.push((number, socket));
        all.extend(times);
    }
    // Each keeps its stream.
    back.sort_by_key(|(number, _)| *number);
    sockets.extend(back.into_iter().map(|(_, socket)| socket));
    Ok(all)
}

/// MiB a second from executors to orchestrators, all together.
async fn throughput(
    pairs: Vec<(Socket, Vec<Socket>)>,
    streams: usize,
    bytes: usize,
) -> Result<f64> {
    let executors = pairs.len();
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
    println!("the same, p50: {:.2} ms", percentile(&times, 50));
    Ok(())
}

/// How long an orchestrator is still served whose credential was taken back.
async fn revocation(node: &Node, figures: &mut Figures) -> Result<()> {
    let (_link, harnesses) = node.registry().pair("revoked", 1).await?;
    let began = Instant::now();
    node.revoke(&node.harness).await?;
    for mut harness in harnesses {
        while next(&mut harness).await.is_ok() {}
    }
    let took = began.elapsed().as_secs_f64();
    figures.at_most("a credential revoked, its stream ended", took, 2.0, "s");
    Ok(())
}
