//! The scripts that describe a model's behaviour, played in strict mode against `farstep run`.

use anyhow::{Result, ensure};
use farstep_integration::{Lab, MockModel, need};

fn found() -> Option<()> {
    need(
        MockModel::find(),
        "the mock model server beside the checkout",
    )
    .map(drop)
}

/// Runs `farstep run` against `mock` and asks the script for its verdict.
async fn play(lab: &Lab, mock: MockModel, arguments: &[&str]) -> Result<Vec<serde_json::Value>> {
    let url = mock.url.clone();
    let mut all = vec![
        "run",
        "do what the script wants",
        "--json",
        "--model",
        "mock",
        "--base-url",
        &url,
    ];
    all.extend_from_slice(arguments);
    let done = lab.run(&all).await?;
    let verdict = mock.verdict().await?;
    ensure!(
        verdict.code == Some(0),
        "the script is not content:\n{}\n{}\nfarstep said:\n{}\n{}",
        verdict.out(),
        verdict.err(),
        done.out(),
        done.err()
    );
    ensure!(
        done.code == Some(0),
        "farstep failed:\n{}\n{}",
        done.out(),
        done.err()
    );
    done.json_lines()
}

#[tokio::test]
async fn one_environment_exec_poll_terminal_and_patch() -> Result<()> {
    let Some(()) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let mock = MockModel::play(&lab, "exec_and_poll.json", &[]).await?;
    let events = play(&lab, mock, &[]).await?;
    assert_eq!(
        std::fs::read_to_string(far.folder.join("notes/one.txt"))?,
        "first\n"
    );
    assert_eq!(
        events.last().map(|event| event["type"].clone()),
        Some("turn.completed".into())
    );
    Ok(())
}

#[tokio::test]
async fn two_environments_each_call_runs_where_it_says() -> Result<()> {
    let Some(()) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let alpha = lab.executor("alpha").await?;
    let beta = lab.executor("beta").await?;
    lab.websockets(&[("alpha", &alpha.url), ("beta", &beta.url)])?;
    let mock = MockModel::play(&lab, "two_environments.yaml", &[]).await?;
    let events = play(&lab, mock, &["-e", "alpha", "-e", "beta", "--blocking"]).await?;
    assert_eq!(
        std::fs::read_to_string(beta.folder.join("made-in-other.txt"))?,
        "x\n"
    );
    assert!(!alpha.folder.join("made-in-other.txt").exists());
    let ran: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "item.completed")
        .filter(|event| event["item"]["type"] == "command_execution")
        .map(|event| {
            let item = &event["item"];
            (
                item["environment_id"].clone(),
                item["aggregated_output"].clone(),
            )
        })
        .collect();
    assert!(
        ran.contains(&("alpha".into(), "from-primary\n".into())),
        "{ran:?}"
    );
    assert!(
        ran.contains(&("beta".into(), "from-other\n".into())),
        "{ran:?}"
    );
    Ok(())
}

#[tokio::test]
async fn faults_on_the_stream_repeat_nothing() -> Result<()> {
    let Some(()) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let mock = MockModel::play(&lab, "stream_faults.json", &[]).await?;
    play(&lab, mock, &["--stream-max-retries", "5"]).await?;
    assert_eq!(
        std::fs::read_to_string(far.folder.join("once.txt"))?,
        "once\n"
    );
    Ok(())
}

#[tokio::test]
async fn end_turn_decides_only_when_no_call_is_open() -> Result<()> {
    let Some(()) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    // The end_turn part of the script; what follows it belongs to compaction.
    let script = serde_json::json!({
        "name": "end_turn semantics",
        "replies": [
            {"items": [{"message": "not finished yet"}], "end_turn": false},
            {"items": [{"message": "still going"}], "end_turn": false,
             "expect": [{"input": "not finished yet"}]},
            {"items": [{"call": {"name": "exec_command", "call_id": "ran",
                "arguments": {"cmd": "echo seen"}}}], "end_turn": true,
             "expect": [{"input": "still going"}]},
            {"items": [{"message": "finished"}], "end_turn": true,
             "expect": [{"output_of": "ran", "matches": "seen"}]}
        ]
    });
    let path = lab.path().join("script.json");
    std::fs::write(&path, script.to_string())?;
    let mock = MockModel::start(&lab, &path, &[]).await?;
    let events = play(&lab, mock, &[]).await?;
    let messages: Vec<_> = events
        .iter()
        .filter(|event| event["item"]["type"] == "agent_message")
        .filter(|event| event["type"] == "item.completed")
        .map(|event| event["item"]["text"].clone())
        .collect();
    assert_eq!(messages, ["not finished yet", "still going", "finished"]);
    Ok(())
}

#[tokio::test]
async fn a_late_environment_is_seen_by_the_next_step_only() -> Result<()> {
    let Some(()) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let alpha = lab.executor("alpha").await?;
    let beta = lab.executor("beta").await?;
    let asked = lab.path().join("asked.flag");
    // The gate holds beta back until the model was asked for the second time.
    let gate = crate::scripts::gate(&beta.url, asked.clone()).await?;
    lab.websockets(&[("alpha", &alpha.url), ("beta", &gate.0)])?;
    let flag = asked.to_string_lossy().into_owned();
    let mock = MockModel::play(&lab, "late_environment.json", &[("ASKED", &flag)]).await?;
    play(&lab, mock, &["-e", "alpha", "-e", "beta", "--deferred"]).await?;
    drop(gate);
    Ok(())
}

#[tokio::test]
async fn blocking_start_waits_for_the_late_environment() -> Result<()> {
    let Some(()) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let alpha = lab.executor("alpha").await?;
    let beta = lab.executor("beta").await?;
    let open = lab.path().join("open.flag");
    let gate = crate::scripts::gate(&beta.url, open.clone()).await?;
    lab.websockets(&[("alpha", &alpha.url), ("beta", &gate.0)])?;
    let script = serde_json::json!({
        "name": "blocking start",
        "replies": [
            {"expect": [{"input_not": "<status>starting</status>"}, {"no_tool": "wait_for_environment"}],
             "items": [{"call": {"name": "exec_command", "call_id": "there",
                "arguments": {"cmd": "pwd", "environment_id": "beta"}}}]},
            {"expect": [{"output_of": "there", "matches": "/beta\\n"}],
             "items": [{"message": "done"}]}
        ]
    });
    let path = lab.path().join("script.json");
    std::fs::write(&path, script.to_string())?;
    let mock = MockModel::start(&lab, &path, &[]).await?;
    let opening = async {
        // The connection attempt has reached the gate, so the turn is waiting: open it.
        gate.1.notified().await;
        std::fs::write(&open, "open")
    };
    let arguments = ["-e", "alpha", "-e", "beta", "--blocking"];
    let (played, opened) = tokio::join!(play(&lab, mock, &arguments), opening);
    opened?;
    played?;
    Ok(())
}

type Gate = (
    String,
    std::sync::Arc<tokio::sync::Notify>,
    tokio_util::task::AbortOnDropHandle<()>,
);

/// A listener in front of `url` that accepts, but passes nothing on until `flag` exists. The
/// second part is notified when somebody knocks.
async fn gate(url: &str, flag: std::path::PathBuf) -> Result<Gate> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let own = format!("ws://{}", listener.local_addr()?);
    let target = url.trim_start_matches("ws://").to_owned();
    let knocked = std::sync::Arc::new(tokio::sync::Notify::new());
    let knock = knocked.clone();
    let task = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            knock.notify_one();
            let mut look = tokio::time::interval(std::time::Duration::from_millis(10));
            while !flag.exists() {
                look.tick().await;
            }
            if let Ok(mut far) = tokio::net::TcpStream::connect(&target).await {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        }
    });
    Ok((own, knocked, tokio_util::task::AbortOnDropHandle::new(task)))
}
