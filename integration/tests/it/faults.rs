//! Peers and links that do not break but stop: half-open sockets, stopped programs, readers that
//! do not read.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{
    FaultyLink, Follower, Lab, Running, SESSION_ATTACHED, Wire, encode, script,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const MIB: u64 = 1024 * 1024;

/// What `seq` writes.
fn numbers(to: u32) -> Vec<u8> {
    (1..=to).fold(Vec::new(), |mut text, line| {
        text.extend(format!("{line}\n").into_bytes());
        text
    })
}

async fn start(wire: &mut Wire, process: &str, command: &str) -> Result<Follower> {
    wire.done("process/start", script(process, command)).await?;
    Ok(Follower::new(process))
}

async fn follow(wire: &mut Wire, follower: &mut Follower) -> Result<()> {
    while !follower.is_complete() {
        let message = wire.notification().await?;
        follower.notified(&message.context("the connection ended")?)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_caller_behind_a_silent_link_is_given_up_and_its_session_goes_on_elsewhere() -> Result<()>
{
    let lab = Lab::new()?;
    let executor = lab.executor_with("far", &["--ping-seconds", "1"]).await?;
    let link = FaultyLink::start(&executor.url).await?;
    let (mut wire, session) = Wire::open(&link.url).await?;
    start(&mut wire, "cat", "exec cat").await?;
    link.fall_silent();

    // Until the executor can know, the session is its old caller's.
    let mut early = Wire::dial(&executor.url).await?;
    let refused = early.initialize(Some(&session)).await?;
    ensure!(refused.is_err_and(|refusal| refusal.code == SESSION_ATTACHED));
    // Who was refused may do something else with the connection.
    ensure!(
        early
            .initialize(None)
            .await?
            .is_ok_and(|new| new != session)
    );

    let mut again = Wire::resume(&executor.url, &session).await?;
    let written = json!({"processId": "cat", "writeId": "1", "chunk": encode(b"still here\n")});
    again.done("process/write", written).await?;
    let mut follower = Follower::new("cat");
    while follower.known() == 0 {
        follower.read(&mut again, MIB, 10_000).await?;
    }
    ensure!(follower.output()? == b"still here\n");
    Ok(())
}

#[tokio::test]
async fn a_caller_that_answers_pings_and_nothing_else_keeps_its_session() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor_with("far", &["--ping-seconds", "1"]).await?;
    let (mut wire, session) = Wire::open(&executor.url).await?;
    start(&mut wire, "p", "sleep 4; echo done").await?;
    // Reading answers the pings meanwhile, four of them.
    let mut follower = Follower::new("p");
    follow(&mut wire, &mut follower).await?;
    let mut other = Wire::dial(&executor.url).await?;
    let refused = other.initialize(Some(&session)).await?;
    ensure!(refused.is_err_and(|refusal| refusal.code == SESSION_ATTACHED));
    Ok(())
}

#[tokio::test]
async fn an_executor_that_was_stopped_in_the_middle_of_a_stream_loses_nothing() -> Result<()> {
    const LINES: u32 = 80_000;
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let bursts = "while read -r from to; do seq $from $to; done";
    let mut follower = start(&mut wire, "p", bursts).await?;
    for burst in 0..5 {
        // Something is still to come when we stop, however much the sockets between us hold.
        let asked = format!("{} {}\n", burst * LINES + 1, (burst + 1) * LINES);
        let written =
            json!({"processId": "p", "writeId": asked, "chunk": encode(asked.as_bytes())});
        wire.post("process/write", written).await?;
        let message = wire.notification().await?.context("the stream ended")?;
        follower.notified(&message)?;
        executor.running().signal(Signal::STOP)?;
        // What is under way arrives; then nothing does.
        while let Ok(message) =
            tokio::time::timeout(Duration::from_millis(100), wire.notification()).await
        {
            follower.notified(&message?.context("the stream ended")?)?;
        }
        executor.running().signal(Signal::CONT)?;
    }
    wire.done("process/farstepCloseInput", json!({"processId": "p"}))
        .await?;
    follow(&mut wire, &mut follower).await?;
    ensure!(follower.output()? == numbers(5 * LINES));
    Ok(())
}

#[tokio::test]
async fn a_caller_that_was_stopped_in_the_middle_of_a_stream_loses_nothing() -> Result<()> {
    const LINES: u32 = 400_000;
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    lab.websockets(&[("far", &executor.url)])?;
    let command = format!("exec seq 1 {LINES}");
    let mut farstep =
        Running::start(&mut lab.farstep(&["exec", "-e", "far", "--", "sh", "-c", &command]))?;
    let mut lines = vec![farstep.line().await?];
    for _ in 0..3 {
        farstep.signal(Signal::STOP)?;
        // Nobody reads the executor's socket now, and it serves others as if nothing were.
        let (mut other, _) = Wire::open(&executor.url).await?;
        for _ in 0..200 {
            other.done("environment/status", Value::Null).await?;
        }
        farstep.signal(Signal::CONT)?;
        for _ in 0..1000 {
            lines.push(farstep.line().await?);
        }
    }
    let finished = farstep.finish().await?;
    ensure!(finished.code == Some(0), "{}", finished.err());
    let output = lines.join("\n") + "\n" + &finished.out();
    ensure!(output.into_bytes() == numbers(LINES));
    Ok(())
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_waited_for_and_costs_little() -> Result<()> {
    const LINES: u32 = 3_000_000;
    let lab = Lab::new()?;
    let executor = lab
        .executor_with("far", &["--retain-bytes", "1048576"])
        .await?;
    let (mut slow, _) = Wire::open(&executor.url).await?;
    let before = executor.memory()?.now;
    let mut followers = Vec::new();
    for process in ["a", "b"] {
        followers.push(start(&mut slow, process, &format!("exec seq 1 {LINES}")).await?);
    }

    // Others are served at once, with streams of their own.
    let (mut other, _) = Wire::open(&executor.url).await?;
    for round in 0..20 {
        let mut follower = start(&mut other, &format!("p{round}"), "exec seq 1 20000").await?;
        other.done("environment/status", Value::Null).await?;
        follow(&mut other, &mut follower).await?;
        ensure!(follower.output()? == numbers(20_000));
    }

    // 23 MB wait in each program, not in the executor: 2 x 1 MiB retained, as much on its way.
    let held = executor.memory()?.at_most - before;
    ensure!(held < 40 * MIB, "{held} bytes");
    let expected = numbers(LINES);
    while !followers.iter().all(Follower::is_complete) {
        let message = slow.notification().await?.context("the stream ended")?;
        for follower in &mut followers {
            follower.notified(&message)?;
        }
    }
    for follower in &followers {
        ensure!(follower.output()? == expected);
    }
    Ok(())
}

#[tokio::test]
async fn an_executor_that_was_started_anew_knows_no_session_of_the_old_one() -> Result<()> {
    let lab = Lab::new()?;
    let old = lab.executor("old").await?;
    let (wire, session) = Wire::open(&old.url).await?;
    old.kill()?;
    let mut wire = wire;
    ensure!(wire.notification().await?.is_none());
    let new = lab.executor("new").await?;
    let mut wire = Wire::dial(&new.url).await?;
    let refused = wire.initialize(Some(&session)).await?;
    ensure!(refused.is_err_and(|refusal| refusal.code == -32600));
    Ok(())
}
