//! `farstep wait`: until jobs have ended.

use serde_json::json;

use super::{Follower, INTERRUPTED, JobError, Office, Record};
use crate::cli::WaitArgs;
use crate::render::{self, Failure};
use crate::setup::Surroundings;
use crate::stop::Stop;

/// What an exit code that does not fit into ours becomes.
const UNKNOWN: u8 = 255;

pub async fn wait(args: WaitArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let office = Office::open(surroundings)?;
    let find = |text: &String| office.store.find(text);
    let records: Vec<Record> = args.jobs.iter().map(find).collect::<Result<_, _>>()?;
    let (stop, _listener) = Stop::listen();
    let outcome = tokio::select! {
        biased; // The jobs do not care whether somebody waits.
        () = stop.softly.cancelled() => Ok(INTERRUPTED),
        outcome = all(&office, records, args.json) => outcome,
    };
    office.registry.close().await;
    outcome
}

async fn all(office: &Office, records: Vec<Record>, json: bool) -> Result<u8, Failure> {
    let mut last = 0;
    for record in records {
        let code = match record.exit_code {
            Some(code) => code,
            None => end(office, record.clone()).await?,
        };
        if json {
            let line = json!({"job": record.job, "exitCode": code});
            render::print_json_line(&line).map_err(Failure::Output)?;
        }
        last = u8::try_from(code).unwrap_or(UNKNOWN);
    }
    Ok(last)
}

async fn end(office: &Office, record: Record) -> Result<i64, Failure> {
    let environment = office.environment(&record).await?;
    let mut follower = Follower::new(environment, record, None, true, render::note);
    let ended = follower.end().await;
    office
        .store
        .put(follower.record())
        .map_err(JobError::from)?;
    Ok(ended?)
}
