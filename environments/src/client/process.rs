//! A started process: its events, its input and its end.

use std::sync::Arc;

use bytes::Bytes;
use farstep_protocol::frame;
use farstep_protocol::method::Empty;
use farstep_protocol::method::process::{
    CLOSE_INPUT, CloseInputParams, OutputStream, RESIZE, ResizeParams, SIGNAL, START, Signal,
    SignalParams, StartParams, StartResult, TERMINATE, TerminateParams, TerminateResult, WRITE,
    Window, WriteResult, WriteStatus,
};
use tokio::sync::{Mutex, mpsc};

use super::call::{BULK_BYTES, CallError, Lane, Purpose, QUICK, TRANSFER};
use super::inbox::{Inbox, Overflow};
use super::{Executor, Release, Request};

/// How much of one write travels in one message. Longer ones go in several, one after the other.
const WRITE_BYTES_MAX: usize = 8 << 20;

/// What a process does, in the order it did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It wrote something, cut anywhere, also inside a character.
    Output { stream: OutputStream, bytes: Bytes },
    /// So many bytes of output were dropped here, because nobody took them in time.
    Truncated { bytes: u64 },
    /// So many events are missing here: the executor did not keep all of its output while there
    /// was no connection. How many bytes that were is not known.
    Missed { events: u64 },
    /// It ended: 0 to 255, or 128 and the signal. Output may still follow.
    Exited {
        code: i64,
        /// Whether the executor blames a sandbox; `None` when it does not say.
        sandbox_denied: Option<bool>,
    },
    /// It ended and so did its output. Nothing follows.
    Closed,
    /// It is out of reach; how it ended is unknown. Nothing follows.
    Lost { reason: String },
}

/// A process on an executor.
///
/// Dropping the handle ends the process: the executor is asked to, though nobody waits for it.
/// The handle keeps its connection alive.
#[derive(Debug)]
pub struct Process {
    lease: Lease,
    input: ProcessInput,
}

/// The way into a process, to be used while something else follows what it says. It neither ends
/// the process nor keeps it.
#[derive(Clone, Debug)]
pub struct ProcessInput {
    id: Arc<str>,
    executor: Executor,
    /// The number of the last write; held while one is under way, because executors may let
    /// two overtake each other.
    writes: Arc<Mutex<u64>>,
}

/// The right to a process id, with what it takes to give it back whatever happens.
#[derive(Debug)]
struct Lease {
    id: Arc<str>,
    inbox: Arc<Inbox>,
    /// A place in the queue of releases, reserved before the process began, so that there is
    /// always room to let go of it.
    slot: Option<mpsc::OwnedPermit<Release>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.inbox.abandon();
        if let Some(slot) = self.slot.take() {
            slot.send(Release {
                id: Arc::clone(&self.id),
                inbox: Arc::clone(&self.inbox),
            });
        }
    }
}

impl Executor {
    /// Starts a process; output nobody takes is dropped in the end, see [`Overflow::Truncate`].
    ///
    /// Dropping the future ends what it may have started.
    pub async fn start(&self, params: StartParams) -> Result<Process, CallError> {
        self.start_with(params, Overflow::Truncate).await
    }

    /// Starts a process and chooses what becomes of output nobody takes.
    pub async fn start_with(
        &self,
        params: StartParams,
        overflow: Overflow,
    ) -> Result<Process, CallError> {
        let params = self.shared.manner.apply(params);
        let confined = params.sandbox.is_some();
        let id: Arc<str> = params.process_id.as_str().into();
        let slot = self.process_slot()?;
        let inbox = Inbox::new(overflow, self.unread());
        let lease = Lease {
            id: Arc::clone(&id),
            inbox: Arc::clone(&inbox),
            slot: Some(slot),
        };
        let mut request = Request::with_params(START, QUICK, params);
        request.purpose = Purpose::Start { id, inbox };
        let reply = self.call(request).await?;
        let result: StartResult = reply.parse(START)?;
        if confined && !is_confined(&result) {
            // Dropping the lease ends it.
            return Err(CallError::Unconfined);
        }
        let input = ProcessInput {
            id: Arc::clone(&lease.id),
            executor: self.clone(),
            writes: Arc::default(),
        };
        Ok(Process { lease, input })
    }
}

/// Whether the executor says what it confines the process by.
pub(super) fn is_confined(result: &StartResult) -> bool {
    result
        .sandbox_type
        .as_deref()
        .is_some_and(|kind| kind != "none")
}

impl Process {
    /// The id its starter chose.
    pub fn id(&self) -> &str {
        &self.lease.id
    }

    /// The next event; `None` behind the last one. May be dropped and called again.
    pub async fn next(&mut self) -> Option<ProcessEvent> {
        self.lease.inbox.next().await
    }

    /// The way into it, apart from the way out.
    pub fn input(&self) -> &ProcessInput {
        &self.input
    }

    /// As [`ProcessInput::write`].
    pub async fn write(&self, bytes: &[u8]) -> Result<WriteStatus, CallError> {
        self.input.write(bytes).await
    }

    /// Interrupts its process group, as control-C would.
    pub async fn interrupt(&self) -> Result<(), CallError> {
        self.input.signal(Signal::Interrupt).await
    }

    /// Kills its process group. Tells whether it was still running.
    pub async fn terminate(&self) -> Result<bool, CallError> {
        let params = TerminateParams {
            process_id: self.id().to_owned().into(),
        };
        let mut request = Request::control(TERMINATE, params);
        request.purpose = Purpose::Repeatable;
        let reply = self.input.executor.call(request).await?;
        let result: TerminateResult = reply.parse(TERMINATE)?;
        Ok(result.running)
    }
}

impl ProcessInput {
    /// Feeds its standard input. Returns when the executor has taken all of it, or at the first
    /// piece it did not take.
    pub async fn write(&self, bytes: &[u8]) -> Result<WriteStatus, CallError> {
        let mut pieces = bytes.chunks(WRITE_BYTES_MAX);
        // An empty write does nothing but tell whether writing is possible.
        let mut status = self.write_piece(pieces.next().unwrap_or_default()).await?;
        for piece in pieces {
            if status != WriteStatus::Accepted {
                break;
            }
            status = self.write_piece(piece).await?;
        }
        Ok(status)
    }

    async fn write_piece(&self, piece: &[u8]) -> Result<WriteStatus, CallError> {
        let mut turn = Arc::clone(&self.writes).lock_owned().await;
        *turn += 1;
        let write_id = turn.to_string();
        let id = Arc::clone(&self.id);
        let bytes = Bytes::copy_from_slice(piece);
        let lane = if bytes.len() > BULK_BYTES {
            Lane::Bulk
        } else {
            Lane::Small
        };
        let request = Request {
            method: WRITE,
            lane,
            limit: TRANSFER,
            size: bytes.len(),
            purpose: Purpose::Write { turn },
            encode: Box::new(move |out, request| {
                frame::process_write_request(out, request, &id, &write_id, &bytes);
            }),
        };
        let result: WriteResult = self.executor.call(request).await?.parse(WRITE)?;
        Ok(result.status)
    }

    /// Ends its input behind what was written. Only where the executor announces
    /// `process::CONTROL`.
    pub async fn close(&self) -> Result<WriteStatus, CallError> {
        // Behind the write under way.
        let _turn = self.writes.lock().await;
        let params = CloseInputParams {
            process_id: self.id.to_string().into(),
        };
        let mut request = Request::with_params(CLOSE_INPUT, QUICK, params);
        // Saying it twice is harmless.
        request.purpose = Purpose::Repeatable;
        let result: WriteResult = self.executor.call(request).await?.parse(CLOSE_INPUT)?;
        Ok(result.status)
    }

    /// Tells it the size of its terminal. Only where the executor announces `process::CONTROL`.
    pub async fn resize(&self, window: Window) -> Result<(), CallError> {
        let params = ResizeParams {
            process_id: self.id.to_string().into(),
            window,
        };
        let mut request = Request::control(RESIZE, params);
        request.purpose = Purpose::Repeatable;
        let _: Empty = self.executor.call(request).await?.parse(RESIZE)?;
        Ok(())
    }

    /// Sends a signal to its process group. All but the interrupt only where the executor
    /// announces `process::SIGNALS`.
    pub async fn signal(&self, signal: Signal) -> Result<(), CallError> {
        let params = SignalParams {
            process_id: self.id.to_string().into(),
            signal,
        };
        let request = Request::control(SIGNAL, params);
        let _: Empty = self.executor.call(request).await?.parse(SIGNAL)?;
        Ok(())
    }
}
