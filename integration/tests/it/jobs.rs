//! Commands that run on without us: `exec --detach`, `ps`, `logs`, `wait`, `kill`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Executor, FaultyLink, Finished, Lab, Running};
use rustix::process::Signal;

/// Starts a job and gives its id.
async fn detach(lab: &Lab, script: &str) -> Result<String> {
    let done = lab.run(&["exec", "-d", "--", "sh", "-c", script]).await?;
    ensure!(done.code == Some(0), "{}", done.err());
    Ok(done.out().trim().to_owned())
}

async fn far(lab: &Lab) -> Result<Executor> {
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    Ok(far)
}

/// A job of three parts of a thousand numbered lines, of which the second and the third each wait
/// until a file is there.
const NUMBERED: &str = "i=0; part() { n=0; while [ $n -lt 1000 ]; do \
     echo \"line $i\"; i=$((i+1)); n=$((n+1)); done; }; \
     await() { until [ -e $1 ]; do sleep 0.02; done; }; \
     part; await two; part; touch two-is-done; await three; part";

fn numbered() -> String {
    (0..3000).map(|number| format!("line {number}\n")).collect()
}

async fn appears(path: &Path) {
    let mut look = tokio::time::interval(Duration::from_millis(10));
    while !path.exists() {
        look.tick().await;
    }
}

/// Reads lines until this one.
async fn read_until(running: &mut Running, last: &str) -> Result<String> {
    let mut text = String::new();
    loop {
        let line = running.line().await?;
        text.push_str(&line);
        text.push('\n');
        if line == last {
            return Ok(text);
        }
    }
}

fn all_of(begin: String, rest: &Finished) -> Result<()> {
    ensure!(rest.code == Some(0), "{:?}: {}", rest.code, rest.err());
    let all = begin + &rest.out();
    ensure!(all == numbered(), "{} bytes came", all.len());
    Ok(())
}

/// The time for which a client tries to take its connection up again, in seconds. What is tested
/// is that nothing depends on it.
const WINDOW: u64 = 1;

#[tokio::test]
async fn a_lid_that_was_closed_for_longer_than_the_window_costs_no_line() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    let link = FaultyLink::start(&far.url).await?;
    lab.websockets(&[("far", &link.url)])?;
    let settings = format!("recovery_seconds = {WINDOW}\n");
    std::fs::write(lab.home().join("config.toml"), settings)?;
    let job = detach(&lab, NUMBERED).await?;
    let mut logs = Running::start(&mut lab.farstep(&["logs", "-f", &job]))?;
    let begin = read_until(&mut logs, "line 499").await?;
    logs.signal(Signal::STOP)?;
    link.cut();
    std::fs::write(far.folder.join("two"), "")?;
    appears(&far.folder.join("two-is-done")).await;
    // Time itself is what is tested here.
    tokio::time::sleep(Duration::from_secs(WINDOW + 1)).await;
    logs.signal(Signal::CONT)?;
    std::fs::write(far.folder.join("three"), "")?;
    all_of(begin, &logs.finish().await?)
}

#[tokio::test]
async fn a_network_that_was_away_for_longer_than_the_window_costs_no_line() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    let link = FaultyLink::start(&far.url).await?;
    lab.websockets(&[("far", &link.url)])?;
    let settings = format!("recovery_seconds = {WINDOW}\n");
    std::fs::write(lab.home().join("config.toml"), settings)?;
    let job = detach(&lab, NUMBERED).await?;
    let mut logs = Running::start(&mut lab.farstep(&["logs", "-f", &job]))?;
    let begin = read_until(&mut logs, "line 499").await?;
    link.fall_silent();
    link.cut();
    std::fs::write(far.folder.join("two"), "")?;
    appears(&far.folder.join("two-is-done")).await;
    // Time itself is what is tested here.
    tokio::time::sleep(Duration::from_secs(WINDOW + 1)).await;
    link.recover();
    std::fs::write(far.folder.join("three"), "")?;
    let rest = logs.finish().await?;
    ensure!(rest.err().contains("trying again"), "{}", rest.err());
    all_of(begin, &rest)
}

#[tokio::test]
async fn a_job_outlives_the_command_that_started_it_and_every_look_at_it() -> Result<()> {
    let lab = Lab::new()?;
    let far = far(&lab).await?;
    let job = detach(&lab, NUMBERED).await?;
    let mut first = Running::start(&mut lab.farstep(&["logs", "-f", &job]))?;
    let mut second = Running::start(&mut lab.farstep(&["logs", "-f", &job]))?;
    let seen = read_until(&mut first, "line 999").await?;
    ensure!(read_until(&mut second, "line 999").await? == seen);
    first.signal(Signal::KILL)?;
    let done = lab.run(&["ps", "--json"]).await?;
    assert_eq!(done.json_lines()?[0]["state"], "running", "{}", done.out());
    std::fs::write(far.folder.join("two"), "")?;
    std::fs::write(far.folder.join("three"), "")?;
    let done = lab.run(&["wait", &job]).await?;
    assert_eq!(done.code, Some(0), "{}", done.err());
    all_of(seen, &second.finish().await?)?;
    // And again from the beginning, and the end alone, and what follows a position.
    let done = lab.run(&["logs", &job]).await?;
    assert_eq!(done.out(), numbered());
    let done = lab.run(&["logs", "--tail", "2", &job]).await?;
    assert_eq!(done.out(), "line 2998\nline 2999\n");
    let done = lab.run(&["logs", "--json", &job]).await?;
    let lines = done.json_lines()?;
    let seq = lines.iter().rev().find_map(|line| line["seq"].as_u64());
    let seq = seq.context("no position")?;
    let done = lab
        .run(&["logs", "--since-seq", &(seq - 1).to_string(), &job])
        .await?;
    assert!(done.out().ends_with("line 2999\n") && done.out().len() < numbered().len());
    Ok(())
}

#[tokio::test]
async fn what_was_not_kept_is_told_to_the_byte() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab
        .executor_with("far", &["--retain-bytes", "65536"])
        .await?;
    lab.websockets(&[("far", &far.url)])?;
    let job = detach(&lab, "head -c 1000000 /dev/zero; echo; echo the end").await?;
    let done = lab.run(&["wait", &job]).await?;
    assert_eq!(
        done.code,
        Some(0),
        "a job must not wait for a reader: {}",
        done.err()
    );
    let done = lab.run(&["logs", &job]).await?;
    assert!(done.out().ends_with("\nthe end\n"));
    let told = done.err();
    let words = told.split_whitespace();
    let gone: usize = words.filter_map(|word| word.parse::<usize>().ok()).sum();
    assert_eq!(gone + done.stdout.len(), 1_000_009, "{told}");
    assert!(gone > 800_000, "{told}");
    Ok(())
}

#[tokio::test]
async fn a_job_is_ended_from_anywhere_and_its_exit_code_is_told() -> Result<()> {
    let lab = Lab::new()?;
    let _far = far(&lab).await?;
    let job = detach(&lab, "echo up; exec sleep 600").await?;
    let mut logs = Running::start(&mut lab.farstep(&["logs", "-f", &job]))?;
    assert_eq!(logs.line().await?, "up");
    let done = lab.run(&["kill", "-s", "int", &job]).await?;
    assert_eq!(done.code, Some(0), "{}", done.err());
    assert_eq!(logs.finish().await?.code, Some(0));
    let done = lab.run(&["wait", "--json", &job]).await?;
    assert_eq!(done.json_lines()?[0]["exitCode"], 130);
    assert_eq!(done.code, Some(130));
    let done = lab.run(&["kill", &job]).await?;
    assert_eq!(done.code, Some(0));
    assert!(done.err().contains("had ended already"), "{}", done.err());
    let done = lab.run(&["ps", "--prune"]).await?;
    assert!(!done.out().contains(&job));
    let done = lab.run(&["logs", &job]).await?;
    assert_eq!(done.code, Some(2), "{}", done.err());
    Ok(())
}

#[tokio::test]
async fn a_job_whose_executor_was_started_anew_is_lost_and_said_to_be() -> Result<()> {
    let lab = Lab::new()?;
    let far = far(&lab).await?;
    let job = detach(&lab, "exec sleep 600").await?;
    far.kill()?;
    far.finish().await?;
    let done = lab.run(&["ps", "--json"]).await?;
    assert_eq!(
        done.json_lines()?[0]["state"],
        "unreachable",
        "{}",
        done.out()
    );
    let done = lab.run(&["logs", &job]).await?;
    assert_eq!(done.code, Some(255), "{}", done.err());
    let again = lab.executor("far").await?;
    lab.websockets(&[("far", &again.url)])?;
    let done = lab.run(&["wait", &job]).await?;
    assert_eq!(done.code, Some(255), "{}", done.err());
    let done = lab.run(&["ps", "--json"]).await?;
    assert_eq!(done.json_lines()?[0]["state"], "lost", "{}", done.out());
    Ok(())
}

#[tokio::test]
async fn a_job_is_kept_for_as_long_as_was_asked_and_allowed() -> Result<()> {
    let lab = Lab::new()?;
    let flags = ["--max-session-retention-seconds", "7200"];
    let far = lab.executor_with("far", &flags).await?;
    lab.websockets(&[("far", &far.url)])?;
    for (keep, kept) in [("90m", 5400), ("3d", 7200)] {
        let done = lab
            .run(&["exec", "-d", "--json", "--keep", keep, "--", "true"])
            .await?;
        assert_eq!(
            done.json_lines()?[0]["retentionSeconds"],
            kept,
            "{}",
            done.err()
        );
    }
    let done = lab.run(&["ps", "--json"]).await?;
    for job in done.json_lines()? {
        let (kept, left) = (
            job["retentionSeconds"].as_u64(),
            job["leftSeconds"].as_u64(),
        );
        assert!(left <= kept && left > kept.map(|kept| kept - 600), "{job}");
    }
    Ok(())
}
