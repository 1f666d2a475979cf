//! A real `codex exec-server --remote` at our rendezvous, driven by `farstep`.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, PATIENCE, Peer, Records, Rendezvous, Running, need};
use tokio::time::{Duration, Instant};

/// Waits until the node says so of the environment.
pub(crate) async fn until_listed(node: &Rendezvous, word: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let listed = node.admin(&["list"]).await?;
        if listed.contains(word) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{listed}");
        // The peer says nothing when it is connected.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What the peer is told, to be the environment `far` of a rendezvous.
pub(crate) fn remote(url: &str) -> [&str; 5] {
    ["exec-server", "--remote", url, "--environment-id", "far"]
}

#[tokio::test]
async fn the_peers_executor_registers_stays_and_is_driven() -> Result<()> {
    let Some(peer) = need(Peer::find(), "the peer: FARSTEP_CODEX names no program") else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let mut node = Rendezvous::start(&lab).await?;
    let token = node.token("executor").await?;
    let folder = lab.folder("far")?;
    let url = node.url.clone();
    let arguments = remote(&url);
    let mut command = peer.command(&folder, &arguments);
    let running = Running::start(command.env("CODEX_API_KEY", &token))?;
    until_listed(&node, "online").await?;
    let entry = node.entry("far", "");
    lab.environments(&format!("default = \"far\"\n{entry}"))?;
    let harness = node.token("harness").await?;
    let run = |arguments: &[&str]| {
        let mut command = lab.farstep(arguments);
        Running::start(command.env("RDV_TOKEN", &harness))
    };
    let script = "pwd; head -c 2000000 /dev/zero; exit 9";
    let done = run(&["exec", "--", "sh", "-c", script])?.finish().await?;
    ensure!(done.code == Some(9), "{:?} {}", done.code, done.err());
    let mut expected = format!("{}\n", folder.display()).into_bytes();
    expected.resize(expected.len() + 2_000_000, 0);
    assert!(done.stdout == expected, "{} bytes came", done.stdout.len());

    // The node goes amid numbered lines, and comes back: the peer reconnects by itself.
    let script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; sleep 0.02; done";
    let mut lines = run(&["exec", "--", "sh", "-c", script])?;
    for expected in 1..=50 {
        assert_eq!(lines.line().await?, expected.to_string());
    }
    node.kill().await?;
    node.restart().await?;
    for expected in 51..=300 {
        assert_eq!(lines.line().await?, expected.to_string());
    }
    let done = lines.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    running.pid().context("the peer ended")?;
    Ok(())
}

#[tokio::test]
async fn a_peer_that_was_superseded_stays_away() -> Result<()> {
    let Some(peer) = need(Peer::find(), "the peer: FARSTEP_CODEX names no program") else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    let token = node.token("executor").await?;
    let folder = lab.folder("far")?;
    let arguments = remote(&node.url);
    let mut command = peer.command(&folder, &arguments);
    let old = Running::start(command.env("CODEX_API_KEY", &token))?;
    until_listed(&node, "online").await?;
    // One of ours takes the environment over: another key, so another generation.
    let (_new, key) = node.executor(&lab, "far", &token).await?;
    let done = old.finish_within(PATIENCE).await?;
    ensure!(done.code == Some(1), "{:?}", done.code);
    ensure!(
        done.err().contains("took this environment over"),
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

/// A node that speaks TLS, and the file of who vouches for it: itself, and whoever is told so believes
/// it.
pub(crate) async fn speaking_tls(lab: &Lab) -> Result<(Rendezvous, String)> {
    let (certificate, key) = (lab.path().join("cert.pem"), lab.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
    let authority = certificate.clone();
    let [certificate, key] = [&certificate, &key].map(|path| path.display().to_string());
    let flags = ["--tls-cert", &certificate, "--tls-key", &key];
    let mut node = Rendezvous::start_with(lab, &flags).await?;
    ensure!(node.url.starts_with("https://"), "{}", node.url);
    node.vouched_by(authority);
    Ok((node, certificate))
}

#[tokio::test]
async fn the_peers_executor_registers_at_a_node_that_speaks_tls() -> Result<()> {
    let Some(peer) = need(Peer::find(), "the peer: FARSTEP_CODEX names no program") else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let (node, certificate) = speaking_tls(&lab).await?;
    let token = node.token("executor").await?;
    let arguments = remote(&node.url);
    let mut command = peer.command(&lab.folder("far")?, &arguments);
    command
        .env("CODEX_API_KEY", &token)
        .env("SSL_CERT_FILE", &certificate);
    let running = Running::start(&mut command)?;
    until_listed(&node, "online").await?;
    let entry = node.entry("far", "");
    lab.environments(&format!("default = \"far\"\n{entry}"))?;
    let mut command = lab.farstep(&["exec", "--", "echo", "through"]);
    command
        .env("RDV_TOKEN", node.token("harness").await?)
        .env("SSL_CERT_FILE", &certificate);
    let done = Running::start(&mut command)?.finish().await?;
    ensure!(done.out() == "through\n", "{}\n{}", done.out(), done.err());
    running.pid().context("the peer ended")?;
    Ok(())
}

#[tokio::test]
async fn the_peers_executor_is_not_talked_to_by_who_insists_on_padding_and_never_meets_it()
-> Result<()> {
    let Some(peer) = need(Peer::find(), "the peer: FARSTEP_CODEX names no program") else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let mut node = Rendezvous::start(&lab).await?;
    let records = Records::start(&node.url).await?;
    node.move_behind(&records.url).await?;
    let token = node.token("executor").await?;
    let arguments = remote(&node.url);
    let mut command = peer.command(&lab.folder("far")?, &arguments);
    let running = Running::start(command.env("CODEX_API_KEY", &token))?;
    until_listed(&node, "online").await?;
    let harness = node.token("harness").await?;
    for (more, code, words) in [("padding = true", 255, "`farstep.padding`"), ("", 0, "")] {
        let entry = node.entry("far", more);
        lab.environments(&format!("default = \"far\"\n{entry}"))?;
        let mut command = lab.farstep(&["exec", "--", "echo", "told"]);
        let done = Running::start(command.env("RDV_TOKEN", &harness))?;
        let done = done.finish().await?;
        ensure!(done.code == Some(code), "{:?} {}", done.code, done.err());
        ensure!(done.err().contains(words), "{}", done.err());
        ensure!((done.out() == "told\n") == (code == 0), "{}", done.out());
        let seen = records.take();
        ensure!(!seen.is_empty(), "nothing was said");
        ensure!(seen.iter().all(|record| record.bytes > 0), "{seen:?}");
    }
    running.pid().context("the peer ended")?;
    Ok(())
}
