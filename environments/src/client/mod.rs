//! A live connection to one executor, as typed calls.
//!
//! ```text
//!   Executor ──┐  lanes: control, small, bulk           ┌─ Wire
//!   Executor ──┼─▶ ═══════════════════════▶  Driver ◀──▶│
//!   Process  ──┘  releases (a reserved place each)      └─ (the other side)
//!      ▲                                      │
//!      └────────── inbox, one per process ◀───┘
//! ```
//!
//! *Theory of operation.* One task, the [`driver::Driver`], owns the connection. Handles queue
//! calls for it and wait for replies; it waits for nobody but the wire. Everything between them is
//! bounded: the lanes by number and bytes, so that callers wait; the calls under way by number;
//! what processes say by bytes, see [`inbox`]. When the last [`Executor`] and [`Process`] of a
//! connection are gone, the driver ends what still runs, says goodbye and ends itself.
//!
//! When the connection is lost and there is a way to take its session up again, calls that were
//! not sent wait for that, and those that may be sent twice are; what was missed of every process
//! is fetched. Of any other call the caller learns that it was sent and that its fate is unknown:
//! whoever made it knows whether to make it again.

mod call;
mod driver;
mod durable;
mod fs;
mod handshake;
mod inbox;
mod link;
mod open_file;
mod process;
mod stall;
mod streams;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use farstep_protocol::frame;
use farstep_protocol::method::environment::{self, EnvironmentInfo};
use farstep_protocol::method::initialize::SessionTerms;
use farstep_protocol::method::sandbox::SandboxContext;
use farstep_protocol::rpc::ErrorCode;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use call::CallError;
pub use inbox::Overflow;
pub use open_file::{BLOCK_BYTES_MAX, Block, OpenFile};
pub use process::{Process, ProcessEvent, ProcessInput};

pub use driver::SessionId;
pub use durable::{DurableSession, Page, PageChunk};

pub(crate) use driver::{Driver, Ending};
pub(crate) use handshake::{Greeting, HandshakeError, Wanted, handshake};
pub(crate) use link::Link;
pub(crate) use stall::{Next, Seen, Stall};

use crate::TraceSource;
use crate::terms::Manner;
use call::{Command, Encode, Lane, Outcome, Purpose, QUICK, Waiting};
use inbox::{Inbox, Unread};

/// Calls that may wait in each lane. A whole patch or project scan fits; beyond it callers wait
/// their turn.
const LANE_CALLS: usize = 256;

/// Bytes that may wait in the bulk lane, in units of [`ROOM_UNIT`]. One message of the largest
/// size fits; beyond it callers wait, with their bytes still in their own hands.
const BULK_ROOM: usize = (96 << 20) / ROOM_UNIT;
const ROOM_UNIT: usize = 4 << 10;

/// Processes one connection may have at a time, as many as an executor allows a session
/// (`security` section 5). Beyond it a start is refused here.
pub(crate) const PROCESSES_MAX: usize = 256;

/// How often a call whose time is over may wait for the end of a recovery. A connection that
/// comes and goes must not hold a call forever.
const EXTENSIONS_MAX: usize = 3;

/// How long a probe may take.
pub(crate) const PROBE: Duration = Duration::from_secs(10);

/// A counted handle on one live connection. The connection ends when the last one is gone.
#[derive(Clone)]
pub struct Executor {
    shared: Arc<Shared>,
}

struct Shared {
    info: EnvironmentInfo,
    link: Arc<Link>,
    unread: Unread,
    control: mpsc::Sender<Command>,
    small: mpsc::Sender<Command>,
    bulk: mpsc::Sender<Command>,
    bulk_room: Arc<Semaphore>,
    releases: mpsc::Sender<Release>,
    /// What every call belongs to.
    trace: Option<TraceSource>,
    /// What is added to every call.
    manner: Manner,
    /// The session, if it is a durable one.
    durable: Option<(SessionId, SessionTerms)>,
}

/// The other ends of an [`Executor`]'s queues, for its driver.
pub(crate) struct Lanes {
    control: mpsc::Receiver<Command>,
    small: mpsc::Receiver<Command>,
    bulk: mpsc::Receiver<Command>,
    releases: mpsc::Receiver<Release>,
}

/// The holder of a process is gone.
struct Release {
    id: Arc<str>,
    inbox: Arc<Inbox>,
}

impl Executor {
    fn new(
        greeting: &Greeting,
        link: Arc<Link>,
        unread: Unread,
        extras: Extras,
    ) -> (Executor, Lanes) {
        let (control, control_end) = mpsc::channel(LANE_CALLS);
        let (small, small_end) = mpsc::channel(LANE_CALLS);
        let (bulk, bulk_end) = mpsc::channel(LANE_CALLS);
        let (releases, releases_end) = mpsc::channel(PROCESSES_MAX);
        let shared = Shared {
            info: greeting.info.clone(),
            durable: greeting
                .terms
                .map(|terms| (greeting.session_id.clone().into(), terms)),
            link,
            unread,
            control,
            small,
            bulk,
            bulk_room: Arc::new(Semaphore::new(BULK_ROOM)),
            releases,
            trace: extras.trace,
            manner: extras.manner,
        };
        let lanes = Lanes {
            control: control_end,
            small: small_end,
            bulk: bulk_end,
            releases: releases_end,
        };
        let shared = Arc::new(shared);
        (Executor { shared }, lanes)
    }

    /// What the executor says about its machine. It does not change while the connection lives.
    pub fn info(&self) -> &EnvironmentInfo {
        &self.shared.info
    }

    /// Whether the connection still lives, as far as anybody knows.
    pub fn is_connected(&self) -> bool {
        self.shared.link.is_up()
    }

    /// Whether the connection was lost and its session is being taken up again.
    pub fn is_recovering(&self) -> bool {
        self.shared.link.is_recovering()
    }

    /// Whether both handles are of the same connection.
    pub fn is_same(&self, other: &Executor) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// A sign of life: one round trip.
    pub async fn status(&self) -> Result<(), CallError> {
        self.status_within(PROBE).await
    }

    pub(crate) async fn status_within(&self, limit: Duration) -> Result<(), CallError> {
        let probe = async {
            let request = Request::control(environment::STATUS, ());
            match self.call(request).await {
                // Servers before 0.154 know no status; any answer is a sign of life.
                Err(CallError::Refused(error)) if error.is(ErrorCode::MethodNotFound) => Ok(()),
                Err(error) => Err(error),
                Ok(reply) => {
                    let status: environment::Status = reply.parse(environment::STATUS)?;
                    match status.status.as_str() {
                        "ready" => Ok(()),
                        other => Err(CallError::Protocol {
                            method: environment::STATUS,
                            detail: format!("it is `{other}`"),
                        }),
                    }
                }
            }
        };
        let probed = tokio::time::timeout(limit, probe).await;
        probed.unwrap_or(Err(CallError::TimedOut))
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.shared.link
    }

    /// What calls on paths are confined to.
    fn sandbox(&self) -> Option<SandboxContext> {
        self.shared.manner.sandbox()
    }

    fn unread(&self) -> Unread {
        self.shared.unread.clone()
    }

    fn process_slot(&self) -> Result<mpsc::OwnedPermit<Release>, CallError> {
        let slot = self.shared.releases.clone().try_reserve_owned();
        slot.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CallError::NotSent {
                reason: format!("{PROCESSES_MAX} processes run on this connection already"),
            },
            mpsc::error::TrySendError::Closed(_) => self.not_sent(),
        })
    }

    /// Sends a request and waits for its result. A future that is dropped takes its request back
    /// if it is not on the wire yet.
    async fn call(&self, request: Request) -> Outcome {
        let Request {
            method,
            lane,
            limit,
            size,
            purpose,
            encode,
        } = request;
        let encode = self.traced(encode);
        let (reply, replied) = oneshot::channel();
        let waiting = Waiting { reply, purpose };
        let queue = match lane {
            Lane::Control => &self.shared.control,
            Lane::Small => &self.shared.small,
            Lane::Bulk => &self.shared.bulk,
        };
        let answered = pin!(async {
            let room = match lane {
                Lane::Bulk => Some(self.bulk_room(size).await?),
                Lane::Control | Lane::Small => None,
            };
            let command = Command {
                encode,
                waiting,
                room,
            };
            queue.send(command).await.map_err(|_| self.not_sent())?;
            // A driver that ends answers everything first; one that does not say has been killed.
            replied.await.unwrap_or_else(|_| {
                Err(CallError::Lost {
                    reason: self.shared.link.reason(),
                })
            })
        });
        let outcome = tokio::select! {
            biased; // An answer that came in time counts.
            outcome = answered => outcome,
            () = self.too_late(limit) => Err(CallError::TimedOut),
        };
        let conn = self.shared.link.serial();
        match &outcome {
            Ok(_) => tracing::debug!(conn, method, "call answered"),
            Err(error) => tracing::debug!(conn, method, %error, "call failed"),
        }
        outcome
    }

    fn traced(&self, encode: Encode) -> Encode {
        match self.shared.trace.as_ref().and_then(TraceSource::now) {
            None => encode,
            Some(trace) => Box::new(move |out, id| {
                encode(out, id);
                frame::add_trace(out, &trace);
            }),
        }
    }

    /// Waits for `limit`. The time while the session is between two connections does not count:
    /// that has a limit of its own.
    async fn too_late(&self, limit: Duration) {
        tokio::time::sleep(limit).await;
        for _ in 0..EXTENSIONS_MAX {
            if !self.shared.link.is_recovering() {
                return;
            }
            self.shared.link.settled().await;
            tokio::time::sleep(limit).await;
        }
    }

    async fn bulk_room(&self, size: usize) -> Result<tokio::sync::OwnedSemaphorePermit, CallError> {
        let units = size.div_ceil(ROOM_UNIT).min(BULK_ROOM);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.shared.bulk_room);
        let acquired = room.acquire_many_owned(units).await;
        acquired.map_err(|_| self.not_sent())
    }

    fn not_sent(&self) -> CallError {
        CallError::NotSent {
            reason: self.shared.link.reason(),
        }
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor")
            .field("conn", &self.shared.link.serial())
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

/// A call before it is queued.
struct Request {
    method: &'static str,
    lane: Lane,
    limit: Duration,
    /// Of the message, about; counts in the bulk lane only.
    size: usize,
    purpose: Purpose,
    encode: Encode,
}

impl Request {
    fn with_params<P>(method: &'static str, limit: Duration, params: P) -> Request
    where
        P: Serialize + Send + 'static,
    {
        Request {
            method,
            lane: Lane::Small,
            limit,
            size: 0,
            purpose: Purpose::Plain,
            encode: Box::new(move |out, id| frame::request(out, id, method, &params)),
        }
    }

    /// A request that overtakes all others.
    fn control<P>(method: &'static str, params: P) -> Request
    where
        P: Serialize + Send + 'static,
    {
        Request {
            lane: Lane::Control,
            ..Request::with_params(method, QUICK, params)
        }
    }
}

/// What the calls of a connection carry beside what they ask for.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    pub(crate) trace: Option<TraceSource>,
    pub(crate) manner: Manner,
}

/// Takes a connection into service whose handshake is done: the handle, and the driver that has
/// to be run for it.
pub(crate) fn serve<W: farstep_transport::Wire>(
    wire: W,
    greeting: handshake::Greeting,
    extras: Extras,
) -> (Executor, Driver<W>) {
    let link = Arc::new(Link::new());
    let streams = streams::Streams::default();
    let (executor, lanes) = Executor::new(&greeting, Arc::clone(&link), streams.unread(), extras);
    let session = driver::Session {
        id: greeting.session_id.into(),
        streams,
    };
    let driver = Driver::new(wire, greeting.caller, session, lanes, link);
    (executor, driver)
}

#[cfg(test)]
mod tests;
