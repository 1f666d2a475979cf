//! `farstep exec --detach`.

use std::time::Duration;

use farstep_environments::process::StartParams;
use farstep_environments::{CallError, ConnectError, Environment};
use serde_json::json;

use super::record::{VERSION, new_id, now_ms};
use super::{JobError, Record, Store};
use crate::render::{self, Failure};

/// Starts a command that runs on without us, and prints its id. `params` says what and, given the
/// executor, where.
pub async fn detach(
    store: &Store,
    environment: &Environment,
    keep: Duration,
    params: impl FnOnce(&farstep_environments::EnvironmentInfo) -> Result<StartParams, Failure>,
    json: bool,
) -> Result<u8, Failure> {
    let id = environment.id().to_string();
    let session = environment
        .open_session(keep)
        .await
        .map_err(|error| match error {
            ConnectError::NotDurable { reason } => JobError::NotDurable {
                id: id.clone(),
                reason,
            }
            .into(),
            error => Failure::Connect {
                id: id.clone(),
                error,
            },
        })?;
    let job = new_id();
    let mut params = params(session.executor().info())?;
    params.process_id = format!("job-{job}");
    let record = Record {
        version: VERSION,
        environment: id.clone(),
        session: session.id().reveal().to_owned(),
        process: params.process_id.clone(),
        command: params.argv.clone(),
        cwd: params.cwd.to_string(),
        tty: params.tty,
        started_at_ms: now_ms(),
        retention_seconds: session.terms().retention_seconds,
        seen_at_ms: now_ms(),
        exit_code: None,
        lost: None,
        job,
    };
    // Before the start: what runs must be found again, whatever happens to us.
    store.add(&record).map_err(JobError::from)?;
    if let Err(error) = session.start(params).await {
        // Of a start that was not refused nobody knows whether it happened.
        if matches!(error, CallError::Refused(_) | CallError::NotSent { .. }) {
            store.remove(&record).map_err(JobError::from)?;
        }
        return Err(Failure::Start { id, error });
    }
    tell(&record, keep, json).map_err(Failure::Output)?;
    Ok(0)
}

fn tell(record: &Record, keep: Duration, json: bool) -> std::io::Result<()> {
    if json {
        return render::print_json_line(&json!({
            "type": "detached",
            "job": record.job,
            "environment": record.environment,
            "retentionSeconds": record.retention_seconds,
        }));
    }
    let kept = render::span(record.retention());
    let less = if record.retention() < keep {
        ", which is all its executor allows"
    } else {
        ""
    };
    render::note(&format!(
        "farstep: it runs in `{}` and is kept for {kept} after the last look{less}",
        record.environment
    ));
    render::print_text(&format!("{}\n", record.job))
}
