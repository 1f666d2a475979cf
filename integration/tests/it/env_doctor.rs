//! `farstep env doctor`: what it finds on the way, and what it says to do about it.

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, Running, Sshd, Stage, need};

/// Columns are as wide as their widest cell, which differs from run to run.
fn squeezed(text: &str) -> String {
    let line = |line: &str| {
        let margin = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{}{}\n", " ".repeat(margin), words.join(" "))
    };
    text.lines().map(line).collect()
}

#[tokio::test]
async fn every_finding_comes_with_a_remedy_and_nothing_secret_is_shown() -> Result<()> {
    let mut stage = Stage::set().await?;
    let mut text = String::new();
    let home = "\"$FARSTEP_HOME/environments.toml\"";
    let entry = |words: &str| format!("printf '[[environments]]\\n{words}' >> {home}");
    for line in [
        entry("id = \"gone\"\\nurl = \"ws://127.0.0.1:9\"\\nauth_bearer_token = \"hush\"\\n"),
        entry("id = \"absent\"\\nprogram = \"no-such-program\"\\n"),
        entry(
            "id = \"noisy\"\\nprogram = \"sh\"\\nargs = [\"-c\", \"echo Welcome; exec farstep-executor --listen stdio\"]\\n",
        ),
        entry(
            "id = \"silent\"\\nprogram = \"sh\"\\nargs = [\"-c\", \"exec farstep-executor --listen nonsense\"]\\n",
        ),
        entry(
            "id = \"secret\"\\nurl = \"ws://127.0.0.1:9\"\\n[environments.farstep.auth]\\nbearer = {{ env = \"UNSET_TOKEN\" }}\\n",
        ),
        format!("chmod 644 {home}"),
        "farstep env doctor; echo = $?".to_owned(),
        format!("chmod 600 {home}"),
        "farstep env doctor builder; echo = $?".to_owned(),
        "farstep env doctor nobody; echo = $?".to_owned(),
        format!("echo nonsense >> {home}"),
        "farstep env doctor; echo = $?".to_owned(),
    ] {
        let printed = stage
            .run(&line.replace("{{", "{").replace("}}", "}"))
            .await?;
        ensure!(!printed.contains("hush"), "{printed}");
        if line.starts_with("farstep") {
            text.push_str(&format!("$ {line}\n{}", squeezed(&printed)));
        }
    }
    insta::assert_snapshot!(text);
    Ok(())
}

#[tokio::test]
async fn a_program_reads_one_finding_a_line() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("box").await?;
    lab.websockets(&[("box", &executor.url), ("gone", "ws://127.0.0.1:9")])?;
    let told = lab.run(&["env", "doctor", "--json"]).await?;
    ensure!(told.code == Some(1), "{}", told.err());
    let lines = told.json_lines()?;
    let about = |environment: &str| -> Vec<(String, String)> {
        let word = |line: &serde_json::Value, key: &str| line[key].as_str().map(str::to_owned);
        let mine = lines
            .iter()
            .filter(|line| line["environment"] == environment);
        mine.filter_map(|line| Some((word(line, "check")?, word(line, "result")?)))
            .collect()
    };
    let checks: Vec<String> = about("box").into_iter().map(|(check, _)| check).collect();
    for check in [
        "tcp",
        "upgrade",
        "initialize",
        "version",
        "clock",
        "files",
        "process",
        "round_trip",
    ] {
        ensure!(checks.iter().any(|one| one == check), "{check}: {checks:?}");
    }
    ensure!(
        about("box").iter().all(|(_, result)| result == "ok"),
        "{:?}",
        about("box")
    );
    ensure!(
        about("gone").last() == Some(&("tcp".to_owned(), "failed".to_owned())),
        "{:?}",
        about("gone")
    );
    let timed = |line: &&serde_json::Value| line["check"] == "tcp";
    let tcp = lines.iter().find(timed).context("no tcp")?;
    ensure!(
        tcp["took_ms"].as_f64().is_some_and(|took| took >= 0.0),
        "{tcp}"
    );
    let failed = lines.iter().filter(|line| line["result"] != "ok");
    ensure!(failed.clone().count() > 0 && failed.clone().all(|line| line["remedy"].is_string()));
    Ok(())
}

#[tokio::test]
async fn a_login_is_tried_on_its_own_and_what_it_prints_is_told() -> Result<()> {
    if need(
        Sshd::is_here().then_some(()),
        "ssh and sshd (openssh-server)",
    )
    .is_none()
    {
        return Ok(());
    }
    let lab = Lab::new()?;
    let noisy = "echo Welcome to box; eval \"$SSH_ORIGINAL_COMMAND\"";
    let sshd = Sshd::start(&lab, "noisy", noisy).await?;
    let executor = lab.programs().executor.display();
    let ssh = |id: &str, host: &str, command: &str| {
        format!(
            "[[environments]]\nid = \"{id}\"\nprogram = \"ssh\"\n\
             args = [\"-T\", \"{host}\", \"{command}\"]\n"
        )
    };
    let entries = [
        ssh(
            "box",
            "box",
            &format!("exec {executor} --listen stdio --allow-root"),
        ),
        ssh("empty", "box", "exec /no/such/executor --listen stdio"),
        ssh("stranger", "stranger", "exec true"),
    ];
    lab.environments(&format!("include_local = false\n{}", entries.concat()))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = lab.farstep(&["env", "doctor"]);
    command.env("PATH", format!("{}:{path}", sshd.bin().display()));
    let told = Running::start(&mut command)?.finish().await?;
    ensure!(told.code == Some(1), "{}", told.err());
    let text = squeezed(&told.out());
    for (what, words) in [
        ("the login is timed", "ok ssh "),
        ("its noise", "warning login output"),
        ("its noise in the protocol", "warning initialize"),
        (
            "how to be rid of it",
            "try: print it in interactive shells only",
        ),
        ("it works all the same", "ok process"),
        ("a missing executor", "try: put the executor there"),
        ("a key that is not let in", "FAILED ssh"),
        (
            "what helps",
            "try: put your key there with `ssh-copy-id stranger`",
        ),
    ] {
        ensure!(text.contains(words), "{what}: {text}");
    }
    Ok(())
}
