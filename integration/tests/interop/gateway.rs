//! A real `codex exec` drives two executors behind one rendezvous, through two gateways.

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, MockModel, PATIENCE, Peer, Rendezvous, Running, need};
use serde_json::{Value, json};
use tokio::time::Instant;

const LAST: u32 = 400;

/// What each environment is told to do, and in the second the lines amid which the node is killed.
fn script() -> Value {
    let call = |id: &str, environment: &str, command: &str, wait: u32| {
        json!({"call": {"name": "exec_command", "call_id": id, "arguments": {
            "cmd": command, "login": false, "environment_id": environment, "yield_time_ms": wait}}})
    };
    let whose = "readlink /proc/$PPID/cwd";
    let noise = "head -c 6000 /dev/urandom | base64 -w 0 | tee sent";
    let lines = format!(
        "i=0; while [ $i -lt {LAST} ]; do i=$((i+1)); echo line-$i; echo $i > count; sleep 0.02; done"
    );
    json!({
        "name": "the peer drives two environments through two gateways",
        "replies": [
            {"items": [call("one", "one", whose, 10000), call("two", "two", whose, 10000)]},
            {"expect": [{"output_of": "one", "matches": "/one\\b"},
                        {"output_of": "two", "matches": "/two\\b"}],
             "items": [call("noise", "one", noise, 10000)]},
            {"items": [call("lines", "two", &lines, 500)]},
            {"expect": [{"output_of": "lines", "matches": "Process running with session ID \\d+"}],
             "capture": {"SID": {"output_of": "lines", "regex": "session ID (\\d+)"}},
             "items": [{"call": {"name": "write_stdin", "call_id": "rest",
                "arguments": {"session_id": "$int:SID", "yield_time_ms": 30000}}}]},
            {"expect": [{"output_of": "rest", "matches": "exited with code 0"}],
             "items": [{"message": "All done."}]}
        ]
    })
}

/// What the model was told of one call.
fn output_of(record: &str, call: &str) -> Result<String> {
    let last = record.lines().last().context("no request was recorded")?;
    let mut values = vec![serde_json::from_str::<Value>(last)?];
    while let Some(value) = values.pop() {
        match value {
            Value::Object(fields) => {
                let is_it = fields.get("call_id") == Some(&json!(call));
                if let (true, Some(Value::String(output))) = (is_it, fields.get("output")) {
                    return Ok(output.clone());
                }
                values.extend(fields.into_iter().map(|(_, value)| value));
            }
            Value::Array(items) => values.extend(items),
            _ => {}
        }
    }
    anyhow::bail!("nothing was told of {call}")
}

#[tokio::test]
async fn the_peer_drives_two_environments_of_a_rendezvous_through_two_gateways() -> Result<()> {
    let found = need(
        MockModel::find(),
        "the mock model server beside the checkout",
    );
    let peer = need(Peer::find(), "the peer: FARSTEP_CODEX names no program");
    let (Some(_), Some(peer)) = (found, peer) else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let mut node = Rendezvous::start(&lab).await?;
    let token = node.token("executor").await?;
    let (_one, _) = node.executor(&lab, "one", &token).await?;
    let (_two, _) = node.executor(&lab, "two", &token).await?;
    lab.environments(&[node.entry("one", ""), node.entry("two", "")].concat())?;
    let harness = node.token("harness").await?;
    let mut entries = "default = \"one\"\ninclude_local = false\n".to_owned();
    let mut gateways = Vec::new();
    for id in ["one", "two"] {
        let mut command = lab.farstep(&["connect", "-e", id]);
        let mut gateway = Running::start(command.env("RDV_TOKEN", &harness))?;
        let line = gateway.line().await?;
        let url = line.strip_prefix(&format!("{id} ")).context("an address")?;
        entries.push_str(&format!(
            "[[environments]]\nid = \"{id}\"\nurl = \"{url}\"\n"
        ));
        gateways.push(gateway);
    }
    std::fs::write(peer.home().join("environments.toml"), entries)?;

    let path = lab.path().join("script.json");
    std::fs::write(&path, script().to_string())?;
    let mock = MockModel::start(&lab, &path, &[]).await?;
    std::fs::write(
        peer.home().join("config.toml"),
        format!(
            "model = \"mock-model\"\nmodel_provider = \"mock\"\napproval_policy = \"never\"\n\
             sandbox_mode = \"danger-full-access\"\n[model_providers.mock]\nname = \"mock\"\n\
             base_url = \"{}\"\nwire_api = \"responses\"\n",
            mock.url
        ),
    )?;
    // The peer runs commands in its own folder, wherever the environment is.
    let folder = lab.folder("far")?;
    let arguments = ["exec", "--skip-git-repo-check", "--json", "go on"];
    let mut running = Running::start(&mut peer.command(&folder, &arguments))?;
    running.close_input();

    let deadline = Instant::now() + PATIENCE;
    loop {
        let count = std::fs::read_to_string(folder.join("count")).unwrap_or_default();
        if count.trim().parse().unwrap_or(0) >= LAST / 4 {
            break;
        }
        ensure!(Instant::now() < deadline, "it does not count: {count}");
        // There is nothing to await but the file.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    node.kill().await?;
    node.restart().await?;

    let done = running.finish().await?;
    let record = std::fs::read_to_string(&mock.record)?;
    let verdict = mock.verdict().await?;
    ensure!(
        done.code == Some(0) && verdict.code == Some(0),
        "the peer said:\n{}\n{}\nthe script:\n{}\n{}",
        done.out(),
        done.err(),
        verdict.out(),
        verdict.err()
    );
    let sent = std::fs::read_to_string(folder.join("sent"))?;
    ensure!(sent.len() == 8000, "{} bytes were made", sent.len());
    ensure!(
        output_of(&record, "noise")?.contains(&sent),
        "other bytes came"
    );
    let told = output_of(&record, "lines")? + &output_of(&record, "rest")?;
    let lines: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with("line-"))
        .collect();
    let expected: Vec<String> = (1..=LAST).map(|n| format!("line-{n}")).collect();
    ensure!(lines == expected, "{} lines came:\n{told}", lines.len());
    Ok(())
}
