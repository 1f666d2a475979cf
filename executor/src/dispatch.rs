//! From a request to its one answer: which methods there are, where each one runs, and what has to
//! wait for what.
//!
//! ```text
//!   request ─▶ small, nothing in the way ─▶ answered in place
//!           ├▶ may take long ─────────────▶ pool ───────────────────▶ finished
//!           ├▶ conflicts with one before ─▶ waits ─▶ pool ──────────▶ finished
//!           └▶ its process is starting ───▶ parked ─▶ asked again when the start is answered
//! ```
//!
//! Everything here belongs to one connection's task, so nothing is locked. What may block is a
//! closure over plain values, run in place or on the pool.

mod blocks;
mod content;
mod files;
mod http;
mod member;
mod names;
mod notes;
mod pieces;
mod process;
mod record;
mod replies;
mod sandbox;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use farstep_protocol::method::fs::{WriteBlockParams, WriteFileParams};
use farstep_protocol::method::process::WriteParams;
use farstep_protocol::method::{
    environment, fs as fs_method, http as http_method, process as process_method,
};
use farstep_protocol::rpc::{Request, RequestId, RpcError};
use farstep_transport::Text;
use tokio::sync::Semaphore;
use tracing::{Instrument as _, Level, Span};

use crate::audit::Who;
use crate::errors;
use crate::fs::{Admit, Handle, Handles, PathOrder, Reservation, Ticket};
use crate::pool::{self, Permission, Place};
use crate::process::{Process, Table};
use crate::server::Server;
use crate::shown::Shown;
use crate::surroundings::Surroundings;
use crate::trace::TraceContext;
use crate::watch::Awaited;
use blocks::{Opening, Promised};
use http::Streamed;
pub(crate) use http::{
    DELTA_BYTES_MAX, REQUEST_ID_BYTES_MAX, REQUESTS_AT_ONCE, RequestError, STREAMS_MAX,
};
use member::Member;
pub(crate) use names::{is_known, methods};
use names::{known, place_of};
use notes::Notes;
pub(crate) use pieces::{Pieces, TornError};
pub(crate) use process::{PROCESS_ID_BYTES_MAX, SNAPSHOT_SCOPE_BYTES_MAX, WRITE_ID_BYTES_MAX};
pub(crate) use replies::{REFUSAL_BYTES_MAX, refusal, reply};
use replies::{raw_reply, settle, written};

/// What became of a request.
pub(crate) enum Answer {
    /// Its answer.
    Now(Text),
    /// The answer comes when this does; give it to [`Calls::finish`].
    Later(Flight),
    /// It waits inside for something that is in flight.
    Waits,
}

/// A call in flight.
pub(crate) type Flight = Pin<Box<dyn Future<Output = Finished> + Send>>;

/// A call that was in flight.
pub(crate) struct Finished {
    reply: Reply,
    effect: Effect,
}

/// The answer of a call.
pub(crate) enum Reply {
    Whole(Text),
    /// The same, with its place on the pool: who takes no large ones is not made many.
    OnPool(Text, Place),
    /// It is made while it is sent.
    Pieces(Box<Pieces>),
    /// It was sent in pieces.
    Sent,
}

impl From<Text> for Reply {
    fn from(text: Text) -> Reply {
        Reply::Whole(text)
    }
}

/// What the end of a call changes for others.
enum Effect {
    Nothing,
    /// Requests that conflict with this one may go on.
    Path(Ticket),
    /// Requests for this process may go on, and its events may follow the answer.
    Started(Box<str>, Option<Arc<Process>>),
    /// A handle has its file, or has not; and requests that conflict with it may go on.
    Opened(Ticket, Reservation, Option<Handle>),
    /// The body of a response follows its reply.
    Streaming(Box<Streamed>),
    /// A streamed request has no body, and its id is free.
    Unstreamed(Box<str>),
    /// Something is waited for from now on.
    Watching(u64, Awaited),
    /// A place is free again.
    Held(tokio::sync::OwnedSemaphorePermit),
    /// A handle's file failed.
    Failed(Box<str>, Arc<Handle>),
}

/// What is possible again since a call has finished.
pub(crate) struct Released {
    /// The answer of the call that finished.
    pub(crate) reply: Reply,
    /// Calls that were waiting and are in flight now.
    pub(crate) flights: Vec<Flight>,
    /// Messages to be handled once more, in this order.
    pub(crate) messages: Vec<Text>,
}

/// The calls of one connection.
pub(crate) struct Calls {
    server: Arc<Server>,
    surroundings: Arc<Surroundings>,
    /// On whose behalf they are made.
    who: Who,
    /// The span of the session.
    session: Span,
    /// Places on the pool.
    places: Arc<Semaphore>,
    paths: PathOrder,
    last_ticket: u64,
    /// Admitted, but behind a conflicting call. Bounded with what is in flight.
    waiting: HashMap<Ticket, Job>,
    /// Files that are opened behind a conflicting call. Bounded likewise.
    opening: HashMap<Ticket, Opening>,
    handles: Handles,
    /// What blocks in flight may take.
    blocks: Promised,
    /// Ends recursive file calls that nobody waits for any more.
    gone: Gone,
    /// Processes being started, each with the requests that came for it meanwhile.
    starting: HashMap<Box<str>, Vec<Text>>,
    parked: usize,
    notes: Notes,
    /// Places for requests made from here.
    requests: Arc<Semaphore>,
}

/// Set when the connection has ended and its calls are dropped.
#[derive(Default)]
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A call that may block, with the id to answer it under.
struct Job {
    id: RequestId,
    /// The span of the call.
    span: Span,
    work: Box<Work>,
}

type Work = dyn FnOnce(&RequestId, Place) -> Result<Reply, RpcError> + Send;

/// A whole reply, or why there is none.
type Outcome = Result<Text, RpcError>;

impl Job {
    /// A call that keeps its place on the pool for as long as its answer, if that is large, is not written.
    fn new(id: RequestId, work: impl FnOnce(&RequestId) -> Outcome + Send + 'static) -> Job {
        Job::large(id, move |id, place| {
            work(id).map(|text| Reply::OnPool(text, place))
        })
    }

    /// A call that says itself what its place on the pool goes with.
    fn large(
        id: RequestId,
        work: impl FnOnce(&RequestId, Place) -> Result<Reply, RpcError> + Send + 'static,
    ) -> Job {
        Job {
            id,
            span: Span::current(),
            work: Box::new(work),
        }
    }

    fn run(self, place: Place) -> Reply {
        let Job { id, span, work } = self;
        span.in_scope(|| work(&id, place).unwrap_or_else(|error| refusal(&id, &error).into()))
    }
}

impl Calls {
    pub(crate) fn new(server: Arc<Server>, surroundings: Arc<Surroundings>) -> Calls {
        Calls {
            places: Arc::new(Semaphore::new(server.calls_at_once())),
            server,
            surroundings,
            who: Who::default(),
            session: Span::none(),
            paths: PathOrder::new(),
            last_ticket: 0,
            waiting: HashMap::new(),
            opening: HashMap::new(),
            handles: Handles::new(),
            blocks: Promised::default(),
            gone: Gone::default(),
            starting: HashMap::new(),
            parked: 0,
            notes: Notes::default(),
            requests: Arc::new(Semaphore::new(http::REQUESTS_AT_ONCE)),
        }
    }

    /// How many requests wait inside.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len() + self.opening.len() + self.parked
    }

    /// Bytes of blocks that were asked for and are not answered yet.
    pub(crate) fn promised(&self) -> usize {
        self.blocks.bytes()
    }

    /// Answers a request, or says when. `message` is the text the request was read from.
    pub(crate) fn answer(
        &mut self,
        session: &Table,
        message: &Text,
        request: Request<'_>,
    ) -> Answer {
        self.server.metrics().called(place_of(&request.method));
        let (id, method) = (request.id.clone(), request.method.clone());
        // One comparison on an ordinary day: a small call costs less than a span.
        let answer = if tracing::span_enabled!(Level::DEBUG) {
            self.told(session, message, request)
        } else {
            self.route(session, message, request)
        };
        answer.unwrap_or_else(|error| {
            self.refuses(&method, &error);
            Answer::Now(refusal(&id, &error))
        })
    }

    /// Answers a request inside its span, with a line in the log.
    fn told(
        &mut self,
        session: &Table,
        message: &Text,
        request: Request<'_>,
    ) -> Result<Answer, RpcError> {
        let span = self.span(&request);
        let answer = span.in_scope(|| self.route(session, message, request));
        match &answer {
            Ok(Answer::Now(text)) => {
                tracing::debug!(parent: &span, bytes = text.len(), "call answered");
            }
            Ok(Answer::Later(_) | Answer::Waits) => {}
            Err(error) => {
                span.record("otel.status_code", "ERROR");
                tracing::debug!(parent: &span, code = error.code, "call refused");
            }
        }
        match answer {
            Ok(Answer::Later(flight)) => Ok(Answer::Later(told(flight, span))),
            answer => answer,
        }
    }

    /// The span of a call, with the caller's as its parent.
    fn span(&self, request: &Request<'_>) -> Span {
        let span = tracing::debug_span!(
            parent: &self.session,
            "call",
            otel.name = known(&request.method),
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            method = %Shown::of(&request.method),
            call = %Shown::of(&request.id),
        );
        if !span.is_none()
            && let Some(trace) = &request.trace
            && let Some(context) = trace.checked().trace.and_then(TraceContext::of)
        {
            context.adopt(&span);
        }
        span
    }

    fn route(
        &mut self,
        session: &Table,
        message: &Text,
        request: Request<'_>,
    ) -> Result<Answer, RpcError> {
        let Request {
            id,
            method,
            params,
            trace,
        } = request;
        let mut rest = String::new();
        match &*method {
            environment::STATUS => {
                params.none()?;
                Ok(Answer::Now(raw_reply(&id, r#"{"status":"ready"}"#)))
            }
            environment::INFO => {
                params.none()?;
                Ok(Answer::Now(raw_reply(&id, self.surroundings.info_json())))
            }
            process_method::START => self.start(session, id, params.parse()?, trace),
            process_method::READ => self.read(session, message, id, &params.parse()?),
            process_method::WRITE => {
                let params = params.parse_around(&mut rest, "chunk", process_chunk)?;
                self.write(session, message, id, &params)
            }
            process_method::SIGNAL => self.signal(session, message, id, &params.parse()?),
            process_method::TERMINATE => self.terminate(session, message, id, &params.parse()?),
            process_method::CLOSE_INPUT => self.close_input(session, message, id, &params.parse()?),
            process_method::RESIZE => self.resize(session, message, id, &params.parse()?),
            fs_method::READ_FILE => self.read_file(id, params.parse()?),
            fs_method::WRITE_FILE => {
                let params = params.parse_around(&mut rest, "dataBase64", file_data)?;
                self.write_file(message, id, params)
            }
            fs_method::CREATE_DIRECTORY => self.create_directory(id, params.parse()?),
            fs_method::GET_METADATA => self.get_metadata(id, params.parse()?),
            fs_method::CANONICALIZE => self.canonicalize(id, params.parse()?),
            fs_method::READ_DIRECTORY => self.read_directory(id, params.parse()?),
            fs_method::WALK => self.walk(id, params.parse()?),
            fs_method::REMOVE => self.remove(id, params.parse()?),
            fs_method::COPY => self.copy(id, params.parse()?),
            fs_method::OPEN => self.open(id, params.parse()?),
            fs_method::READ_BLOCK => self.read_block(id, params.parse()?),
            fs_method::WRITE_BLOCK => {
                let params = params.parse_around(&mut rest, "chunk", block_chunk)?;
                self.write_block(message, id, params)
            }
            fs_method::CLOSE => self.close(id, params.parse()?),
            fs_method::DIGEST => self.digest(id, params.parse()?),
            fs_method::RENAME => self.rename(id, &params.parse()?),
            fs_method::SET_MODE => self.set_mode(id, &params.parse()?),
            fs_method::SET_TIMES => self.set_times(id, &params.parse()?),
            http_method::REQUEST => self.http_request(id, &params.parse()?),
            fs_method::WATCH_MISSING => self.watch_missing(id, params.parse()?),
            _ => Err(errors::unknown_method(&method)),
        }
    }

    /// Takes back a call that was in flight. Its answer must be queued before anything of its
    /// process is taken.
    pub(crate) fn finish(&mut self, finished: Finished) -> Released {
        let (mut flights, mut messages) = (Vec::new(), Vec::new());
        let Finished {
            mut reply,
            mut effect,
        } = finished;
        if let Reply::Pieces(pieces) = &mut reply {
            // What it is made from is in use until it is sent.
            let (ended, effect) = (
                pieces.ended(),
                std::mem::replace(&mut effect, Effect::Nothing),
            );
            flights.push(Box::pin(async move {
                ended.await;
                Finished {
                    reply: Reply::Sent,
                    effect,
                }
            }) as Flight);
        }
        match effect {
            Effect::Nothing => {}
            Effect::Path(ticket) => flights.extend(self.let_go(ticket)),
            Effect::Started(process_id, process) => {
                messages = self.starting.remove(&process_id).unwrap_or_default();
                self.parked -= messages.len();
                if let Some(process) = process {
                    process.announce();
                }
            }
            Effect::Opened(ticket, reservation, handle) => {
                match handle {
                    Some(handle) => self.handles.install(reservation, handle),
                    None => self.handles.release(reservation),
                }
                flights.extend(self.let_go(ticket));
            }
            Effect::Held(place) => drop(place),
            Effect::Streaming(streamed) => self.stream(*streamed),
            Effect::Unstreamed(request_id) => self.notes.free_id(&request_id),
            Effect::Watching(id, awaited) => self.notes.watch(id, awaited),
            Effect::Failed(id, handle) => self.handles.discard(&id, &handle),
        }
        Released {
            reply,
            flights,
            messages,
        }
    }

    /// A call is done with its path: those that waited for it go on.
    fn let_go(&mut self, ticket: Ticket) -> Vec<Flight> {
        let mut flights = Vec::new();
        for next in self.paths.finish(ticket) {
            if let Some(job) = self.waiting.remove(&next) {
                flights.push(self.on_pool(job, Effect::Path(next)));
            } else if let Some(opening) = self.opening.remove(&next) {
                flights.push(self.open_on_pool(next, opening));
            }
        }
        flights
    }

    /// The permission to answer in place, if anybody still has one.
    fn in_place(&self) -> Option<Permission<'_>> {
        self.server.in_place().enter()
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// Runs what may block on the pool, as soon as everything it conflicts with is done.
    fn in_turn(&mut self, ticket: Ticket, admit: Admit, job: Job) -> Answer {
        match admit {
            Admit::Now => Answer::Later(self.on_pool(job, Effect::Path(ticket))),
            Admit::Wait => {
                self.waiting.insert(ticket, job);
                Answer::Waits
            }
        }
    }

    fn on_pool(&self, job: Job, effect: Effect) -> Flight {
        let places = Arc::clone(&self.places);
        Box::pin(async move {
            let reply = on_pool(places, job).await;
            Finished { reply, effect }
        })
    }
}

fn process_chunk<'p, 'a>(params: &'p mut WriteParams<'a>) -> &'p mut Cow<'a, str> {
    &mut params.chunk
}

fn block_chunk<'p, 'a>(params: &'p mut WriteBlockParams<'a>) -> &'p mut Cow<'a, str> {
    &mut params.chunk
}

fn file_data<'p, 'a>(params: &'p mut WriteFileParams<'a>) -> &'p mut Cow<'a, str> {
    &mut params.data_base64
}

async fn on_pool(places: Arc<Semaphore>, job: Job) -> Reply {
    let id = job.id.clone();
    let done = pool::run(places, |place| job.run(place)).await;
    done.unwrap_or_else(|lost| refusal(&id, &errors::lost(lost)).into())
}

/// A flight inside the span of its call, which ends with it.
fn told(flight: Flight, span: Span) -> Flight {
    let told = async move {
        let finished = flight.await;
        tracing::debug!("call answered");
        finished
    };
    Box::pin(told.instrument(span))
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) fn finished_for_tests() -> Finished {
    Finished {
        reply: Reply::Sent,
        effect: Effect::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_connection_cancels_its_recursive_calls() {
        let server = Server::for_tests();
        let surroundings = Arc::clone(server.surroundings());
        let calls = Calls::new(server, surroundings);
        let cancelled = Arc::clone(&calls.gone.0);
        assert!(!cancelled.load(Ordering::Relaxed));
        drop(calls);
        assert!(cancelled.load(Ordering::Relaxed));
    }
}
