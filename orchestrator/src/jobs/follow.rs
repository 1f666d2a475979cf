//! Reading a job from where we stand, over as many connections as it takes.
//!
//! A position is a sequence number of the executor, and only what was read moves it. So whatever
//! happens in between (a broken link, a laptop that slept for hours, a stopped process), what comes
//! next is what follows, or else we learn how much of it is gone.

use std::sync::Arc;
use std::time::Duration;

use farstep_environments::{
    CallError, ConnectError, DurableSession, Environment, ErrorCode, Page, PageChunk, SessionId,
};
use tokio::time::Instant;

use super::record::now_ms;
use super::{JobError, Record};
use crate::render::Dropped;

/// How long one poll waits for news. Below the time after which something in between might take
/// the connection for dead.
const POLL: Duration = Duration::from_secs(20);

/// How much one page brings: enough that a round trip costs little, little enough that the first
/// lines do not wait for megabytes.
const PAGE_BYTES: u64 = 512 << 10;

/// Between two attempts to come back, the first and the longest.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A place in the output of a job.
pub struct Follower {
    environment: Arc<Environment>,
    record: Record,
    session: Option<DurableSession>,
    /// Everything up to here was read.
    after: u64,
    /// How many bytes that was, unless we began somewhere in the middle.
    offset: Option<u64>,
    /// Whether it comes back for as long as the job is kept.
    patient: bool,
    /// When the executor last answered.
    heard: Instant,
    /// Told what happens on the way.
    tell: fn(&str),
}

/// What is new of a job.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// What is gone for good in front of `chunks`.
    pub dropped: Option<Dropped>,
    pub chunks: Vec<PageChunk>,
    /// How it ended, once it has.
    pub exit_code: Option<i64>,
    /// Nothing will follow.
    pub is_last: bool,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower")
            .field("record", &self.record)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

impl Follower {
    /// From the beginning of what is retained, or after a position. One that is not patient gives
    /// up when the executor cannot be reached; one that is tells how it goes.
    pub fn new(
        environment: Arc<Environment>,
        record: Record,
        since: Option<u64>,
        patient: bool,
        tell: fn(&str),
    ) -> Follower {
        Follower {
            environment,
            record,
            session: None,
            after: since.unwrap_or_default(),
            offset: since.is_none().then_some(0),
            patient,
            heard: Instant::now(),
            tell,
        }
    }

    /// The job, with what was learnt of it.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Everything up to here was told.
    pub fn position(&self) -> u64 {
        self.after
    }

    /// From now on it comes back for as long as the job is kept.
    pub fn be_patient(&mut self) {
        self.patient = true;
    }

    /// What is there now; with `wait`, as soon as something is. May be dropped and called again.
    pub async fn news(&mut self, wait: bool) -> Result<News, JobError> {
        let wait = if wait { POLL } else { Duration::ZERO };
        let after = self.after;
        let process = self.record.process.clone();
        let page = self
            .with_session(async |session| session.read(&process, after, PAGE_BYTES, wait).await)
            .await?;
        Ok(self.take(page))
    }

    /// Waits for its end, and tells how it ended.
    pub async fn end(&mut self) -> Result<i64, JobError> {
        // Behind everything: only the end is news.
        self.after = u64::MAX - 1;
        let process = self.record.process.clone();
        loop {
            let page = self
                .with_session(async |session| {
                    session.read(&process, u64::MAX - 1, 0, END_POLL).await
                })
                .await?;
            if let Some(code) = page.exit_code {
                self.record.exit_code = Some(code);
                return Ok(code);
            }
        }
    }

    /// Makes a call, again and again over new connections if it is patient.
    pub(super) async fn with_session<T>(
        &mut self,
        call: impl AsyncFn(&DurableSession) -> Result<T, CallError>,
    ) -> Result<T, JobError> {
        let mut pause = PAUSE;
        let mut told = false;
        loop {
            let error = match self.attempt(&call).await {
                Ok(value) => {
                    if told {
                        (self.tell)("farstep: connected again, and going on where we were");
                    }
                    self.heard = Instant::now();
                    return Ok(value);
                }
                Err(error) => error,
            };
            let may_pass = match &error {
                JobError::Connect { error, .. } => error.may_pass(),
                JobError::Call { .. } => true,
                _ => false,
            };
            let kept = self.heard.elapsed() <= self.record.retention();
            if !(self.patient && may_pass && kept) {
                return Err(error);
            }
            if !told {
                (self.tell)(&format!("farstep: failed to {error}; trying again"));
                told = true;
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    async fn attempt<T>(
        &mut self,
        call: &impl AsyncFn(&DurableSession) -> Result<T, CallError>,
    ) -> Result<T, JobError> {
        let session = match &self.session {
            Some(session) => session,
            None => {
                let session = resume(&self.environment, &mut self.record, false).await?;
                self.session.insert(session)
            }
        };
        let called = call(session).await;
        called.map_err(|error| {
            // Whatever it was, the next attempt is better made over a new connection.
            self.session = None;
            let (job, id) = (self.record.job.clone(), self.record.environment.clone());
            match error {
                CallError::Refused(refusal) if refusal.is(ErrorCode::InvalidRequest) => {
                    let reason = refusal.to_string();
                    self.record.lost = Some(reason.clone());
                    JobError::Gone { job, id, reason }
                }
                error => JobError::Call { job, id, error },
            }
        })
    }

    fn take(&mut self, page: Page) -> News {
        let dropped = self.dropped(&page);
        let bytes: u64 = page
            .chunks
            .iter()
            .map(|chunk| chunk.bytes.len() as u64)
            .sum();
        if let Some(offset) = &mut self.offset {
            *offset = (*offset).max(page.dropped_bytes) + bytes;
        }
        self.after = self.after.max(page.next_seq.saturating_sub(1));
        self.record.exit_code = page.exit_code.or(self.record.exit_code);
        News {
            dropped,
            is_last: page.closed && page.chunks.is_empty(),
            chunks: page.chunks,
            exit_code: page.exit_code,
        }
    }

    fn dropped(&mut self, page: &Page) -> Option<Dropped> {
        if let Some(offset) = self.offset {
            let bytes = page.dropped_bytes.saturating_sub(offset);
            return (bytes > 0).then_some(Dropped::Bytes(bytes));
        }
        let first = page.chunks.first()?;
        // The end of a process has a number too.
        let ends = u64::from(page.exit_code.is_some());
        let pieces = first.seq.saturating_sub(self.after.saturating_add(1));
        if pieces <= ends {
            return None;
        }
        // Behind a gap lies the first that is retained, so from here on we can count.
        self.offset = Some(page.dropped_bytes);
        Some(Dropped::Pieces(pieces))
    }
}

/// How long one poll for the end of a job waits. A job whose end has come but whose output a child
/// of it still holds open is noticed when the poll is over.
const END_POLL: Duration = Duration::from_secs(2);

/// Takes the session of a job up, and notes what that tells.
pub(super) async fn resume(
    environment: &Environment,
    record: &mut Record,
    peek: bool,
) -> Result<DurableSession, JobError> {
    let id = SessionId::from(record.session.clone());
    match environment.resume_session(&id, peek).await {
        Ok(session) => {
            let terms = session.terms();
            record.retention_seconds = terms.retention_seconds;
            let left = if peek {
                terms.left_seconds
            } else {
                terms.retention_seconds
            };
            let gone = terms.retention_seconds.saturating_sub(left);
            record.seen_at_ms = now_ms().saturating_sub(gone.saturating_mul(1000));
            Ok(session)
        }
        Err(ConnectError::SessionGone { reason }) => {
            record.lost = Some(reason.clone());
            Err(JobError::Gone {
                job: record.job.clone(),
                id: record.environment.clone(),
                reason,
            })
        }
        Err(error) => Err(JobError::Connect {
            job: record.job.clone(),
            id: record.environment.clone(),
            error: Box::new(error),
        }),
    }
}
