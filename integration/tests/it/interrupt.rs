//! Control-C: the turn ends, and nothing it started stays.

use anyhow::{Result, ensure};
use farstep_integration::{Lab, Reply, Running, ScriptedModel};
use rustix::process::Signal;
use serde_json::json;

/// Waits until no process carries `mark` in its arguments. There is no event to await: the
/// processes belong to the executor.
async fn gone(mark: &str) -> Result<()> {
    let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
    for _ in 0..500 {
        look.tick().await;
        if !exists(mark)? {
            return Ok(());
        }
    }
    anyhow::bail!("a process with {mark} is still there");
}

fn exists(mark: &str) -> Result<bool> {
    for entry in std::fs::read_dir("/proc")? {
        let line = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line)
            .split('\0')
            .any(|argument| argument == mark)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn control_c_ends_the_turn_and_leaves_no_process_behind() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let mark = format!("mark-{}", std::process::id());
    let command = format!("echo up; exec sh -c 'while :; do sleep 1; done' {mark}");
    let ready = far.folder.join("ready");
    let script = format!("touch ready; {command}");
    let model = ScriptedModel::start(move |number, _| match number {
        0 => Reply::default().call(
            "long",
            "exec_command",
            &json!({"cmd": script, "yield_time_ms": 30000}),
        ),
        _ => Reply::message("not reached"),
    })
    .await?;
    let mut command = lab.farstep(&[
        "run",
        "work",
        "--json",
        "--model",
        "m",
        "--base-url",
        &model.url,
    ]);
    let running = Running::start(&mut command)?;
    let mut look = tokio::time::interval(std::time::Duration::from_millis(10));
    while !ready.exists() || !exists(&mark)? {
        look.tick().await;
    }
    running.signal(Signal::INT)?;
    let done = running.finish().await?;
    ensure!(
        done.code == Some(130),
        "{:?}: {}\n{}",
        done.code,
        done.out(),
        done.err()
    );
    gone(&mark).await?;
    assert_eq!(model.requests().len(), 1);
    Ok(())
}
