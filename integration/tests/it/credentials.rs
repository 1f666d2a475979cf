//! The credential of our executor at our node, in every form it comes in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use farstep_integration::{Lab, PATIENCE, Recorder, Rendezvous, Role, Running};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::{Duration, timeout};

/// Each form, and the flag that asks for it.
const FORMS: [(&str, Form); 5] = [
    ("own-variable", Form::Variable("FARSTEP_API_KEY")),
    ("peers-variable", Form::Variable("CODEX_API_KEY")),
    ("file", Form::File),
    ("line", Form::Line),
    ("frames", Form::Frames),
];

#[derive(Clone, Copy)]
enum Form {
    Variable(&'static str),
    File,
    Line,
    Frames,
}

/// By when what a credential opened is ended, wherever it is revoked.
const REVOKED_MAX: Duration = Duration::from_secs(2);

fn kid(token: &str) -> Result<&str> {
    token.split('_').nth(1).context("a token without a key id")
}

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

fn frame(environment: &str, token: &str, expires_at: u64) -> String {
    let frame = serde_json::json!({
        "version": 1, "environment_id": environment, "token": token, "expires_at": expires_at,
    });
    format!("{frame}\n")
}

fn credential_file(lab: &Lab, environment: &str, token: &str) -> Result<PathBuf> {
    let path = lab.path().join(format!("{environment}.credential"));
    fs::write(&path, token)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

/// Starts an executor that gets `token` in this form.
async fn start(
    lab: &Lab,
    node: &Rendezvous,
    environment: &str,
    form: Form,
    token: &str,
) -> Result<Running> {
    let mut command = node.executor_command(lab, environment)?;
    if !matches!(form, Form::Variable(_)) {
        // A flag counts, whatever the variable says.
        command.env("FARSTEP_API_KEY", "another");
    }
    let mut said = None;
    match form {
        Form::Variable(name) => {
            command.env(name, token);
        }
        Form::File => {
            let path = credential_file(lab, environment, token)?;
            command.arg("--credential-file").arg(path);
        }
        Form::Line => {
            command.arg("--registration-bearer-stdin");
            said = Some(format!("{token}\n"));
        }
        Form::Frames => {
            command.arg("--executor-credential-stdin");
            said = Some(frame(environment, token, now()? + 3600));
        }
    }
    let mut running = Running::start(&mut command)?;
    if let Some(said) = said {
        running.say(&said).await?;
    }
    let line = running.line().await;
    line.with_context(|| format!("{environment} did not register"))?;
    Ok(running)
}

/// Has the executor of `environment` run something.
async fn drive(lab: &Lab, environment: &str, harness: &str) -> Result<()> {
    let mut command = lab.farstep(&["exec", "-e", environment, "--", "echo", "driven"]);
    let running = Running::start(command.env("RDV_TOKEN", harness))?;
    let done = running.finish().await?;
    ensure!(
        done.code == Some(0) && done.out() == "driven\n",
        "{environment}: {:?} {}",
        done.code,
        done.err()
    );
    Ok(())
}

#[tokio::test]
async fn an_executor_takes_its_credential_in_every_form() -> Result<()> {
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    let token = node.token("executor").await?;
    let harness = node.token("harness").await?;
    let entries: String = FORMS.iter().map(|(id, _)| node.entry(id, "")).collect();
    lab.environments(&entries)?;
    for (environment, form) in FORMS {
        let executor = start(&lab, &node, environment, form, &token).await?;
        drive(&lab, environment, &harness).await?;
        drop(executor);
    }
    Ok(())
}

/// What the node says of `box`.
async fn shown(node: &Rendezvous) -> Result<serde_json::Value> {
    let shown = node.admin(&["show", "box", "--json"]).await?;
    Ok(serde_json::from_str(&shown)?)
}

#[tokio::test]
async fn a_frame_replaces_the_credential_and_the_end_of_input_is_the_end() -> Result<()> {
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    let first = node.token("executor").await?;
    let second = node.token("executor").await?;
    let harness = node.token("harness").await?;
    lab.environments(&node.entry("box", ""))?;
    let mut executor = start(&lab, &node, "box", Form::Frames, &first).await?;
    drive(&lab, "box", &harness).await?;
    executor.say(&frame("box", &second, now()? + 3600)).await?;
    // What the first one opened ends; only the second one registers and validates from here on.
    let first_link = shown(&node).await?;
    node.admin(&["token", "revoke", kid(&first)?]).await?;
    // A start that falls into that end is not repeated by itself.
    let over = async {
        let mut ended = false;
        loop {
            let now = shown(&node).await?;
            ended |= now["online"] != true || now["since"] != first_link["since"];
            if ended && now["online"] == true {
                return anyhow::Ok(());
            }
        }
    };
    timeout(PATIENCE, over).await??;
    drive(&lab, "box", &harness).await?;
    let done = executor.finish().await?;
    ensure!(done.code == Some(0), "{:?} {}", done.code, done.err());
    for secret in [&first, &second] {
        ensure!(!done.err().contains(secret.as_str()), "a secret in the log");
    }
    Ok(())
}

#[tokio::test]
async fn a_frame_that_expired_ends_the_executor() -> Result<()> {
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    let token = node.token("executor").await?;
    let mut executor = start(&lab, &node, "box", Form::Frames, &token).await?;
    let late = frame("box", &token, now()?.saturating_sub(1));
    executor.say(&late).await?;
    // Its input stays open until it ended: the frame ends it, not the end of the input.
    ensure!(executor.line().await.is_err(), "it said more");
    let done = executor.finish().await?;
    ensure!(done.code == Some(1), "{:?} {}", done.code, done.err());
    ensure!(done.err().contains("expired"), "{}", done.err());
    Ok(())
}

/// An executor and a process of it whose output streams through the node.
struct Streaming {
    lab: Lab,
    node: Rendezvous,
    link: Recorder,
    /// The executor's credential and the orchestrator's.
    credentials: [String; 2],
    executor: Running,
    process: Running,
}

impl Streaming {
    async fn start() -> Result<Streaming> {
        let lab = Lab::new()?;
        let mut node = Rendezvous::start(&lab).await?;
        let link = Recorder::start(&node.url).await?;
        node.move_behind(&link.url).await?;
        let credentials = [node.token("executor").await?, node.token("harness").await?];
        let (executor, _) = node.executor(&lab, "box", &credentials[0]).await?;
        lab.environments(&node.entry("box", ""))?;
        let script = "while :; do echo more; sleep 0.01; done";
        let mut command = lab.farstep(&["exec", "-e", "box", "--", "sh", "-c", script]);
        let mut process = Running::start(command.env("RDV_TOKEN", &credentials[1]))?;
        for _ in 0..10 {
            assert_eq!(process.line().await?, "more");
        }
        Ok(Streaming {
            lab,
            node,
            link,
            credentials,
            executor,
            process,
        })
    }

    /// Revokes a credential and waits for the end of a websocket, which it must have in time.
    async fn revoke(&self, credential: &str, ended: Role) -> Result<()> {
        ensure!(!self.link.has_ended(ended), "it ended before");
        let revoke = ["token", "revoke", kid(credential)?];
        self.node.admin(&revoke).await?;
        let ended = timeout(REVOKED_MAX, self.link.ended(ended)).await;
        ended.context("what it opened goes on")?
    }
}

#[tokio::test]
async fn revoking_the_harness_credential_ends_its_stream_within_two_seconds() -> Result<()> {
    let streaming = Streaming::start().await?;
    let [_, harness] = &streaming.credentials;
    streaming.revoke(harness, Role::Harness).await?;
    // A command that is lost cannot be taken up again without a credential.
    let Streaming { lab, process, .. } = streaming;
    let done = process.finish().await?;
    ensure!(done.code == Some(255), "{:?} {}", done.code, done.err());
    let mut command = lab.farstep(&["exec", "-e", "box", "--", "true"]);
    let done = Running::start(command.env("RDV_TOKEN", harness))?
        .finish()
        .await?;
    ensure!(done.err().contains("401"), "{}", done.err());
    Ok(())
}

#[tokio::test]
async fn revoking_the_executors_credential_ends_its_websocket_and_then_itself() -> Result<()> {
    let streaming = Streaming::start().await?;
    let [executor, _] = &streaming.credentials;
    streaming.revoke(executor, Role::Executor).await?;
    let done = streaming.executor.finish().await?;
    ensure!(done.code == Some(1), "{:?} {}", done.code, done.err());
    for words in ["does not register environment box", "401", "revoked"] {
        ensure!(done.err().contains(words), "{words}: {}", done.err());
    }
    ensure!(!done.err().contains(executor.as_str()), "it is in the log");
    Ok(())
}

#[tokio::test]
async fn an_executor_waits_for_a_registry_that_is_not_there_yet() -> Result<()> {
    let lab = Lab::new()?;
    let mut node = Rendezvous::start(&lab).await?;
    let token = node.token("executor").await?;
    let harness = node.token("harness").await?;
    lab.environments(&node.entry("box", ""))?;
    node.kill().await?;
    let mut command = node.executor_command(&lab, "box")?;
    command
        .arg("--credential-file")
        .arg(credential_file(&lab, "box", &token)?);
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut executor = command.stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let said = executor.stderr.take().context("no standard error")?;
    let mut said = BufReader::new(said).lines();
    let refused = async {
        while let Some(line) = said.next_line().await? {
            if line.contains("the registry is not reached") {
                return Ok(());
            }
        }
        bail!("it ended")
    };
    timeout(PATIENCE, refused).await.context("it is silent")??;
    node.restart().await?;
    let registered = executor.stdout.take().context("no standard output")?;
    let mut registered = BufReader::new(registered).lines();
    let registered = timeout(PATIENCE, registered.next_line()).await;
    registered??.context("it did not register")?;
    drive(&lab, "box", &harness).await
}
