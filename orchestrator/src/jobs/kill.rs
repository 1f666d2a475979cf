//! `farstep kill`: ends jobs, or tells them to.

use farstep_environments::process::{SIGNALS, Signal};
use serde_json::json;

use super::{Follower, JobError, Office, Record};
use crate::cli::{KillArgs, KillSignal};
use crate::render::{self, Failure};
use crate::setup::Surroundings;

pub async fn kill(args: KillArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let office = Office::open(surroundings)?;
    let find = |text: &String| office.store.find(text);
    let records: Vec<Record> = args.jobs.iter().map(find).collect::<Result<_, _>>()?;
    let mut outcome = Ok(0);
    for record in records {
        // One that cannot be reached must not save the others.
        if let Err(failure) = one(&office, record, &args).await
            && let Err(earlier) = std::mem::replace(&mut outcome, Err(failure))
        {
            render::note(&format!("farstep: failed to {earlier}"));
        }
    }
    office.registry.close().await;
    outcome
}

async fn one(office: &Office, record: Record, args: &KillArgs) -> Result<(), Failure> {
    let environment = office.environment(&record).await?;
    let mut follower = Follower::new(environment, record, None, false, render::note);
    let running = send(&mut follower, args.signal).await;
    office
        .store
        .put(follower.record())
        .map_err(JobError::from)?;
    let running = running?;
    let job = &follower.record().job;
    if args.json {
        let line = json!({"job": job, "running": running});
        render::print_json_line(&line).map_err(Failure::Output)?;
    } else if !running {
        render::note(&format!("farstep: job {job} had ended already"));
    }
    Ok(())
}

/// Says whether it was still running.
async fn send(follower: &mut Follower, wish: Option<KillSignal>) -> Result<bool, JobError> {
    let process = follower.record().process.clone();
    follower
        .with_session(async |session| {
            let has_signals = session.executor().info().can(SIGNALS);
            let signal = match wish {
                None if has_signals => Some(Signal::Terminate),
                None | Some(KillSignal::Kill) => None,
                Some(KillSignal::Int) => Some(Signal::Interrupt),
                Some(KillSignal::Term) => Some(Signal::Terminate),
                Some(KillSignal::Hup) => Some(Signal::Hangup),
                Some(KillSignal::Quit) => Some(Signal::Quit),
            };
            let Some(signal) = signal else {
                return session.terminate(&process).await;
            };
            let now = std::time::Duration::ZERO;
            let page = session.read(&process, u64::MAX - 1, 0, now).await?;
            let running = page.exit_code.is_none();
            if running {
                session.signal(&process, signal).await?;
            }
            Ok(running)
        })
        .await
}
