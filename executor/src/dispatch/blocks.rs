//! The `fs/` methods on open files. Handles belong to the connection and end with it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use farstep_protocol::frame;
use farstep_protocol::method::Empty;
use farstep_protocol::method::fs::{
    Handle as HandleId, OpenMode, OpenParams, ReadBlockParams, WriteBlockParams,
};
use farstep_protocol::rpc::{RequestId, RpcError};
use farstep_transport::Text;
use tokio::sync::oneshot;

use super::files::IN_PLACE_BYTES_MAX;
use super::{
    Answer, Calls, Effect, Finished, Flight, Member, Outcome, refusal, reply, sandbox, settle,
};
use crate::errors;
use crate::fs::{
    Access, Admit, BLOCK_BYTES_MAX, Handle, HandleError, Mode, Reach, Reservation, Ticket,
};
use crate::pool::{self, Lost, Place};

/// A file to be opened once nothing before it changes it.
pub(super) struct Opening {
    id: RequestId,
    path: PathBuf,
    mode: Mode,
    reservation: Reservation,
    result: HandleId,
}

impl Calls {
    pub(super) fn open(&mut self, id: RequestId, params: OpenParams) -> Result<Answer, RpcError> {
        sandbox::unconfined(params.sandbox.as_ref())?;
        let path = params
            .path
            .to_host()
            .map_err(|error| errors::path(&error))?;
        let mode = match params.mode {
            OpenMode::Read => Mode::Read,
            OpenMode::Replace => Mode::Replace,
            OpenMode::Update => Mode::Update {
                length: params.length,
            },
        };
        match mode {
            Mode::Read => self.reads(&params.path),
            Mode::Replace | Mode::Update { .. } => self.writes(&params.path, None)?,
        }
        let reservation = self
            .handles
            .reserve(&params.handle_id)
            .map_err(|error| errors::handle(&error))?;
        let result = HandleId {
            handle_id: params.handle_id,
        };
        let access = match mode {
            Mode::Read => Access::read(&path, Reach::Path),
            Mode::Replace | Mode::Update { .. } => Access::change(&path, Reach::Path),
        };
        if self.paths.is_free(&access)
            && let Some(_permission) = self.server.in_place().enter()
        {
            return Ok(Answer::Now(match Handle::open(&path, mode) {
                Ok(handle) => {
                    self.handles.install(reservation, handle);
                    reply(&id, &result)
                }
                Err(error) => {
                    self.handles.release(reservation);
                    refusal(&id, &errors::file(&error))
                }
            }));
        }
        let ticket = self.next_ticket();
        let admit = self.paths.admit(ticket, access);
        let opening = Opening {
            id,
            path,
            mode,
            reservation,
            result,
        };
        Ok(match admit {
            Admit::Now => Answer::Later(self.open_on_pool(ticket, opening)),
            Admit::Wait => {
                self.opening.insert(ticket, opening);
                Answer::Waits
            }
        })
    }

    /// Opens a file that nothing in flight is changing.
    pub(super) fn open_on_pool(&self, ticket: Ticket, opening: Opening) -> Flight {
        let Opening {
            id,
            path,
            mode,
            reservation,
            result,
        } = opening;
        let places = Arc::clone(&self.places);
        Box::pin(async move {
            let opened = pool::run(places, move |_place| Handle::open(&path, mode)).await;
            let (text, handle) = match opened {
                Ok(Ok(handle)) => (reply(&id, &result), Some(handle)),
                Ok(Err(error)) => (refusal(&id, &errors::file(&error)), None),
                Err(lost) => (refusal(&id, &errors::lost(lost)), None),
            };
            Finished {
                reply: text.into(),
                effect: Effect::Opened(ticket, reservation, handle),
            }
        })
    }

    pub(super) fn read_block(
        &mut self,
        id: RequestId,
        params: ReadBlockParams<'_>,
    ) -> Result<Answer, RpcError> {
        let (offset, len, zeros) = (params.offset, params.len, params.zeros);
        let is_small = len <= IN_PLACE_BYTES_MAX as u64;
        // One that is longer is refused.
        let bytes = usize::try_from(len).map_or(BLOCK_BYTES_MAX, |len| len.min(BLOCK_BYTES_MAX));
        self.on_handle(
            id,
            &params.handle_id,
            is_small,
            Order::Asked(bytes),
            move |id, handle| {
                let block = handle.read_block(offset, len)?;
                let mut out = String::new();
                if zeros && !block.bytes.is_empty() && block.bytes.iter().all(|byte| *byte == 0) {
                    frame::read_zeros_reply(&mut out, id, block.bytes.len() as u64, block.eof);
                } else {
                    frame::read_block_reply(&mut out, id, &block.bytes, block.eof);
                }
                Ok(out.into())
            },
        )
    }

    pub(super) fn write_block(
        &mut self,
        message: &Text,
        id: RequestId,
        params: WriteBlockParams<'_>,
    ) -> Result<Answer, RpcError> {
        let offset = params.offset;
        let is_small = params.chunk.len() <= IN_PLACE_BYTES_MAX;
        let chunk = Member::of(message, params.chunk);
        self.on_handle(
            id,
            &params.handle_id,
            is_small,
            Order::Any,
            move |id, handle| {
                // One piece at most: decoding it also tells whether it is base64.
                let Some(bytes) = chunk.decoded() else {
                    return Ok(refusal(id, &errors::base64("chunk")));
                };
                handle.write_block(offset, bytes.as_slice())?;
                Ok(reply(id, &Empty {}))
            },
        )
    }

    pub(super) fn close(&mut self, id: RequestId, params: HandleId) -> Result<Answer, RpcError> {
        self.handles
            .close(&params.handle_id)
            .map_err(|error| errors::handle(&error))?;
        Ok(Answer::Now(reply(&id, &Empty {})))
    }

    /// Runs `work` on an open file. Blocks are positional, so they need no order among each other; it
    /// only spares whoever reads a file to put them in theirs.
    fn on_handle(
        &mut self,
        id: RequestId,
        handle_id: &str,
        is_small: bool,
        order: Order,
        work: impl FnOnce(&RequestId, &Handle) -> Done + Send + 'static,
    ) -> Result<Answer, RpcError> {
        let handle = self
            .handles
            .get(handle_id)
            .map_err(|error| errors::handle(&error))?;
        if is_small && let Some(_permission) = self.server.in_place().enter() {
            let done = work(&id, &handle);
            if failed(&done) {
                self.handles.discard(handle_id, &handle);
            }
            return Ok(Answer::Now(settle(&id, outcome(done))));
        }
        let (places, handle_id) = (Arc::clone(&self.places), Box::from(handle_id));
        let mut promise = None;
        let told = match order {
            Order::Asked(bytes) => {
                promise = Some(self.blocks.promise(bytes));
                self.lined_up(&id, &handle, work)
            }
            Order::Any => {
                let working = (id.clone(), Arc::clone(&handle));
                let done = pool::run(places, move |_place| work(&working.0, &working.1));
                Box::pin(done) as Pin<Box<dyn Future<Output = _> + Send>>
            }
        };
        Ok(Answer::Later(Box::pin(async move {
            let _until_answered = promise;
            let done = match told.await {
                Ok(done) => done,
                Err(lost) => {
                    return Finished {
                        reply: refusal(&id, &errors::lost(lost)).into(),
                        effect: Effect::Nothing,
                    };
                }
            };
            let effect = if failed(&done) {
                Effect::Failed(handle_id, handle)
            } else {
                Effect::Nothing
            };
            Finished {
                reply: settle(&id, outcome(done)).into(),
                effect,
            }
        })))
    }

    /// Has `work` done behind what was asked of the handle before.
    fn lined_up(
        &self,
        id: &RequestId,
        handle: &Arc<Handle>,
        work: impl FnOnce(&RequestId, &Handle) -> Done + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = Result<Done, Lost>> + Send>> {
        let (tell, told) = oneshot::channel();
        let id = id.clone();
        let is_first = handle.line_up(move |handle| {
            // Whoever asked may be gone.
            if !tell.is_closed() {
                let done = catch_unwind(AssertUnwindSafe(|| work(&id, handle)));
                // As above.
                let _ = tell.send(done.map_err(|_| Lost));
            }
        });
        if is_first {
            let handle = Arc::clone(handle);
            match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => drop(tokio::task::spawn_blocking(move || {
                    work_off(&handle, place);
                })),
                // Not by the call that waits: the others' must be done even if it is withdrawn.
                Err(_) => drop(tokio::spawn(pool::run(
                    Arc::clone(&self.places),
                    move |place| work_off(&handle, place),
                ))),
            }
        }
        Box::pin(async { told.await.unwrap_or(Err(Lost)) })
    }
}

/// What a call on a handle comes to.
type Done = Result<Text, HandleError>;

/// In which order large blocks are done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// As they were asked for. So many bytes are to be answered.
    Asked(usize),
    Any,
}

/// Bytes of the blocks that a connection asked for and that are not in its answers yet. They may have
/// been read already, however slowly it takes its answers.
#[derive(Default)]
pub(super) struct Promised(Arc<AtomicUsize>);

/// Counts until it is dropped.
struct Promise(Arc<AtomicUsize>, usize);

impl Promised {
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn promise(&self, bytes: usize) -> Promise {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Promise(Arc::clone(&self.0), bytes)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// Does what was lined up, in shifts: others wait for a thread, maybe.
fn work_off(handle: &Arc<Handle>, place: Place) {
    if handle.work_off() {
        let handle = Arc::clone(handle);
        tokio::task::spawn_blocking(move || work_off(&handle, place));
    } else {
        drop(place);
    }
}

/// Whether the file itself failed: after that nobody knows where it stands.
fn failed(done: &Done) -> bool {
    matches!(done, Err(HandleError::File(_)))
}

fn outcome(done: Done) -> Outcome {
    done.map_err(|error| errors::handle(&error))
}
