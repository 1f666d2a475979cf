//! A first call to an executor that is not there: it is waited for no longer than the entry says, and
//! whoever watches is told what for.

use anyhow::{Result, ensure};
use farstep_integration::{Lab, PATIENCE, Rendezvous, Running};
use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::Instant;

use crate::desk::Desk;

/// A node, and an entry that leads to `box`, which is waited for that long.
async fn scene(seconds: u32) -> Result<(Lab, Rendezvous, String)> {
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    let entry = node.entry("box", "").replace(
        "id = \"box\"\n",
        &format!("id = \"box\"\nconnect_timeout_sec = {seconds}\n"),
    );
    lab.environments(&format!(
        "include_local = false\ndefault = \"box\"\n{entry}"
    ))?;
    let token = node.token("harness").await?;
    Ok((lab, node, token))
}

fn farstep(lab: &Lab, token: &str, arguments: &[&str]) -> Command {
    let mut command = lab.farstep(arguments);
    command.env("RDV_TOKEN", token).env("TERM", "dumb");
    command
}

/// A credential for exactly `box`, as the README makes it.
async fn own_token(node: &Rendezvous) -> Result<String> {
    let arguments = ["token", "new", "--kind", "executor", "--environment", "box"];
    node.admin(&arguments).await
}

/// Waits until the node says this of its only environment: it notices in its own time.
async fn listed(node: &Rendezvous, words: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let listed = node.admin(&["list"]).await?;
        if listed.contains(words) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{listed}");
    }
}

#[tokio::test]
async fn the_orchestrator_may_come_before_its_executor_and_is_told_what_it_waits_for() -> Result<()>
{
    let (lab, node, token) = scene(100).await?;
    let executor = own_token(&node).await?;
    let mut command = farstep(&lab, &token, &["exec", "--", "echo", "at-last"]);
    let mut desk = Desk::sit_down_at(&mut command)?;
    let told = desk.see("farstep: waiting for `box`, ").await?;
    assert_eq!(told, "farstep: waiting for `box`, ");
    desk.see(" s more at most: the environment's executor is not connected: it has not registered")
        .await?;
    let (_executor, _) = node.executor(&lab, "box", &executor).await?;
    desk.see("at-last").await?;
    assert_eq!(desk.end().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn an_executor_that_is_off_is_given_up_within_the_time_for_connecting() -> Result<()> {
    let (lab, node, token) = scene(2).await?;
    let executor = own_token(&node).await?;
    let (running, _) = node.executor(&lab, "box", &executor).await?;
    listed(&node, "online").await?;
    running.signal(Signal::TERM)?;
    running.finish().await?;
    listed(&node, "away for ").await?;
    for arguments in [
        &["exec", "--", "true"][..],
        &["exec", "--json", "--", "true"],
        &["cp", "box:/etc/hostname", "."],
        &["env", "test", "box"],
    ] {
        let done = Running::start(&mut farstep(&lab, &token, arguments))?;
        let done = done.finish().await?;
        let told = done.err() + &done.out();
        ensure!(done.code != Some(0), "{arguments:?}");
        for words in ["`box`", "within 2s", "not connected: away for "] {
            ensure!(told.contains(words), "{arguments:?}, {words}: {told}");
        }
        // Nobody watches.
        ensure!(!told.contains("waiting for"), "{arguments:?}: {told}");
    }
    // A program that reads is not told on the terminal either.
    let arguments = ["exec", "--json", "--", "true"];
    let desk = Desk::sit_down_at(&mut farstep(&lab, &token, &arguments))?;
    let (shown, _) = desk.watch_to_the_end().await?;
    ensure!(!shown.contains("waiting for"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn what_nobody_expects_is_refused_without_a_wait() -> Result<()> {
    let (lab, node, token) = scene(100).await?;
    node.token("executor").await?;
    let done = Running::start(&mut farstep(&lab, &token, &["exec", "--", "true"]))?;
    let done = done.finish().await?;
    ensure!(
        done.code == Some(255) && done.err().contains("HTTP status 403"),
        "{:?} {}",
        done.code,
        done.err()
    );
    Ok(())
}

#[tokio::test]
async fn each_hop_through_a_rendezvous_has_a_name_of_its_own() -> Result<()> {
    let (lab, node, token) = scene(2).await?;
    let executor = own_token(&node).await?;
    let doctor = async || -> Result<Vec<(String, String, String)>> {
        let mut command = farstep(&lab, &token, &["env", "doctor", "--json", "box"]);
        let done = Running::start(&mut command)?.finish().await?;
        let lines = done.json_lines()?;
        let mine = lines.iter().filter(|line| line["environment"] == "box");
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let told = |line: &serde_json::Value| {
            ensure!(
                line["result"] == "ok" || line["remedy"].is_string(),
                "{line}"
            );
            Ok((
                word(&line["check"]),
                word(&line["result"]),
                word(&line["found"]),
            ))
        };
        mine.map(told).collect()
    };
    let away = doctor().await?;
    let (check, result, found) = away.last().cloned().unwrap_or_default();
    assert_eq!((check.as_str(), result.as_str()), ("registry", "failed"));
    ensure!(
        found.contains("HTTP status 503") && found.contains("has not registered"),
        "{found}"
    );
    let (_executor, key) = node.executor(&lab, "box", &executor).await?;
    let found = doctor().await?;
    let checks: Vec<&str> = found.iter().map(|(check, ..)| check.as_str()).collect();
    let way = [
        "secrets",
        "registry_tcp",
        "registry",
        "executor_key",
        "relay_tcp",
        "relay_upgrade",
        "noise",
        "initialize",
    ];
    ensure!(checks.starts_with(&way), "{checks:?}");
    ensure!(
        found.iter().all(|(_, result, _)| result == "ok"),
        "{found:?}"
    );
    assert_eq!(found[2].2, "HTTP status 200");
    assert_eq!(found[3].2, key);
    Ok(())
}
