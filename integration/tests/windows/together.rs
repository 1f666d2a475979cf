//! Our own client and the real peer drive a Windows executor from this machine.

use anyhow::{Result, ensure};
use farstep_integration::{Lab, MockModel, Peer, Running, need, recipe};
use serde_json::{Value, json};

use crate::machine::Windows;

/// An entry of `environments.toml` that starts the executor under Wine.
pub(crate) fn entry(windows: &Windows, ours: bool) -> Result<String> {
    // As the page has it, but for where things are here. The audit log would be everybody's.
    let recipe = recipe("wine")?;
    ensure!(recipe[0] == "wine" && recipe[1].ends_with(r"\farstep-executor.exe"));
    let arguments = recipe[2..].iter().map(|word| format!("{word:?}, "));
    let arguments: String = arguments.collect();
    let mut text = format!(
        "default = \"win\"\ninclude_local = false\n[[environments]]\nid = \"win\"\nprogram = '{}'\n\
         args = ['{}', {arguments}\"--audit-file\", \"off\"]\n\
         initialize_timeout_sec = 60\nenv = {{ WINEPREFIX = '{}', WINEDEBUG = \"-all\" }}\n",
        windows.run.display(),
        windows.program.display(),
        windows.prefix().display(),
    );
    if ours {
        text += "[environments.farstep]\ncwd = 'C:\\windows'\nos = \"windows\"\n";
    }
    Ok(text)
}

#[tokio::test]
async fn farstep_runs_commands_and_the_model_works_on_windows() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let lab = Lab::new()?;
    lab.environments(&entry(&windows, true)?)?;
    let tested = lab.run(&["env", "test", "win"]).await?;
    ensure!(tested.code == Some(0), "{}\n{}", tested.out(), tested.err());

    let line = "cd & echo err 1>&2 & exit 9";
    let done = lab.run(&["exec", "--", "cmd", "/c", line]).await?;
    ensure!(done.code == Some(9), "{:?} {}", done.code, done.err());
    assert_eq!(done.out().trim_end(), "C:\\windows");
    assert_eq!(done.err().trim_end(), "err");

    let Some(_) = need(
        MockModel::find(),
        "the mock model server beside the checkout",
    ) else {
        return Ok(());
    };
    let (_, folder) = windows.folder()?;
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let script = json!({
        "name": "a model works on Windows",
        "replies": [
            {"items": [{"call": {"name": "exec_command", "call_id": "where",
                "arguments": {"cmd": "cd & exit 5", "workdir": format!("C:\\{name}")}}}]},
            {"expect": [{"output_of": "where", "matches": "exited with code 5"},
                        {"output_of": "where", "matches": format!("C:\\\\{name}")}],
             "items": [{"call": {"name": "exec_command", "call_id": "make",
                "arguments": {"cmd": "mkdir made && echo one> made\\one.txt",
                              "workdir": format!("C:\\{name}")}}}]},
            {"expect": [{"output_of": "make", "matches": "exited with code 0"}],
             "items": [{"message": "All done."}]}
        ]
    });
    let path = lab.path().join("script.json");
    std::fs::write(&path, script.to_string())?;
    let mock = MockModel::start(&lab, &path, &[]).await?;
    let url = mock.url.clone();
    let done = lab
        .run(&[
            "run",
            "go on",
            "--json",
            "--model",
            "mock",
            "--base-url",
            &url,
        ])
        .await?;
    let verdict = mock.verdict().await?;
    ensure!(
        done.code == Some(0) && verdict.code == Some(0),
        "farstep said:\n{}\n{}\nthe script:\n{}\n{}",
        done.out(),
        done.err(),
        verdict.out(),
        verdict.err()
    );
    assert_eq!(
        std::fs::read_to_string(folder.join("made/one.txt"))?.trim_end(),
        "one"
    );
    Ok(())
}

#[tokio::test]
async fn the_peer_drives_our_executor_on_windows() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let Some(peer) = need(Peer::find(), "the peer: FARSTEP_CODEX names no program") else {
        return Ok(());
    };
    let Some(_) = need(
        MockModel::find(),
        "the mock model server beside the checkout",
    ) else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let (_, folder) = windows.folder()?;
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let script = json!({
        "name": "the peer drives our executor on Windows",
        "replies": [
            {"items": [{"call": {"name": "exec_command", "call_id": "make",
                "arguments": {"cmd": "cd & echo made> by-the-peer.txt & exit 5",
                              "login": false}}}]},
            {"expect": [{"output_of": "make", "matches": "exited with code 5"},
                        {"output_of": "make", "matches": format!("C:\\\\{name}")}],
             "items": [{"message": "All done."}]}
        ]
    });
    let path = lab.path().join("script.json");
    std::fs::write(&path, script.to_string())?;
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
    std::fs::write(
        peer.home().join("environments.toml"),
        entry(&windows, false)?,
    )?;
    // `codex exec` takes its own folder for that of every environment, which no Windows machine
    // has; its server is told another one.
    let mut peer = Running::start(&mut peer.command(lab.path(), &["app-server"]))?;
    let initialize = json!({
        "clientInfo": {"name": "test", "version": "0"}, "capabilities": {"experimentalApi": true},
    });
    ask(&mut peer, 1, "initialize", initialize).await?;
    peer.say("{\"method\":\"initialized\"}\n").await?;
    let thread = json!({"environments": [{"environmentId": "win", "cwd": format!("C:\\{name}")}]});
    let thread = ask(&mut peer, 2, "thread/start", thread).await?;
    let turn = json!({
        "threadId": thread["thread"]["id"], "input": [{"type": "text", "text": "go on"}],
    });
    ask(&mut peer, 3, "turn/start", turn).await?;
    until(&mut peer, |message| message["method"] == "turn/completed").await?;
    let done = peer.finish().await?;
    let verdict = mock.verdict().await?;
    ensure!(
        verdict.code == Some(0),
        "the peer said:\n{}\n{}\nthe script:\n{}\n{}",
        done.out(),
        done.err(),
        verdict.out(),
        verdict.err()
    );
    assert_eq!(
        std::fs::read_to_string(folder.join("by-the-peer.txt"))?.trim_end(),
        "made"
    );
    Ok(())
}

/// Asks the peer's server, and waits for the answer.
async fn ask(peer: &mut Running, id: u64, method: &str, params: Value) -> Result<Value> {
    let request = json!({"id": id, "method": method, "params": params});
    peer.say(&format!("{request}\n")).await?;
    let mut answer = until(peer, |message| message["id"] == id).await?;
    ensure!(answer.get("error").is_none(), "{method}: {answer}");
    Ok(answer["result"].take())
}

async fn until(peer: &mut Running, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    loop {
        let message: Value = serde_json::from_str(&peer.line().await?)?;
        if wanted(&message) {
            return Ok(message);
        }
    }
}
