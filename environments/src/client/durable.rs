//! A durable session: what runs in it outlives every connection, and is read rather than announced.
//!
//! Nothing of it is held on this side but its id. Any number of connections may have it at once,
//! of this program and of others, so each call here stands for itself.

use std::time::Duration;

use bytes::Bytes;
use farstep_protocol::frame;
use farstep_protocol::method::Empty;
use farstep_protocol::method::initialize::SessionTerms;
use farstep_protocol::method::process::{
    OutputStream, READ, ReadParams, ReadResult, SIGNAL, START, Signal, SignalParams, StartParams,
    StartResult, TERMINATE, TerminateParams, TerminateResult,
};

use super::call::{CallError, Purpose, QUICK, TRANSFER};
use super::process::is_confined;
use super::{Executor, Request, SessionId};

/// A connection that has a durable session. Dropping it leaves the session as it is.
#[derive(Clone, Debug)]
pub struct DurableSession {
    executor: Executor,
    id: SessionId,
    terms: SessionTerms,
}

/// What a process said behind a position, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub chunks: Vec<PageChunk>,
    /// Where the next page begins: read after the one before.
    pub next_seq: u64,
    /// How it ended, once it has.
    pub exit_code: Option<i64>,
    /// It ended and said everything it had to say.
    pub closed: bool,
    /// Bytes of output from before what is retained that are gone for good.
    pub dropped_bytes: u64,
}

/// One piece of output, as it was read there.
#[derive(Clone, PartialEq, Eq)]
pub struct PageChunk {
    pub seq: u64,
    pub stream: OutputStream,
    pub bytes: Bytes,
}

impl std::fmt::Debug for PageChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageChunk")
            .field("seq", &self.seq)
            .field("stream", &self.stream)
            .field("size", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl DurableSession {
    /// The session an executor was connected with, if that is a durable one.
    pub(crate) fn of(executor: Executor) -> Option<DurableSession> {
        let (id, terms) = executor.shared.durable.clone()?;
        Some(DurableSession {
            executor,
            id,
            terms,
        })
    }

    /// What it takes to come back to it.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// For how long it is kept, and how much of that was left when it was connected.
    pub fn terms(&self) -> SessionTerms {
        self.terms
    }

    /// The connection.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Starts a process. It ends by itself, by a signal, or with the session.
    pub async fn start(&self, params: StartParams) -> Result<(), CallError> {
        let params = self.executor.shared.manner.apply(params);
        let confined = params.sandbox.is_some();
        let process = params.process_id.clone();
        let request = Request::with_params(START, QUICK, params);
        let reply = self.executor.call(request).await?;
        let result: StartResult = reply.parse(START)?;
        if confined && !is_confined(&result) {
            self.terminate(&process).await?;
            return Err(CallError::Unconfined);
        }
        Ok(())
    }

    /// What a process said after `after`, at most about `max_bytes` of it; if it said nothing, as
    /// soon as it does or ends, or when `wait` is over.
    pub async fn read(
        &self,
        process: &str,
        after: u64,
        max_bytes: u64,
        wait: Duration,
    ) -> Result<Page, CallError> {
        let params = ReadParams {
            process_id: process.to_owned().into(),
            after_seq: after,
            max_bytes: Some(max_bytes),
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        };
        let mut request = Request::with_params(READ, TRANSFER.saturating_add(wait), params);
        // It changes nothing there.
        request.purpose = Purpose::Repeatable;
        let reply = self.executor.call(request).await?;
        let page: ReadResult<'_> = reply.parse(READ)?;
        let mut chunks = Vec::with_capacity(page.chunks.len());
        for chunk in &page.chunks {
            let bytes = frame::read_base64(&chunk.chunk).ok_or_else(|| CallError::Protocol {
                method: READ,
                detail: "the output is not base64".to_owned(),
            })?;
            chunks.push(PageChunk {
                seq: chunk.seq,
                stream: chunk.stream,
                bytes: bytes.into(),
            });
        }
        Ok(Page {
            chunks,
            next_seq: page.next_seq,
            exit_code: page.exit_code.filter(|_| page.exited),
            closed: page.closed,
            dropped_bytes: page.dropped_bytes.unwrap_or_default(),
        })
    }

    /// Sends a signal to its process group.
    pub async fn signal(&self, process: &str, signal: Signal) -> Result<(), CallError> {
        let params = SignalParams {
            process_id: process.to_owned().into(),
            signal,
        };
        let request = Request::control(SIGNAL, params);
        let _: Empty = self.executor.call(request).await?.parse(SIGNAL)?;
        Ok(())
    }

    /// Kills its process group. Tells whether it was still running.
    pub async fn terminate(&self, process: &str) -> Result<bool, CallError> {
        let params = TerminateParams {
            process_id: process.to_owned().into(),
        };
        let mut request = Request::control(TERMINATE, params);
        request.purpose = Purpose::Repeatable;
        let result: TerminateResult = self.executor.call(request).await?.parse(TERMINATE)?;
        Ok(result.running)
    }
}
