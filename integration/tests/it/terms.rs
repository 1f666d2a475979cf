//! What an entry demands of the machine it leads to, and what it adds to every process there.

use std::time::Duration;

use anyhow::{Result, ensure};
use farstep_integration::{Lab, PATIENCE, Running};
use rustix::process::Signal;
use tokio::process::Command;

#[tokio::test]
async fn the_variables_of_a_url_entry_are_those_of_every_process_there() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("box").await?;
    lab.environments(&format!(
        "default = \"box\"\n[[environments]]\nid = \"box\"\nurl = \"{}\"\n\
         [environments.farstep.env]\nset = {{ GREETING = \"hello\" }}\npass = [\"PATH\"]\n",
        executor.url
    ))?;
    let script = "echo \"$GREETING, ${XDG_STATE_HOME:-nobody}\"";
    let done = lab.run(&["exec", "--", "sh", "-c", script]).await?;
    ensure!(
        done.out() == "hello, nobody\n",
        "{}{}",
        done.out(),
        done.err()
    );
    let detached = lab.run(&["exec", "-d", "--", "sh", "-c", script]).await?;
    ensure!(detached.code == Some(0), "{}", detached.err());
    let job = detached.out().trim().to_owned();
    let ended = lab.run(&["wait", &job]).await?;
    ensure!(ended.code == Some(0), "{}", ended.err());
    let said = lab.run(&["logs", &job]).await?;
    ensure!(
        said.out() == "hello, nobody\n",
        "{}{}",
        said.out(),
        said.err()
    );
    Ok(())
}

#[tokio::test]
async fn nothing_runs_on_another_machine_than_the_entry_says_or_without_its_confinement()
-> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("box").await?;
    for (key, told) in [
        ("os = \"windows\"", "`farstep.os` is \"windows\""),
        ("arch = \"sparc\"", "`farstep.arch` is \"sparc\""),
        (
            "permission_profile = \"workspace-write\"",
            "`permission_profile = \"workspace-write\"`",
        ),
    ] {
        lab.environments(&format!(
            "default = \"box\"\n[[environments]]\nid = \"box\"\nurl = \"{}\"\nfarstep = {{ {key} }}\n",
            executor.url
        ))?;
        let done = lab.run(&["exec", "--", "touch", "made"]).await?;
        ensure!(
            done.code == Some(255) && done.err().contains(told),
            "{:?} {}",
            done.code,
            done.err()
        );
        ensure!(!executor.folder.join("made").exists(), "{key}: it ran");
    }
    // Whoever came through such a listener would not be confined.
    let done = lab.run(&["connect", "-e", "box"]).await?;
    ensure!(
        done.code == Some(2) && done.err().contains("`permission_profile`"),
        "{:?} {}",
        done.code,
        done.err()
    );
    Ok(())
}

#[tokio::test]
async fn a_label_stands_for_the_first_environment_that_can_be_used() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("box").await?;
    let entry = |id: &str, url: &str, tier: &str| {
        format!(
            "[[environments]]\nid = \"{id}\"\nurl = \"{url}\"\n\
             farstep = {{ labels = {{ tier = \"{tier}\" }} }}\n"
        )
    };
    lab.environments(&format!(
        "include_local = false\n{}{}{}",
        entry("gone", "ws://127.0.0.1:9", "ci"),
        entry("box", &executor.url, "ci"),
        entry("other", &executor.url, "prod"),
    ))?;
    let done = lab
        .run(&["exec", "-e", "label:tier=ci", "--", "pwd"])
        .await?;
    let folder = format!("{}\n", executor.folder.display());
    ensure!(done.out() == folder, "{}{}", done.out(), done.err());
    let ran = lab
        .run(&["exec", "-e", "label:tier=ci", "-d", "--", "true"])
        .await?;
    ensure!(ran.err().contains("`box`"), "{}", ran.err());
    let listed = lab.run(&["ps", "label:tier=ci", "--json"]).await?;
    ensure!(listed.out().lines().count() == 1, "{}", listed.out());
    std::fs::write(executor.folder.join("made:here"), "x")?;
    let listed = lab.run(&["ls", "label:tier=ci:"]).await?;
    ensure!(
        listed.out() == "made:here\n",
        "{}{}",
        listed.out(),
        listed.err()
    );
    let shown = lab.run(&["cat", "label:tier=prod:made:here"]).await?;
    ensure!(shown.out() == "x", "{}{}", shown.out(), shown.err());
    let tested = lab.run(&["env", "test", "--json", "label:tier=ci"]).await?;
    ensure!(
        tested.code == Some(1) && tested.out().lines().count() == 2,
        "{}",
        tested.out()
    );
    let unknown = lab
        .run(&["exec", "-e", "label:tier=dev", "--", "true"])
        .await?;
    ensure!(unknown.code == Some(2), "{:?}", unknown.code);
    ensure!(unknown.err().contains("box (tier=ci)"), "{}", unknown.err());
    Ok(())
}

/// An executor that hangs for longer than its health allows: the connection is given up, and the
/// session goes on over another one as soon as it is back.
#[tokio::test]
async fn an_executor_that_gives_no_sign_of_life_is_recovered_when_it_does_again() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("box").await?;
    lab.environments(&format!(
        "default = \"box\"\n[[environments]]\nid = \"box\"\nurl = \"{}\"\n\
         connect_timeout_sec = 1\n\
         [environments.farstep.health]\ninterval_sec = 0.2\ntimeout_sec = 0.5\n",
        executor.url
    ))?;
    let script = "echo begun; read -r line; echo \"$line\"";
    let log = lab.path().join("log");
    let farstep = lab.farstep(&["exec", "--", "sh", "-c", script]);
    let mut command = Command::new("sh");
    for (name, value) in farstep.as_std().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .args(["-c", "exec \"$@\" 2>\"$0\""])
        .arg(&log)
        .arg(farstep.as_std().get_program())
        .args(farstep.as_std().get_args());
    let mut running = Running::start(&mut command)?;
    ensure!(running.line().await? == "begun");
    executor.running().signal(Signal::STOP)?;
    let told = async {
        while !std::fs::read_to_string(&log)?.contains("gave no sign of life") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    executor.running().signal(Signal::CONT)?;
    told??;
    running.say("still here\n").await?;
    ensure!(running.line().await? == "still here");
    let done = running.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    Ok(())
}
