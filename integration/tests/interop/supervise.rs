//! A real `codex exec-server --remote` under `farstep-executor supervise-codex`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, PATIENCE, Peer, Rendezvous, Running, need};
use rustix::process::Signal;
use tokio::process::Command;

use crate::rendezvous::{remote, until_listed};

/// The peer's executor as `far`, supervised. What it says on standard error is on standard output, to
/// be waited for.
fn supervisor(lab: &Lab, peer: &Peer, node: &Rendezvous, flags: &[&str]) -> Result<Command> {
    let mut command = peer.command(&lab.folder("far")?, &[]);
    let program = command.as_std().get_program().to_owned();
    let mut supervisor = Command::new(&lab.programs().executor);
    for (name, value) in command.as_std_mut().get_envs() {
        match value {
            Some(value) => supervisor.env(name, value),
            None => supervisor.env_remove(name),
        };
    }
    supervisor
        .arg("supervise-codex")
        .args(flags)
        .args(["--", "sh", "-c", "exec \"$0\" \"$@\" 2>&1"])
        .arg(program)
        .args(remote(&node.url))
        .current_dir(lab.folder("far")?)
        .env("XDG_STATE_HOME", lab.state())
        .env_remove("FARSTEP_API_KEY")
        .env_remove("CODEX_API_KEY");
    Ok(supervisor)
}

/// Has the environment run something.
async fn drive(lab: &Lab, node: &Rendezvous, harness: &str) -> Result<()> {
    lab.environments(&format!("default = \"far\"\n{}", node.entry("far", "")))?;
    let mut command = lab.farstep(&["exec", "--", "echo", "driven"]);
    let running = Running::start(command.env("RDV_TOKEN", harness))?;
    let done = running.finish().await?;
    ensure!(done.out() == "driven\n", "{}\n{}", done.out(), done.err());
    Ok(())
}

#[tokio::test]
async fn a_peer_that_finds_no_registry_is_brought_back_and_driven() -> Result<()> {
    let Some(peer) = need(Peer::find(), "the peer: FARSTEP_CODEX names no program") else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let mut node = Rendezvous::start(&lab).await?;
    let (token, harness) = (node.token("executor").await?, node.token("harness").await?);
    node.kill().await?;
    let mut command = supervisor(&lab, &peer, &node, &[])?;
    let mut supervised = Running::start(command.env("FARSTEP_API_KEY", &token))?;
    while !supervised.line().await?.contains("registry request failed") {}
    node.restart().await?;
    until_listed(&node, "online").await?;
    drive(&lab, &node, &harness).await?;
    supervised.signal(Signal::TERM)?;
    let done = supervised.finish().await?;
    ensure!(done.code == Some(0), "{:?} {}", done.code, done.err());
    ensure!(done.err().contains("after a pause"), "{}", done.err());
    ensure!(!done.err().contains(&token), "{}", done.err());
    // Its websocket ended with it.
    until_listed(&node, "away for").await
}

#[tokio::test]
async fn a_peer_whose_credential_is_revoked_comes_back_with_the_one_in_the_file() -> Result<()> {
    let Some(peer) = need(Peer::find(), "the peer: FARSTEP_CODEX names no program") else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    let harness = node.token("harness").await?;
    let (first, second) = (node.token("executor").await?, node.token("executor").await?);
    let file = lab.path().join("credential");
    fs::write(&file, &first)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let name = file.display().to_string();
    let flags = ["--credential-file", name.as_str()];
    let mut supervised = Running::start(&mut supervisor(&lab, &peer, &node, &flags)?)?;
    until_listed(&node, "online").await?;
    fs::write(&file, &second)?;
    let kid = first.split('_').nth(1).context("no key id")?;
    node.admin(&["token", "revoke", kid]).await?;
    // It notices when it registers anew, and ends.
    while !supervised.line().await?.contains("401") {}
    until_listed(&node, "online").await?;
    drive(&lab, &node, &harness).await?;
    supervised.signal(Signal::TERM)?;
    let done = supervised.finish().await?;
    ensure!(done.code == Some(0), "{:?} {}", done.code, done.err());
    for secret in [&first, &second] {
        ensure!(!done.err().contains(secret.as_str()), "a secret in the log");
    }
    Ok(())
}

#[tokio::test]
async fn a_peer_that_was_superseded_is_not_brought_back() -> Result<()> {
    let Some(peer) = need(Peer::find(), "the peer: FARSTEP_CODEX names no program") else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    let token = node.token("executor").await?;
    // Without the shell in between: the last words are read on standard error.
    let mut command = Command::new(&lab.programs().executor);
    command
        .args(["supervise-codex", "--"])
        .arg(peer.program())
        .args(remote(&node.url))
        .current_dir(lab.folder("far")?)
        .env("CODEX_HOME", peer.home())
        .env("XDG_STATE_HOME", lab.state())
        .env("FARSTEP_API_KEY", &token)
        .env_remove("CODEX_API_KEY");
    let supervised = Running::start(&mut command)?;
    until_listed(&node, "online").await?;
    // One of ours takes the environment over: another key, so another generation.
    let (_new, key) = node.executor(&lab, "far", &token).await?;
    let done = supervised.finish_within(PATIENCE).await?;
    ensure!(done.code == Some(4), "{:?} {}", done.code, done.err());
    ensure!(
        done.err().contains("two would take it from each other"),
        "{}",
        done.err()
    );
    let listed = node.admin(&["list"]).await?;
    ensure!(
        listed.contains(&key) && listed.contains("online"),
        "{listed}"
    );
    Ok(())
}
