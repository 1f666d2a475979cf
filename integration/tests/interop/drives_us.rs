//! A real `codex exec` with the mock model drives our executor.

use anyhow::{Result, ensure};
use farstep_integration::{Lab, MockModel, Peer, Rendezvous, Running, need};
use serde_json::json;

use crate::rendezvous::speaking_tls;

/// Commands, a terminal and files; the peer offers `apply_patch` only to models it knows, so the
/// patch travels as the shell command it intercepts.
fn script() -> serde_json::Value {
    json!({
        "name": "the peer drives our executor",
        "replies": [
            {"items": [{"call": {"name": "exec_command", "call_id": "where",
                "arguments": {"cmd": "pwd; echo err >&2; exit 5", "login": false}}}]},
            {"expect": [{"output_of": "where", "matches": "exited with code 5"},
                        {"output_of": "where", "matches": "/far"}],
             "items": [{"call": {"name": "exec_command", "call_id": "slow",
                "arguments": {"cmd": "echo tick; sleep 2; echo tock; exit 7", "login": false,
                              "yield_time_ms": 500}}}]},
            {"expect": [{"output_of": "slow", "matches": "Process running with session ID \\d+"}],
             "capture": {"SID": {"output_of": "slow", "regex": "session ID (\\d+)"}},
             "items": [{"call": {"name": "write_stdin", "call_id": "poll",
                "arguments": {"session_id": "$int:SID", "yield_time_ms": 10000}}}]},
            {"expect": [{"output_of": "poll", "matches": "exited with code 7\\n.*tock"}],
             "items": [{"call": {"name": "exec_command", "call_id": "tty",
                "arguments": {"cmd": "cat", "tty": true, "login": false, "yield_time_ms": 500}}}]},
            {"capture": {"SID": {"output_of": "tty", "regex": "session ID (\\d+)"}},
             "items": [{"call": {"name": "write_stdin", "call_id": "typed",
                "arguments": {"session_id": "$int:SID", "chars": "hello\n\u{4}",
                              "yield_time_ms": 3000}}}]},
            {"expect": [{"output_of": "typed", "matches": "hello\\r?\\nhello"}],
             "items": [{"call": {"name": "exec_command", "call_id": "patch", "arguments": {"login": false,
                "cmd": "apply_patch <<'EOF'\n*** Begin Patch\n*** Add File: notes/one.txt\n+first\n*** End Patch\nEOF\n"}}}]},
            {"expect": [{"output_of": "patch", "matches": "A notes/one.txt"}],
             "items": [{"message": "All done."}]}
        ]
    })
}

/// How the peer is told where the executor is.
enum Told<'a> {
    /// By an entry of its `environments.toml`.
    Entry(&'a str),
    /// By variables, which is how it takes a rendezvous.
    Variables(&'a [(&'a str, &'a str)]),
}

/// Plays the script with `codex exec`.
async fn play(lab: &Lab, peer: &Peer, told: Told<'_>) -> Result<()> {
    let path = lab.path().join("script.json");
    std::fs::write(&path, script().to_string())?;
    let mock = MockModel::start(lab, &path, &[]).await?;
    std::fs::write(
        peer.home().join("config.toml"),
        format!(
            "model = \"mock-model\"\nmodel_provider = \"mock\"\napproval_policy = \"never\"\n\
             sandbox_mode = \"danger-full-access\"\n[model_providers.mock]\nname = \"mock\"\n\
             base_url = \"{}\"\nwire_api = \"responses\"\n",
            mock.url
        ),
    )?;
    if let Told::Entry(entry) = told {
        let head = "default = \"far\"\ninclude_local = false\n[[environments]]\nid = \"far\"\n";
        let text = format!("{head}{entry}");
        std::fs::write(peer.home().join("environments.toml"), text)?;
    }
    // The peer runs commands in its own folder, wherever the environment is.
    let folder = lab.folder("far")?;
    let mut command = peer.command(
        &folder,
        &["exec", "--skip-git-repo-check", "--json", "go on"],
    );
    if let Told::Variables(variables) = told {
        command.envs(variables.iter().copied());
    }
    let mut running = Running::start(&mut command)?;
    running.close_input();
    let done = running.finish().await?;
    let verdict = mock.verdict().await?;
    ensure!(
        done.code == Some(0) && verdict.code == Some(0),
        "the peer said:\n{}\n{}\nthe script:\n{}\n{}",
        done.out(),
        done.err(),
        verdict.out(),
        verdict.err()
    );
    assert_eq!(
        std::fs::read_to_string(folder.join("notes/one.txt"))?,
        "first\n"
    );
    Ok(())
}

fn found() -> Option<Peer> {
    need(
        MockModel::find(),
        "the mock model server beside the checkout",
    )?;
    need(Peer::find(), "the peer: FARSTEP_CODEX names no program")
}

#[tokio::test]
async fn the_peer_drives_our_executor_by_websocket() -> Result<()> {
    let Some(peer) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    let entry = format!("url = \"{}\"\n", far.url);
    play(&lab, &peer, Told::Entry(&entry)).await
}

#[tokio::test]
async fn the_peer_drives_our_executor_through_our_rendezvous() -> Result<()> {
    let Some(peer) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    let token = node.token("executor").await?;
    let (_far, _) = node.executor(&lab, "far", &token).await?;
    let token = node.token("harness").await?;
    let variables = [
        ("CODEX_EXEC_SERVER_NOISE_REGISTRY_URL", node.url.as_str()),
        ("CODEX_EXEC_SERVER_NOISE_ENVIRONMENT_ID", "far"),
        ("CODEX_EXEC_SERVER_NOISE_AUTH_TOKEN", &token),
    ];
    play(&lab, &peer, Told::Variables(&variables)).await
}

#[tokio::test]
async fn the_peer_drives_our_executor_through_a_node_that_speaks_tls() -> Result<()> {
    let Some(peer) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let (node, certificate) = speaking_tls(&lab).await?;
    let token = node.token("executor").await?;
    let (_far, _) = node.executor(&lab, "far", &token).await?;
    let token = node.token("harness").await?;
    let variables = [
        ("CODEX_EXEC_SERVER_NOISE_REGISTRY_URL", node.url.as_str()),
        ("CODEX_EXEC_SERVER_NOISE_ENVIRONMENT_ID", "far"),
        ("CODEX_EXEC_SERVER_NOISE_AUTH_TOKEN", &token),
        ("SSL_CERT_FILE", &certificate),
    ];
    play(&lab, &peer, Told::Variables(&variables)).await
}

#[tokio::test]
async fn the_peer_drives_our_executor_by_stdio() -> Result<()> {
    let Some(peer) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let program = lab.programs().executor.display().to_string();
    let entry = format!(
        "program = '{program}'\nargs = [\"--listen\", \"stdio\", \"--audit-file\", \"off\"]\n"
    );
    play(&lab, &peer, Told::Entry(&entry)).await
}
