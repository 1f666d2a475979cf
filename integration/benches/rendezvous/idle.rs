//! Many executors that do nothing, and all of them coming back at once.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::StreamExt as _;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::node::{IDLE_BYTES, Node, dial};
use crate::{EXECUTORS, Figures, percentile, sorted};

/// Executors that come at once. The next comes when one of them is back, so the node is never idle:
/// a harder storm than executors that pause at random make.
const AT_ONCE: usize = 64;

/// Long enough for every executor to be pinged once.
const WATCHED: Duration = Duration::from_secs(30);

/// How many are published, if there are descriptors for them: the node and this process need one for
/// each.
const MANY: usize = 50_000;

/// Descriptors for everything else.
const SPARE: usize = 500;

pub(crate) async fn measure(node: &mut Node, count: usize, figures: &mut Figures) -> Result<()> {
    // A node that has served nobody yet; the streams before left their traces.
    node.cut().await?;
    let before = node.resident()?;
    let mut keeping = JoinSet::new();
    come(node, 0..count, &mut keeping).await?;
    watch(node, count, before, figures).await?;
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let many = MANY.min(usize::try_from(most)?.saturating_sub(SPARE));
    if count == EXECUTORS && many > count {
        come(node, count..many, &mut keeping).await?;
        watch(node, many, before, figures).await?;
    }

    drop(keeping);
    node.cut().await?;
    let registry = node.registry();
    let began = Instant::now();
    let again: Vec<String> = (0..count).map(|number| format!("idle-{number}")).collect();
    // Each registers anew and dials, which is more than most do.
    let (sockets, times, refused) = at_once(again, move |id| {
        let registry = registry.clone();
        async move { dial(&registry.register(&id).await?, IDLE_BYTES).await }
    })
    .await?;
    let took = began.elapsed().as_secs_f64();
    figures.at_most(
        &format!("{count} executors registered and back"),
        took,
        60.0,
        "s",
    );
    figures.at_most("the same, each, p99", percentile(&times, 99), 500.0, "ms");
    figures.at_most("the same, refused", refused as f64, 0.0, "");
    drop(sockets);
    Ok(())
}

/// Has executors register and stay. They answer pings until `keeping` is dropped.
async fn come(node: &Node, numbers: Range<usize>, keeping: &mut JoinSet<()>) -> Result<()> {
    let registry = node.registry();
    let ids: Vec<String> = numbers.map(|number| format!("idle-{number}")).collect();
    let (sockets, _, failed) = at_once(ids, move |id| {
        let registry = registry.clone();
        async move { dial(&registry.register(&id).await?, IDLE_BYTES).await }
    })
    .await?;
    ensure!(failed == 0, "{failed} executors did not get in");
    for mut socket in sockets {
        keeping.spawn(async move { while let Some(Ok(_)) = socket.next().await {} });
    }
    Ok(())
}

/// What executors that do nothing cost a node.
async fn watch(node: &Node, count: usize, before: u64, figures: &mut Figures) -> Result<()> {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = (node.resident()?.saturating_sub(before)) as f64 / count as f64 / 1024.0;
    let name = format!("memory of each of {count} idle executors");
    figures.at_most(&name, each, 16.0, "KiB");
    let began = node.cpu()?;
    tokio::time::sleep(WATCHED).await;
    let share = (node.cpu()? - began) / WATCHED.as_secs_f64() * 100.0;
    match count > EXECUTORS {
        // What more of them cost is told, and has no target.
        true => println!("processor for {count} of them: {share:.1} % of one core"),
        false => figures.at_most("processor for all of them, of one core", share, 5.0, "%"),
    }
    Ok(())
}

/// Does something for each, [`AT_ONCE`] at a time. Returns what came of it, how many milliseconds
/// each took, and how often it failed.
async fn at_once<T, F>(
    items: Vec<String>,
    act: impl Fn(String) -> F,
) -> Result<(Vec<T>, Vec<f64>, usize)>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for item in items {
        let place = Arc::clone(&places).acquire_owned().await?;
        let acting = act(item);
        tasks.spawn(async move {
            let began = Instant::now();
            let done = acting.await;
            drop(place);
            (done, began.elapsed().as_secs_f64() * 1e3)
        });
    }
    let (mut results, mut times, mut failed) = (Vec::new(), Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (done, took) = done?;
        times.push(took);
        match done {
            Ok(result) => results.push(result),
            Err(error) => {
                failed += 1;
                if failed == 1 {
                    println!("a first failure: {error:#}");
                }
            }
        }
    }
    Ok((results, sorted(times), failed))
}
