//! `--json`: whatever becomes of a command, standard output is one JSON object a line.

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Finished, Lab};

/// What is on standard output, which is JSON or it fails.
fn lines(words: &str, done: &Finished) -> Result<Vec<serde_json::Value>> {
    let lines = done.json_lines();
    let lines = lines.with_context(|| format!("{words}: {}", done.out()))?;
    ensure!(lines.iter().all(serde_json::Value::is_object), "{words}");
    Ok(lines)
}

#[tokio::test]
async fn every_command_prints_json_alone_whether_it_succeeds_or_fails() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    std::fs::write(far.folder.join("f"), "f")?;
    std::fs::write(lab.path().join("here"), "here")?;
    let run = async |words: &str| -> Result<Finished> {
        lab.run(&words.split(' ').collect::<Vec<_>>()).await
    };
    let detached = run("exec --json -e far -d -- true").await?;
    let job = lines("exec -d", &detached)?[0]["job"].clone();
    let job = job.as_str().context("no job")?.to_owned();
    // Each with a place or id that is there, and with one that is not.
    for (works, fails) in [
        (
            "exec --json -n -e far -- echo hi",
            "exec --json -e nowhere -- true",
        ),
        (
            "exec --json -e far -- true",
            "exec --json -e far -- no-such-program",
        ),
        ("shell --json far", "shell --json nowhere"),
        ("cp --json here far:", "cp --json gone far:"),
        ("cp --json far:f .", "cp --json far:f no/such/folder/"),
        ("ls --json far:", "ls --json far:gone"),
        ("cat --json far:f", "cat --json far:gone"),
        ("mkdir --json far:d", "mkdir --json far:d"),
        ("rm --json -r far:d", "rm --json far:d"),
        ("ps --json", "ps --json nowhere"),
        ("logs --json JOB", "logs --json gone"),
        ("wait --json JOB", "wait --json gone"),
        ("kill --json JOB", "kill --json gone"),
        ("env list --json", "env test --json nowhere"),
        ("env test --json far", "env test --json far nowhere"),
        ("env doctor --json far", "env doctor --json nowhere"),
        (
            "env add --json --no-test new --url ws://127.0.0.1:9",
            "env add --json new --url ws://127.0.0.1:9",
        ),
        (
            "env default --json --dry-run new",
            "env default --json nowhere",
        ),
        (
            "env export --json --for codex",
            "env export --json --for codex --out .",
        ),
        ("env remove --json new", "env remove --json new"),
    ] {
        let words = works.replace("JOB", &job);
        let done = run(&words).await?;
        ensure!(
            done.code == Some(0),
            "{words}: {:?} {}",
            done.code,
            done.err()
        );
        let told = lines(&words, &done)?;
        ensure!(
            told.iter().all(|line| line["type"] != "error"),
            "{words}: {}",
            done.out()
        );
        let silent = words.starts_with("shell");
        ensure!(silent || !told.is_empty(), "{words} says nothing");
        let words = fails;
        let done = run(words).await?;
        ensure!(done.code != Some(0), "{words} works");
        ensure!(!done.err().is_empty(), "{words} tells no person");
        let told = lines(words, &done)?;
        let is_told = |line: &serde_json::Value| {
            line["error"].is_string() || line["remedy"].is_string() || line["ok"] == false
        };
        ensure!(
            told.iter().any(is_told),
            "{words} tells no program: {}",
            done.out()
        );
    }
    Ok(())
}
