//! `farstep-executor supervise-codex`, with stand-ins for a codex that takes its credential on
//! standard input: a script that says what it got, and our own executor, whose flags are the same.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Finished, Lab, PATIENCE, Rendezvous, Running};
use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Duration, interval, timeout};

const SECRET: &str = "canary-credential-7c1f";

/// The supervisor of a command, with flags of its own.
fn supervisor(lab: &Lab, flags: &[&str], command: &[&str]) -> Command {
    let mut supervisor = Command::new(&lab.programs().executor);
    supervisor
        .arg("supervise-codex")
        .args(flags)
        .arg("--")
        .args(command)
        .current_dir(lab.path())
        .env("XDG_STATE_HOME", lab.state())
        .env_remove("FARSTEP_API_KEY")
        .env_remove("CODEX_API_KEY");
    supervisor
}

/// A script under supervision, whose credential is [`SECRET`].
fn script(lab: &Lab, flags: &[&str], text: &str) -> Command {
    let mut supervisor = supervisor(lab, flags, &["sh", "-c", text, "--environment-id", "box"]);
    supervisor.env("FARSTEP_API_KEY", SECRET);
    supervisor
}

async fn finished(mut command: Command) -> Result<Finished> {
    Running::start(&mut command)?.finish().await
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    // At once, as whoever rotates a credential does.
    let draft = path.with_extension("new");
    fs::write(&draft, text)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(mode))?;
    Ok(fs::rename(draft, path)?)
}

fn pid(line: &str) -> Result<Pid> {
    Pid::from_raw(line.trim().parse()?).context("0 is no process")
}

/// Waits until a process is no more.
async fn gone(pid: Pid) -> Result<()> {
    let looking = async {
        let mut look = interval(Duration::from_millis(10));
        while test_kill_process(pid).is_ok() {
            look.tick().await;
        }
    };
    let looked = timeout(PATIENCE, looking).await;
    looked.with_context(|| format!("{pid:?} is still there"))
}

#[tokio::test]
async fn a_command_gets_its_credential_in_the_form_it_asks_for() -> Result<()> {
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    let (token, harness) = (node.token("executor").await?, node.token("harness").await?);
    let forms = [
        ("variable", None),
        ("line", Some("--registration-bearer-stdin")),
        ("frames", Some("--executor-credential-stdin")),
    ];
    let entries = forms.map(|(environment, _)| node.entry(environment, ""));
    lab.environments(&entries.concat())?;
    let file = lab.path().join("credential");
    write(&file, &format!("{token}\n"), 0o600)?;
    let (program, file) = (lab.programs().executor.display(), file.display());
    let (program, file) = (program.to_string(), file.to_string());
    for (environment, asks) in forms {
        let mut command = vec![program.as_str(), "--remote", &node.url, "--allow-root"];
        command.extend(["--environment-id", environment]);
        command.extend(asks);
        let flags = ["--credential-file", file.as_str()];
        let mut supervised = Running::start(&mut supervisor(&lab, &flags, &command))?;
        let line = supervised.line().await?;
        ensure!(line.starts_with(environment), "{line}");
        let mut driving = lab.farstep(&["exec", "-e", environment, "--", "echo", "driven"]);
        driving.env("RDV_TOKEN", &harness);
        let done = finished(driving).await?;
        ensure!(done.out() == "driven\n", "{environment}: {}", done.err());
        supervised.signal(Signal::TERM)?;
        let done = supervised.finish().await?;
        ensure!(done.code == Some(0), "{environment}: {}", done.err());
        ensure!(!done.err().contains(&token), "{}", done.err());
    }
    Ok(())
}

#[tokio::test]
async fn a_new_credential_in_the_file_is_handed_over_while_the_command_runs() -> Result<()> {
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    let harness = node.token("harness").await?;
    let (first, second) = (node.token("executor").await?, node.token("executor").await?);
    lab.environments(&node.entry("box", ""))?;
    let file = lab.path().join("credential");
    write(&file, &first, 0o600)?;
    let (program, file_name) = (lab.programs().executor.display(), file.display());
    let (program, file_name) = (program.to_string(), file_name.to_string());
    // What it says on standard error is waited for.
    let loud = [
        "sh",
        "-c",
        "exec \"$0\" \"$@\" 2>&1",
        &program,
        "--allow-root",
    ];
    let remote = ["--remote", &node.url, "--environment-id", "box"];
    let command = [&loud[..], &remote, &["--executor-credential-stdin"]].concat();
    let flags = ["--credential-file", file_name.as_str()];
    let mut supervised = Running::start(&mut supervisor(&lab, &flags, &command))?;
    while !supervised.line().await?.contains("connected to the relay") {}
    write(&file, &second, 0o600)?;
    while !supervised
        .line()
        .await?
        .contains("the credential was renewed")
    {}
    // What the first one opened ends; only the second one registers and validates from here on.
    let kid = first.split('_').nth(1).context("no key id")?;
    node.admin(&["token", "revoke", kid]).await?;
    let mut driving = lab.farstep(&["exec", "-e", "box", "--", "echo", "driven"]);
    driving.env("RDV_TOKEN", &harness);
    let done = finished(driving).await?;
    ensure!(done.out() == "driven\n", "{}", done.err());
    supervised.signal(Signal::TERM)?;
    let done = supervised.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    let said = done.err();
    ensure!(said.matches("started program=sh").count() == 1, "{said}");
    ensure!(said.contains("the credential changed"), "{said}");
    Ok(())
}

#[tokio::test]
async fn frames_follow_a_program_that_prints_credentials_with_an_end() -> Result<()> {
    let lab = Lab::new()?;
    let (frames, count) = (lab.path().join("frames"), lab.path().join("count"));
    // The first one is over in four seconds, so the next is due after two; the third is good for long.
    let printer = lab.path().join("print");
    let text = format!(
        "#!/bin/sh\necho >>{0}\nn=$(wc -l <{0})\nlife=4; [ $n -lt 3 ] || life=1000\n\
         echo \"{{\\\"token\\\":\\\"{SECRET}-$n\\\",\\\"expires_at\\\":$(($(date +%s)+life))}}\"\n",
        count.display()
    );
    write(&printer, &text, 0o700)?;
    let text = format!(
        "while read -r frame; do echo \"$frame\" >>{}; echo \"$frame\"; done",
        frames.display()
    );
    let printer = printer.display().to_string();
    let flags = ["--hand-over", "frames", "--credential-command", &printer];
    let mut supervised = Running::start(&mut script(&lab, &flags, &text))?;
    for _ in 0..3 {
        let line = supervised.line().await?;
        ensure!(
            line.contains("[credential]") && !line.contains(SECRET),
            "{line}"
        );
    }
    supervised.signal(Signal::TERM)?;
    let done = supervised.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    let (handed, mut last) = (fs::read_to_string(frames)?, 0);
    for frame in handed.lines() {
        let frame: Value = serde_json::from_str(frame)?;
        let fields = frame.as_object().context("no object")?;
        let token = frame["token"].as_str().context("no token")?;
        let number: u32 = token.rsplit('-').next().context("no number")?.parse()?;
        ensure!(fields.len() == 4 && number > last, "{frame} after {last}");
        last = number;
        ensure!(
            frame["version"] == 1 && frame["environment_id"] == "box",
            "{frame}"
        );
        ensure!(frame["expires_at"].is_u64(), "{frame}");
    }
    Ok(())
}

#[tokio::test]
async fn a_credential_is_nowhere_but_where_it_is_handed_over() -> Result<()> {
    let lab = Lab::new()?;
    // What it got, in clear for the test alone: in capitals.
    let shout = "tr a-z A-Z";
    for (form, expected) in [
        ("variable", "variable=CANARY-CREDENTIAL-7C1F own= line="),
        ("line", "variable= own= line=CANARY-CREDENTIAL-7C1F"),
    ] {
        let text = format!(
            "read -r line; said=\"$(echo $CODEX_API_KEY | {shout})\"; \
             echo \"variable=$said own=$FARSTEP_API_KEY line=$(echo $line | {shout})\"; \
             echo \"seen: $CODEX_API_KEY $line\"; echo \"and $CODEX_API_KEY$line\" >&2; exit 3"
        );
        let flags = ["--max-failures", "1", "--hand-over", form];
        let mut command = script(&lab, &flags, &text);
        command.env("FARSTEP_LOG", "trace");
        let done = finished(command).await?;
        let (out, err) = (done.out(), done.err());
        ensure!(
            out.starts_with(&format!("{expected}\n")),
            "{form}: {out}{err}"
        );
        ensure!(
            out.contains("seen: ") && err.contains("and [credential]"),
            "{out}{err}"
        );
        ensure!(!out.contains(SECRET) && !err.contains(SECRET), "{out}{err}");
    }
    Ok(())
}

#[tokio::test]
async fn what_fails_is_started_again_until_that_has_no_use() -> Result<()> {
    let lab = Lab::new()?;
    let done = finished(script(&lab, &["--max-failures", "3"], "echo ran; exit 1")).await?;
    ensure!(done.code == Some(3), "{:?} {}", done.code, done.err());
    ensure!(done.out() == "ran\n".repeat(3), "{}", done.out());
    for said in ["status=1", "after a pause", "sh failed 3 times in a row"] {
        ensure!(done.err().contains(said), "{said}: {}", done.err());
    }
    // Also when it ends in peace, which nobody asked it for.
    let done = finished(script(&lab, &["--max-failures", "2"], "echo ran")).await?;
    ensure!(
        done.code == Some(3) && done.out() == "ran\nran\n",
        "{}",
        done.err()
    );
    // Healthy after a second: the row begins anew, and so only the last two count.
    let text = "echo ran; [ -e slow ] || { touch slow; read -r line; sleep 1; }; exit 1";
    let flags = ["--max-failures", "2", "--healthy-seconds", "1"];
    let done = finished(script(&lab, &flags, text)).await?;
    ensure!(
        done.out() == "ran\n".repeat(3),
        "{} {}",
        done.out(),
        done.err()
    );
    Ok(())
}

#[tokio::test]
async fn what_cannot_work_is_not_tried_again() -> Result<()> {
    let lab = Lab::new()?;
    let superseded =
        "echo 'Error: environment registry request failed (409 Conflict): x' >&2; exit 1";
    for (text, status, said) in [
        (
            "echo ran; exit 2",
            2,
            "does not understand its command line",
        ),
        (superseded, 4, "another executor took the environment over"),
    ] {
        let done = finished(script(&lab, &[], text)).await?;
        ensure!(done.code == Some(status), "{:?} {}", done.code, done.err());
        ensure!(done.err().contains(said), "{}", done.err());
        ensure!(
            done.err().matches("started program").count() == 1,
            "{}",
            done.err()
        );
    }
    let missing = lab.path().join("missing").display().to_string();
    let open = lab.path().join("open");
    write(&open, SECRET, 0o644)?;
    fs::set_permissions(lab.path(), fs::Permissions::from_mode(0o755))?;
    let open = open.display().to_string();
    for (flags, command, said) in [
        (
            &["--credential-file", &missing][..],
            "true",
            "failed to open",
        ),
        (&["--credential-file", &open], "true", "chmod 600"),
        (&["--hand-over", "none"], missing.as_str(), "No such file"),
        (&[], "true", "--hand-over none"),
    ] {
        let done = finished(supervisor(&lab, flags, &[command])).await?;
        ensure!(done.code == Some(1), "{:?} {}", done.code, done.err());
        ensure!(done.err().contains(said), "{}", done.err());
    }
    Ok(())
}

#[tokio::test]
async fn a_program_that_prints_no_credential_is_asked_again() -> Result<()> {
    let lab = Lab::new()?;
    let printer = lab.path().join("print");
    let text = format!("#!/bin/sh\n[ -e asked ] || {{ touch asked; exit 7; }}\necho {SECRET}\n");
    write(&printer, &text, 0o700)?;
    let printer = printer.display().to_string();
    let flags = ["--max-failures", "2", "--credential-command", &printer];
    let done = finished(script(&lab, &flags, "echo ran; exit 1")).await?;
    ensure!(done.out() == "ran\n", "{} {}", done.out(), done.err());
    let said = "print, which prints the credential, ended with status 7";
    ensure!(done.err().contains(said), "{}", done.err());
    Ok(())
}

/// Starts something in a session of its own, and says its number and its child's.
const FAMILY: &str = "setsid sleep 1000 >/dev/null 2>&1 & echo $$; echo $!; ";

#[tokio::test]
async fn a_signal_is_passed_on_and_nothing_is_left() -> Result<()> {
    let lab = Lab::new()?;
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT")] {
        let text =
            format!("trap 'echo told {name}; exit 5' {name}; {FAMILY} while :; do wait; done");
        let mut supervised = Running::start(&mut script(&lab, &[], &text))?;
        let (command, child) = (supervised.line().await?, supervised.line().await?);
        supervised.signal(signal)?;
        assert_eq!(supervised.line().await?, format!("told {name}"));
        let done = supervised.finish().await?;
        ensure!(done.code == Some(0), "{:?} {}", done.code, done.err());
        ensure!(
            done.err().contains("ended, as it was told"),
            "{}",
            done.err()
        );
        for pid in [pid(&command)?, pid(&child)?] {
            gone(pid).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_stop_is_killed_after_the_grace_or_a_second_signal() -> Result<()> {
    let lab = Lab::new()?;
    let text = format!("trap 'echo told' TERM; {FAMILY} while :; do wait; done");
    for (grace, said) in [
        ("0", "does not end when it is told"),
        ("300", "a second time"),
    ] {
        let flags = ["--grace-seconds", grace];
        let mut supervised = Running::start(&mut script(&lab, &flags, &text))?;
        let (command, child) = (supervised.line().await?, supervised.line().await?);
        supervised.signal(Signal::TERM)?;
        if grace != "0" {
            assert_eq!(supervised.line().await?, "told");
            supervised.signal(Signal::TERM)?;
        }
        let done = supervised.finish().await?;
        ensure!(done.code == Some(0), "{:?} {}", done.code, done.err());
        ensure!(done.err().contains(said), "{}", done.err());
        for pid in [pid(&command)?, pid(&child)?] {
            gone(pid).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_supervisor_that_is_killed_takes_everything_with_it() -> Result<()> {
    let lab = Lab::new()?;
    let text = format!("trap '' TERM HUP INT; {FAMILY} while :; do wait; done");
    let mut supervised = Running::start(&mut script(&lab, &[], &text))?;
    let (command, child) = (supervised.line().await?, supervised.line().await?);
    supervised.signal(Signal::KILL)?;
    for pid in [pid(&command)?, pid(&child)?] {
        gone(pid).await?;
    }
    Ok(())
}
