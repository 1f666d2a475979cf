//! Does an environment work: connect, files, a process, and how far away it is.

use std::collections::BTreeMap;
use std::time::Duration;

use farstep_environments::process::{EnvPolicy, Inherit, StartParams};
use farstep_environments::{CallError, Environment, Executor, OutputStream, Process, ProcessEvent};
use farstep_path_uri::PathUri;
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

/// Round trips that are measured, one after the other.
const SAMPLES: usize = 15;
/// What one check may take; an executor that hangs must not hold the others' results.
const CHECK_WAIT: Duration = Duration::from_secs(30);
/// Large enough to need more than one packet, small enough for any link.
const FILE_BYTES: usize = 64 * 1024;

/// What a test of one environment found.
#[derive(Debug, Serialize)]
pub(super) struct Tested {
    pub(super) id: String,
    pub(super) ok: bool,
    pub(super) transport: String,
    pub(super) connect: Outcome,
    /// From the first dial to an executor that can be used.
    pub(super) connect_ms: Option<f64>,
    /// The median round trip of a call that does nothing.
    pub(super) latency_ms: Option<f64>,
    pub(super) files: Outcome,
    pub(super) process: Outcome,
    /// System, architecture and version, as far as the executor says.
    pub(super) machine: Option<String>,
    pub(super) shell: Option<String>,
    pub(super) cwd: Option<String>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub(super) enum Outcome {
    Passed,
    Failed { reason: String },
    NotTried,
}

impl Tested {
    pub(super) fn problems(&self) -> impl Iterator<Item = &str> {
        [&self.connect, &self.files, &self.process]
            .into_iter()
            .filter_map(|one| match one {
                Outcome::Failed { reason } => Some(reason.as_str()),
                _ => None,
            })
    }
}

pub(super) async fn probe(environment: &Environment) -> Tested {
    let mut tested = Tested {
        id: environment.id().to_string(),
        ok: false,
        transport: environment.transport_label(),
        connect: Outcome::Passed,
        connect_ms: None,
        latency_ms: None,
        files: Outcome::NotTried,
        process: Outcome::NotTried,
        machine: None,
        shell: None,
        cwd: None,
    };
    let began = Instant::now();
    let executor = match environment.executor().await {
        Ok(executor) => executor,
        Err(error) => {
            tested.connect = Outcome::Failed {
                reason: error.to_string(),
            };
            return tested;
        }
    };
    tested.connect_ms = Some(in_milliseconds(began.elapsed()));
    let info = executor.info();
    let machine = [&info.platform_os, &info.arch, &info.executor_version];
    tested.machine = Some(
        machine
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>()
            .join(" "),
    );
    tested.shell = Some(info.shell.name.clone());
    tested.cwd = info.cwd.as_ref().map(PathUri::display_native);
    match latency(&executor).await {
        Ok(median) => tested.latency_ms = Some(in_milliseconds(median)),
        Err(error) => {
            tested.connect = Outcome::Failed {
                reason: error.to_string(),
            };
            return tested;
        }
    }
    if environment.may_write() {
        tested.files = check(files(&executor)).await;
    }
    tested.process = check(process(&executor)).await;
    let ok = tested.problems().next().is_none();
    Tested { ok, ..tested }
}

pub(super) async fn check(work: impl Future<Output = Result<(), String>>) -> Outcome {
    match tokio::time::timeout(CHECK_WAIT, work).await {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(reason)) => Outcome::Failed { reason },
        Err(_) => Outcome::Failed {
            reason: "the executor did not answer in time".to_owned(),
        },
    }
}

pub(super) async fn latency(executor: &Executor) -> Result<Duration, CallError> {
    let mut samples = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let began = Instant::now();
        executor.status().await?;
        samples.push(began.elapsed());
    }
    samples.sort_unstable();
    Ok(samples.get(SAMPLES / 2).copied().unwrap_or_default())
}

/// A folder of our own, a file in it there and back, and nothing left.
pub(super) async fn files(executor: &Executor) -> Result<(), String> {
    let folder = scratch(executor)?;
    let told = |what: &'static str| {
        let place = folder.display_native();
        move |error: CallError| format!("failed to {what} {place}: {error}")
    };
    executor
        .create_directory(&folder, false)
        .await
        .map_err(told("create"))?;
    let outcome = file(executor, &folder).await;
    executor
        .remove(&folder, true, false)
        .await
        .map_err(told("remove"))?;
    outcome
}

/// A name for something of our own, which is not there yet.
pub(super) fn scratch(executor: &Executor) -> Result<PathUri, String> {
    let info = executor.info();
    let base = info
        .temp_dir
        .as_ref()
        .or(info.temporary_directories.first());
    let base = base
        .or(info.cwd.as_ref())
        .ok_or("the executor reports no folder to try")?;
    base.join_descendant(&format!("farstep-test-{}", Uuid::new_v4()))
        .map_err(|error| format!("no name below {}: {error}", base.display_native()))
}

async fn file(executor: &Executor, folder: &PathUri) -> Result<(), String> {
    let path = folder
        .join_descendant("file")
        .map_err(|error| error.to_string())?;
    let content: Vec<u8> = (0..FILE_BYTES).map(|place| (place % 251) as u8).collect();
    let place = path.display_native();
    executor
        .write_file(&path, &content)
        .await
        .map_err(|error| format!("failed to write {place}: {error}"))?;
    let back = executor
        .read_file(&path)
        .await
        .map_err(|error| format!("failed to read {place}: {error}"))?;
    match back == content {
        true => Ok(()),
        false => Err(format!(
            "{place} came back with other bytes than were written"
        )),
    }
}

/// The executor's own shell says a word nobody could guess.
pub(super) async fn process(executor: &Executor) -> Result<(), String> {
    let info = executor.info();
    let cwd = info
        .cwd
        .as_ref()
        .or(info.user_home_dir.as_ref())
        .or(info.temp_dir.as_ref());
    let cwd = cwd.ok_or("the executor reports no folder to run in")?;
    let word = Uuid::new_v4().to_string();
    let flag = match info.shell.name.as_str() {
        "cmd" => "/c",
        "powershell" | "pwsh" => "-Command",
        _ => "-c",
    };
    let params = StartParams {
        process_id: format!("test-{word}"),
        metadata: None,
        argv: vec![
            info.shell.path.clone(),
            flag.to_owned(),
            format!("echo {word}"),
        ],
        cwd: cwd.clone(),
        env_policy: Some(EnvPolicy {
            inherit: Inherit::Core,
            ignore_default_excludes: true,
            exclude: Vec::new(),
            set: BTreeMap::new(),
            include_only: Vec::new(),
        }),
        env: BTreeMap::new(),
        tty: false,
        pipe_stdin: false,
        arg0: None,
        sandbox: None,
        enforce_managed_network: false,
        managed_network: None,
        network_proxy: None,
        credential_providers: None,
        shell_snapshot: None,
        window: None,
    };
    let process = executor
        .start(params)
        .await
        .map_err(|error| format!("failed to start {}: {error}", info.shell.path))?;
    let (output, code) = follow(process).await?;
    let said = String::from_utf8_lossy(&output);
    match (code, said.trim() == word) {
        (Some(0), true) => Ok(()),
        (Some(0), false) => Err(format!(
            "{} did not say what it was told to",
            info.shell.path
        )),
        (code, _) => Err(format!("{} ended with exit code {code:?}", info.shell.path)),
    }
}

async fn follow(mut process: Process) -> Result<(Vec<u8>, Option<i64>), String> {
    let (mut output, mut code) = (Vec::new(), None);
    loop {
        match process.next().await {
            // What a login complains about is no part of the answer.
            Some(ProcessEvent::Output {
                stream: OutputStream::Stdout,
                bytes,
            }) if output.len() < FILE_BYTES => output.extend_from_slice(&bytes),
            Some(
                ProcessEvent::Output { .. }
                | ProcessEvent::Truncated { .. }
                | ProcessEvent::Missed { .. },
            ) => {}
            Some(ProcessEvent::Exited { code: exit, .. }) => code = Some(exit),
            Some(ProcessEvent::Closed) | None => return Ok((output, code)),
            Some(ProcessEvent::Lost { reason }) => {
                return Err(format!("the process was lost: {reason}"));
            }
        }
    }
}

pub(super) fn in_milliseconds(duration: Duration) -> f64 {
    // Microseconds are as fine as this can be meant.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
