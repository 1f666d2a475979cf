//! A file that was exported for the peer is one it loads.

use anyhow::{Result, ensure};
use farstep_integration::{Lab, Peer, Running, need};

const OURS: &str = r#"
# Machines.
default = "box"

[farstep]
on_primary_failure = "error"

[[environments]]
id = "box"
program = "ssh"
args = ["-T", "box", "exec farstep-executor --listen stdio"]

[environments.farstep]
cwd = "/srv"
env = { set = { LANG = "C" } }

[[environments]]
id = "far"
url = "ws://127.0.0.1:9"
farstep = { labels = { tier = "ci" } }
"#;

#[tokio::test]
async fn the_peer_loads_what_is_exported_for_it() -> Result<()> {
    let Some(peer) = need(Peer::find(), "FARSTEP_CODEX") else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let path = peer.home().join("environments.toml");
    // What reads the file and then shows what a model would be told; it needs no model.
    let load = async |text: &str| -> Result<(bool, String)> {
        std::fs::write(&path, text)?;
        let mut command = peer.command(lab.path(), &["debug", "prompt-input", "hello"]);
        let ended = Running::start(&mut command)?.finish().await?;
        Ok((ended.code == Some(0), ended.out() + &ended.err()))
    };
    let (loads, told) = load(OURS).await?;
    ensure!(!loads && told.contains("unknown field `farstep`"), "{told}");

    lab.environments(OURS)?;
    let exported = lab.run(&["env", "export", "--for", "codex"]).await?;
    let text = exported.out();
    ensure!(exported.code == Some(0), "{}", exported.err());
    ensure!(
        text.contains("# Machines.") && text.contains("LANG"),
        "{text}"
    );
    for lost in [
        "on_primary_failure",
        "`box`: without `farstep.cwd`",
        "farstep.labels",
    ] {
        ensure!(exported.err().contains(lost), "{lost}: {}", exported.err());
    }
    let (loads, told) = load(&text).await?;
    ensure!(loads && told.contains("hello"), "{told}");
    Ok(())
}
