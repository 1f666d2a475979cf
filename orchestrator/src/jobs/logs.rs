//! `farstep logs`: what a job has said and says.

use farstep_environments::PageChunk;

use super::tail::Tail;
use super::{Follower, INTERRUPTED, JobError, Office};
use crate::cli::LogsArgs;
use crate::render::{self, Failure, ProcessOutput};
use crate::setup::Surroundings;
use crate::stop::Stop;

pub async fn logs(args: LogsArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let office = Office::open(surroundings)?;
    let record = office.store.find(&args.job)?;
    let environment = office.environment(&record).await?;
    let mut follower = Follower::new(
        environment,
        record,
        args.since_seq,
        args.follow,
        render::note,
    );
    let (stop, _listener) = Stop::listen();
    let mut shown = ProcessOutput::new(args.json, args.raw, false);
    let outcome = tokio::select! {
        biased; // The job does not care whether somebody looks.
        () = stop.softly.cancelled() => Ok(INTERRUPTED),
        outcome = show(&mut follower, &args, &mut shown) => outcome,
    };
    office
        .store
        .put(follower.record())
        .map_err(JobError::from)?;
    office.registry.close().await;
    outcome
}

async fn show_chunk(shown: &mut ProcessOutput, chunk: PageChunk) -> Result<(), Failure> {
    let shown = shown.write(chunk.stream, chunk.bytes, Some(chunk.seq));
    shown.await.map_err(Failure::Output)
}

async fn show(
    follower: &mut Follower,
    args: &LogsArgs,
    shown: &mut ProcessOutput,
) -> Result<u8, Failure> {
    let mut tail = args.tail.map(Tail::of);
    loop {
        // While only the end of what is there is wanted, that comes first.
        let wait = args.follow && tail.is_none();
        let news = follower.news(wait).await?;
        if let Some(dropped) = news.dropped
            && tail.is_none()
        {
            let note = shown.dropped(dropped).map_err(Failure::Output)?;
            note.iter().for_each(|note| render::note(note));
        }
        let is_empty = news.chunks.is_empty();
        for chunk in news.chunks {
            match &mut tail {
                Some(tail) => tail.push(chunk),
                None => show_chunk(shown, chunk).await?,
            }
        }
        if is_empty && let Some(tail) = tail.take() {
            for chunk in tail.finish() {
                show_chunk(shown, chunk).await?;
            }
        }
        if news.is_last || (is_empty && !args.follow) {
            let code = news.exit_code;
            shown.finish(code).await.map_err(Failure::Output)?;
            return Ok(0);
        }
    }
}
