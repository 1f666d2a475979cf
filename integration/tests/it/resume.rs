//! Connections that break under load: nothing is lost, repeated or out of order.

use anyhow::{Result, ensure};
use farstep_integration::{Fate, FaultyLink, Follower, Lab, Luck, Wire, Wrong, encode, script};
use serde_json::json;

/// Numbered lines, 1.2 MB, which is shown whole in any order.
const FEW: usize = 180_000;

/// The same, 30 MB: twice what is retained, so what is kept is what may not have arrived.
const MANY: usize = 4_000_000;

fn numbered_lines(count: usize) -> Vec<u8> {
    (1..=count).fold(Vec::new(), |mut text, line| {
        text.extend(format!("{line}\n").into_bytes());
        text
    })
}

/// How the client fetches what a process says.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Notifications,
    Reads,
}

/// Nothing if the link broke, which was to be expected.
fn unless_broken<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.is::<Wrong>() => Err(error),
        Err(_) => Ok(None),
    }
}

/// Follows a process to its end over connections that each break somewhere.
async fn follow_through(seed: u64, by: By, lines: usize) -> Result<()> {
    let mut luck = Luck::new(seed);
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let link = FaultyLink::start(&executor.url).await?;
    let (mut wire, session) = Wire::open(&link.url).await?;
    wire.done("process/start", script("p", &format!("exec seq 1 {lines}")))
        .await?;
    drop(wire);

    let mut follower = Follower::new("p");
    while !follower.is_complete() {
        // Each carries a part of the whole, sometimes not even the handshake.
        link.plan(Fate {
            cut_after: Some(luck.between(3_000, 2 * lines as u64)),
            ..Fate::default()
        });
        // Broken before the handshake was over is a broken connection like any other.
        let Ok(mut wire) = Wire::resume(&link.url, &session).await else {
            continue;
        };
        let page = luck.between(1, 200_000);
        let mut goes_on = unless_broken(follower.catch_up(&mut wire, page).await)?.is_some();
        while goes_on && !follower.is_complete() {
            goes_on = match by {
                By::Reads => unless_broken(follower.read(&mut wire, page, 10_000).await)?.is_some(),
                By::Notifications => match wire.notification().await? {
                    Some(message) => follower.notified(&message).map(|()| true)?,
                    None => false,
                },
            };
        }
    }
    ensure!(link.accepted() > 3, "seed {seed}: nothing broke");
    ensure!(follower.exit_code() == Some(0), "seed {seed}: it failed");
    let output = follower.output()?;
    ensure!(
        output == numbered_lines(lines),
        "seed {seed}: {} bytes differ",
        output.len()
    );
    Ok(())
}

#[tokio::test]
async fn notifications_and_what_is_read_after_a_break_make_the_whole_output() -> Result<()> {
    for seed in 1..=4 {
        follow_through(seed, By::Notifications, FEW).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_stream_longer_than_what_is_retained_survives_as_well() -> Result<()> {
    follow_through(5, By::Notifications, MANY).await
}

#[tokio::test]
async fn polling_alone_makes_the_whole_output() -> Result<()> {
    for seed in 11..=13 {
        follow_through(seed, By::Reads, FEW).await?;
    }
    Ok(())
}

/// Writes to `cat` over connections that break in both directions, each write again until it is
/// acknowledged.
async fn write_through(seed: u64) -> Result<()> {
    const WRITES: u64 = 400;
    /// Sent without waiting. Our executor keeps the order of what it was sent.
    const AHEAD: u64 = 5;
    let text = |write: u64| format!("{write}:{}\n", "x".repeat((write * 37 % 900) as usize));
    let mut luck = Luck::new(seed);
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let link = FaultyLink::start(&executor.url).await?;
    let (mut wire, session) = Wire::open(&link.url).await?;
    wire.done("process/start", script("cat", "exec cat"))
        .await?;
    drop(wire);

    let mut acknowledged = 0;
    let mut sent_again = 0;
    while acknowledged < WRITES {
        // A write is 700 bytes on the average, its answer 40.
        link.plan(match luck.once_in(2) {
            true => Fate {
                cut_after_sent: Some(luck.between(300, 60_000)),
                ..Fate::default()
            },
            false => Fate {
                cut_after: Some(luck.between(300, 40_000)),
                ..Fate::default()
            },
        });
        let Ok(mut wire) = Wire::resume(&link.url, &session).await else {
            continue;
        };
        let mut under_way = std::collections::VecDeque::new();
        let mut next = acknowledged + 1;
        loop {
            while next <= WRITES && next <= acknowledged + AHEAD {
                let params = json!({
                    "processId": "cat", "writeId": next.to_string(), "chunk": encode(text(next).as_bytes()),
                });
                let Ok(id) = wire.post("process/write", params).await else {
                    break;
                };
                under_way.push_back(id);
                next += 1;
            }
            let Some(id) = under_way.pop_front() else {
                break;
            };
            match wire.reply(id).await {
                Ok(outcome) => ensure!(outcome == Ok(json!({"status": "accepted"})), "{outcome:?}"),
                Err(_) => {
                    sent_again += 1 + under_way.len();
                    break;
                }
            }
            acknowledged += 1;
        }
    }
    ensure!(sent_again > 0, "seed {seed}: nothing was sent again");

    let mut wire = Wire::resume(&executor.url, &session).await?;
    let expected: String = (1..=WRITES).map(text).collect();
    let mut follower = Follower::new("cat");
    while follower.known() < expected.len() * 4 / 3 {
        follower.read(&mut wire, 1 << 20, 10_000).await?;
    }
    // Whatever was written twice would be behind it by now.
    wire.done("process/terminate", json!({"processId": "cat"}))
        .await?;
    while !follower.is_complete() {
        follower.read(&mut wire, 1 << 20, 10_000).await?;
    }
    let output = String::from_utf8(follower.output()?)?;
    ensure!(
        output == expected,
        "seed {seed}: {} of {} bytes",
        output.len(),
        expected.len()
    );
    Ok(())
}

#[tokio::test]
async fn a_write_that_is_sent_again_with_its_id_is_written_once() -> Result<()> {
    for seed in 21..=24 {
        write_through(seed).await?;
    }
    Ok(())
}

#[tokio::test]
async fn farstep_goes_on_over_a_link_that_breaks_again_and_again() -> Result<()> {
    for seed in 1..=3 {
        let mut luck = Luck::new(seed);
        let lab = Lab::new()?;
        let executor = lab.executor("far").await?;
        let link = FaultyLink::start(&executor.url).await?;
        lab.websockets(&[("far", &link.url)])?;
        link.plan(Fate {
            cut_after: Some(luck.between(250_000, 500_000)),
            ..Fate::default()
        });
        let count = FEW.to_string();
        let done = lab.run(&["exec", "--", "seq", "1", &count]).await?;
        ensure!(done.code == Some(0), "seed {seed}: {}", done.err());
        ensure!(link.accepted() > 3, "seed {seed}: nothing broke");
        ensure!(
            done.stdout == numbered_lines(FEW),
            "seed {seed}: {} bytes differ, of {}",
            done.stdout.len(),
            numbered_lines(FEW).len()
        );
    }
    Ok(())
}
