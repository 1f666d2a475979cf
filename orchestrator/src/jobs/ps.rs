//! `farstep ps`: which jobs there are and how they stand.

use std::time::Duration;

use farstep_environments::{CallError, Environment, ErrorCode};
use futures_util::stream::{self, StreamExt as _};
use serde_json::json;

use super::follow::resume;
use super::record::now_ms;
use super::{JobError, Office, Record};
use crate::cli::PsArgs;
use crate::render::{self, Column, Failure};
use crate::setup::Surroundings;
use crate::text::shell_words;

/// Jobs that are asked about at once. Each has a connection of its own.
const AT_ONCE: usize = 8;

/// How long an executor may take to say how a job stands. A list is to be read, not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much of a command a line shows.
const COMMAND_SHOWN: usize = 60;

/// How a job stands, as far as could be found out.
enum State {
    Running,
    Exited(i64),
    /// Nothing is known of it any more.
    Lost(String),
    /// It may run or not.
    Unreachable(String),
}

struct Seen {
    record: Record,
    state: State,
}

pub async fn ps(args: PsArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let office = Office::open(surroundings)?;
    let wanted = match &args.environment {
        Some(id) => office
            .setup
            .every(&office.registry, std::slice::from_ref(id))?,
        None => Vec::new(),
    };
    let mut records = office.store.all().map_err(JobError::from)?;
    if args.environment.is_some() {
        let is_wanted = |id: &str| wanted.iter().any(|one| one.id().as_str() == id);
        records.retain(|record| is_wanted(&record.environment));
    }
    let seen: Vec<Seen> = stream::iter(records)
        .map(|record| see(&office, record))
        .buffered(AT_ONCE)
        .collect()
        .await;
    office.registry.close().await;
    let (over, mut shown): (Vec<Seen>, Vec<Seen>) = seen
        .into_iter()
        .partition(|seen| args.prune && seen.record.is_over());
    for seen in &over {
        office.store.remove(&seen.record).map_err(JobError::from)?;
    }
    for seen in &shown {
        office.store.put(&seen.record).map_err(JobError::from)?;
    }
    // The newest is what somebody looks for.
    shown.reverse();
    let printed = if args.json {
        shown.iter().try_for_each(print)
    } else {
        table(&shown)
    };
    printed.map_err(Failure::Output)?;
    Ok(0)
}

async fn see(office: &Office, mut record: Record) -> Seen {
    let state = match (&record.lost, record.exit_code) {
        (Some(reason), _) => State::Lost(reason.clone()),
        (None, Some(code)) if !record.left(now_ms()).is_zero() => State::Exited(code),
        (None, _) => match office.environment(&record).await {
            Ok(environment) => ask(&environment, &mut record).await,
            Err(failure) => State::Unreachable(failure.to_string()),
        },
    };
    Seen { record, state }
}

async fn ask(environment: &Environment, record: &mut Record) -> State {
    let process = record.process.clone();
    let asked = async {
        let session = resume(environment, record, true).await?;
        let now = Duration::ZERO;
        let page = session.read(&process, u64::MAX - 1, 0, now).await;
        page.map_err(Asked::Call)
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(page)) => match page.exit_code {
            Some(code) => {
                record.exit_code = Some(code);
                State::Exited(code)
            }
            None => State::Running,
        },
        Ok(Err(Asked::Job(JobError::Gone { reason, .. }))) => lost(record, reason),
        Ok(Err(Asked::Call(CallError::Refused(refusal))))
            if refusal.is(ErrorCode::InvalidRequest) =>
        {
            lost(record, refusal.to_string())
        }
        Ok(Err(Asked::Job(error))) => State::Unreachable(error.to_string()),
        Ok(Err(Asked::Call(error))) => State::Unreachable(error.to_string()),
        Err(_) => State::Unreachable(format!("no answer after {PATIENCE:?}")),
    }
}

/// How a question failed.
enum Asked {
    Job(JobError),
    Call(CallError),
}

impl From<JobError> for Asked {
    fn from(error: JobError) -> Asked {
        Asked::Job(error)
    }
}

fn lost(record: &mut Record, reason: String) -> State {
    // What ended before it was forgotten did end.
    match record.exit_code {
        Some(code) => State::Exited(code),
        None => {
            record.lost = Some(reason.clone());
            State::Lost(reason)
        }
    }
}

fn print(seen: &Seen) -> std::io::Result<()> {
    let Seen { record, state } = seen;
    let (name, exit_code, reason) = match state {
        State::Running => ("running", None, None),
        State::Exited(code) => ("exited", Some(code), None),
        State::Lost(reason) => ("lost", None, Some(reason)),
        State::Unreachable(reason) => ("unreachable", None, Some(reason)),
    };
    render::print_json_line(&json!({
        "job": record.job,
        "environment": record.environment,
        "state": name,
        "exitCode": exit_code,
        "reason": reason,
        "command": record.command,
        "cwd": record.cwd,
        "startedAtMs": record.started_at_ms,
        "retentionSeconds": record.retention_seconds,
        "leftSeconds": record.left(now_ms()).as_secs(),
    }))
}

fn table(shown: &[Seen]) -> std::io::Result<()> {
    let now = now_ms();
    let column = |head, cell: &dyn Fn(&Seen) -> String| Column {
        head,
        cells: shown.iter().map(cell).collect(),
    };
    render::print_table(&[
        column("JOB", &|seen| seen.record.job.clone()),
        column("ENVIRONMENT", &|seen| seen.record.environment.clone()),
        column("STATE", &|seen| match &seen.state {
            State::Running => "running".to_owned(),
            State::Exited(code) => format!("exited {code}"),
            State::Lost(_) => "lost".to_owned(),
            State::Unreachable(_) => "unreachable".to_owned(),
        }),
        column("AGE", &|seen| {
            let age = now.saturating_sub(seen.record.started_at_ms);
            render::span(Duration::from_millis(age))
        }),
        column("KEPT FOR", &|seen| match &seen.state {
            State::Lost(_) => String::new(),
            _ => render::span(seen.record.left(now)),
        }),
        column("COMMAND", &|seen| command(&seen.record)),
    ])?;
    for seen in shown {
        if let State::Lost(reason) | State::Unreachable(reason) = &seen.state {
            render::note(&format!("farstep: {}: {reason}", seen.record.job));
        }
    }
    Ok(())
}

fn command(record: &Record) -> String {
    let line = shell_words(&record.command).replace('\n', " ");
    match line.char_indices().nth(COMMAND_SHOWN) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}
