//! The one owner of a connection.
//!
//! One turn does, in this order: let go of processes, take what arrived, send what waits. Nothing
//! in a turn waits for anything but the wire, and reading never waits for writing, so that two
//! sides that both have much to say cannot lock each other up. Outgoing, each message is chosen
//! anew: our own (ends, refusals), then control, then small, then bulk. So a terminate is behind
//! at most one big write, and then only because a message cannot be cut in two.

mod outgoing;
mod probe;
mod resume;

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use farstep_protocol::caller::{Caller, Event};
use farstep_protocol::frame;
use farstep_protocol::method::Empty;
use farstep_protocol::method::initialize::INITIALIZED;
use farstep_protocol::rpc::{ErrorCode, Request, RequestId, RpcError};
use farstep_transport::{Text, Wire};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::call::{CallError, Command, Encode, Outcome, Purpose, Reply, Waiting};
use super::inbox::Inbox;
use super::streams::{Delivered, Streams};
use super::{Lanes, Link, Release};

/// Messages taken or sent before the other direction has its turn.
const BATCH: usize = 64;

/// Messages that make no sense before the connection is given up: a peer that is merely newer or
/// a little confused stays far below.
const NONSENSE_MAX: u64 = 10_000;

/// How long the end of a connection waits until the executor has ended our processes. It forgets
/// what it has not read when the connection closes, so it has to be given the time.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// While a reader holds the connection back we cannot answer pings, so we say something instead;
/// an executor gives a silent peer up after a minute or so.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// How often signs of life are given over pipes: two may be late before an executor doubts.
const SIGN_EVERY: Duration = Duration::from_secs(8);

/// How long the goodbye itself may take.
const CLOSE_WAIT: Duration = Duration::from_millis(500);

/// What outlives the connection: a session can be taken up again on another one.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) streams: Streams,
}

/// The one secret of a session. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    /// All of it, for the executor and for whoever keeps it to come back.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for SessionId {
    fn from(id: String) -> SessionId {
        SessionId(id)
    }
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId(..)")
    }
}

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Nobody holds it any more.
    Unused,
    /// It was told to.
    Stopped,
    /// The wire ended. The session may live on.
    Lost { reason: String },
    /// The other side is not worth another connection.
    Hopeless { reason: String },
}

/// Runs one connection: [`Driver::until_end`], then [`Driver::finish`]. When the wire is lost and
/// there is a way to another one, [`Driver::suspend`] and [`Driver::resume`] come in between.
pub(crate) struct Driver<W> {
    /// None between two connections.
    wire: Option<W>,
    caller: Caller<u64>,
    waiting: HashMap<u64, Pending>,
    last_ticket: u64,
    /// How many of `waiting` are of the kind [`Pending::End`].
    ending: usize,
    session: Session,
    lanes: Lanes,
    link: Arc<Link>,
    /// Our own messages, in front of all others.
    own: VecDeque<Text>,
    /// Calls of an earlier connection that are sent again, in front of all new ones.
    again: VecDeque<Command>,
    /// Processes of an earlier connection that nobody wants any more.
    unwanted: Vec<Arc<str>>,
    /// How much the next page of what was missed may bring.
    page_bytes: u64,
    held_back: Option<HeldBack>,
    /// Whether the wire still leads anywhere, where that is in doubt.
    watch: Option<probe::Watch>,
    /// Bytes of all messages given to the wire.
    sent: u64,
    /// Runs until the next sign of life, where the transport gives none.
    sign_of_life: Option<Pin<Box<Sleep>>>,
    nonsense: u64,
}

/// What a reply will mean.
enum Pending {
    Call(Call),
    /// We want this process gone and do not care what is said about it.
    End(Arc<str>),
    /// What this process said while there was no connection.
    Page(Arc<str>),
    /// That there is one.
    Probe,
}

/// A call that was sent.
struct Call {
    id: RequestId,
    waiting: Waiting,
    /// What it takes to send it again, if it may be.
    again: Option<Again>,
}

struct Again {
    encode: Encode,
    /// Its bytes stay in our hands, so they go on counting.
    room: Option<OwnedSemaphorePermit>,
}

/// Reading waits for a reader.
struct HeldBack {
    by: Arc<Inbox>,
    sign_of_life: Pin<Box<Sleep>>,
}

impl<W: Wire> Driver<W> {
    pub(super) fn new(
        wire: W,
        caller: Caller<u64>,
        session: Session,
        lanes: Lanes,
        link: Arc<Link>,
    ) -> Driver<W> {
        Driver {
            watch: probe::Watch::over(&wire),
            sent: 0,
            wire: Some(wire),
            caller,
            waiting: HashMap::new(),
            last_ticket: 0,
            ending: 0,
            session,
            lanes,
            link,
            own: VecDeque::new(),
            again: VecDeque::new(),
            unwanted: Vec::new(),
            page_bytes: resume::PAGE_BYTES_FIRST,
            held_back: None,
            sign_of_life: None,
            nonsense: 0,
        }
    }

    /// From now on something is said now and then even if there is nothing to say: an executor
    /// behind pipes learns only so that we are still there, and takes us for gone otherwise.
    pub(crate) fn give_signs_of_life(&mut self) {
        self.sign_of_life = Some(Box::pin(tokio::time::sleep(SIGN_EVERY)));
    }

    /// Serves the connection for as long as it lives and somebody wants it.
    pub(crate) async fn until_end(&mut self, stop: &CancellationToken) -> Ending {
        let mut stopped = pin!(stop.cancelled());
        let link = Arc::clone(&self.link);
        let mut doubted = pin!(link.doubted());
        poll_fn(|cx| {
            if stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ending::Stopped);
            }
            // First what has arrived: it may be the sign of life.
            if let Poll::Ready(ending) = self.poll_turn(cx) {
                return Poll::Ready(ending);
            }
            doubted.as_mut().poll(cx).map(|()| Ending::Lost {
                reason: "the executor gave no sign of life".to_owned(),
            })
        })
        .await
    }

    /// Ends the connection and tells everybody who waits.
    pub(crate) async fn finish(mut self, ending: Ending) {
        let reason = match ending {
            Ending::Lost { reason } | Ending::Hopeless { reason } => reason,
            Ending::Unused | Ending::Stopped => {
                let reason = "the connection was closed".to_owned();
                self.link.lose(&reason);
                self.refuse_queued(&reason);
                for id in self.session.streams.lose_all(&reason) {
                    self.end(&id);
                }
                let ended = poll_fn(|cx| self.poll_farewell(cx));
                if tokio::time::timeout(CLOSE_GRACE, ended).await.is_err() {
                    tracing::warn!("executor did not confirm the end of all processes");
                }
                reason
            }
        };
        // First of all nobody may take this connection for a living one, not even those who hear
        // now that their call failed and try again.
        self.link.lose(&reason);
        self.refuse_queued(&reason);
        for (_, pending) in self.waiting.drain() {
            if let Pending::Call(call) = pending {
                let reason = reason.clone();
                call.waiting.end(Err(CallError::Lost { reason }));
            }
        }
        for command in self.again.drain(..) {
            let reason = reason.clone();
            command.waiting.end(Err(CallError::Lost { reason }));
        }
        self.session.streams.lose_all(&reason);
        self.hang_up().await;
    }

    /// Says goodbye and lets the connection go. An executor that still holds it would refuse its
    /// session to the next one.
    pub(crate) async fn hang_up(&mut self) {
        if let Some(mut wire) = self.wire.take() {
            let _ = tokio::time::timeout(CLOSE_WAIT, wire.close()).await;
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        while let Poll::Ready(release) = self.lanes.releases.poll_recv(cx) {
            // Every handle holds a sender of this queue, so its end means that none is left.
            let Some(Release { id, inbox }) = release else {
                return Poll::Ready(Ending::Unused);
            };
            if self.session.streams.release(&id, &inbox) {
                self.end(&id);
            }
        }
        if let Poll::Ready(ending) = self.poll_inbound(cx) {
            return Poll::Ready(ending);
        }
        // Before what it has to say is sent.
        if let Poll::Ready(ending) = self.poll_watch(cx) {
            return Poll::Ready(ending);
        }
        self.poll_sign_of_life(cx);
        match self.poll_outbound(cx) {
            Poll::Ready(Err(error)) => {
                // What the other side said before it stopped listening still counts.
                let said = self.poll_inbound(cx);
                let reason = error.to_string();
                Poll::Ready(match said {
                    Poll::Ready(ending) => ending,
                    Poll::Pending => Ending::Lost { reason },
                })
            }
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_inbound(cx).is_ready() {
            return Poll::Ready(());
        }
        match ready!(self.poll_outbound(cx)) {
            Ok(()) if self.ending > 0 => Poll::Pending,
            Ok(()) | Err(_) => Poll::Ready(()),
        }
    }

    /// Takes what arrived. Ready when nothing will any more.
    fn poll_inbound(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        for _ in 0..BATCH {
            ready!(self.poll_held_back(cx));
            let Some(wire) = &mut self.wire else {
                let reason = "the connection was given up".to_owned();
                return Poll::Ready(Ending::Lost { reason });
            };
            match ready!(wire.poll_next_unpin(cx)) {
                Some(Ok(text)) => {
                    self.link.hear();
                    self.take(&text);
                }
                Some(Err(error)) if error.is_survivable() => self.nonsense += 1,
                Some(Err(error)) => {
                    let reason = error.to_string();
                    return Poll::Ready(Ending::Lost { reason });
                }
                None => {
                    let reason = "the executor closed the connection".to_owned();
                    return Poll::Ready(Ending::Lost { reason });
                }
            }
            if self.nonsense > NONSENSE_MAX {
                let reason = "the executor sends messages that make no sense".to_owned();
                return Poll::Ready(Ending::Hopeless { reason });
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Pending while a reader that must not lose anything is behind.
    fn poll_held_back(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(held_back) = &mut self.held_back {
            if !held_back.by.holds_back(cx) {
                self.held_back = None;
                self.link.turn_deaf(false);
                break;
            }
            ready!(held_back.sign_of_life.as_mut().poll(cx));
            let next = tokio::time::Instant::now() + SIGN_OF_LIFE;
            held_back.sign_of_life.as_mut().reset(next);
            self.say_sign_of_life();
        }
        Poll::Ready(())
    }

    fn poll_sign_of_life(&mut self, cx: &mut Context<'_>) {
        while let Some(sign) = &mut self.sign_of_life
            && sign.as_mut().poll(cx).is_ready()
        {
            sign.as_mut()
                .reset(tokio::time::Instant::now() + SIGN_EVERY);
            // What waits already is one as well.
            if self.own.is_empty() {
                self.say_sign_of_life();
            }
        }
    }

    /// Saying it twice is harmless, and it has no answer that would pile up.
    fn say_sign_of_life(&mut self) {
        let mut text = String::new();
        frame::notification(&mut text, INITIALIZED, &Empty {});
        self.say(text);
    }

    fn take(&mut self, text: &Text) {
        match self.caller.handle_text(text) {
            Ok(Event::Reply { tag, outcome }) => {
                let outcome = outcome
                    .map(|result| Reply::new(text, result))
                    .map_err(CallError::Refused);
                self.settle(tag, outcome);
            }
            Ok(Event::Notification { method, params }) => {
                let delivered = self.session.streams.deliver(&method, params);
                self.act_on(delivered);
            }
            Ok(Event::Request(request)) => self.refuse(&request),
            Ok(Event::Stray(_)) => self.nonsense += 1,
            Err(error) => {
                if self.nonsense == 0 {
                    tracing::warn!(%error, "executor sent a message that makes no sense");
                }
                self.nonsense += 1;
            }
        }
    }

    fn settle(&mut self, ticket: u64, outcome: Outcome) {
        match self.waiting.remove(&ticket) {
            Some(Pending::Call(Call { waiting, .. })) => {
                if let Purpose::Start { id, .. } = &waiting.purpose
                    && self.session.streams.started(id, outcome.is_ok())
                {
                    self.end(&Arc::clone(id));
                }
                waiting.end(outcome);
            }
            Some(Pending::End(_)) => self.ending -= 1,
            Some(Pending::Page(id)) => self.take_page(&id, outcome),
            Some(Pending::Probe) => self.probed(),
            None => {}
        }
    }

    fn act_on(&mut self, delivered: Delivered) {
        match delivered {
            Delivered::To(inbox) => {
                if inbox.is_full() {
                    self.link.turn_deaf(true);
                    self.held_back = Some(HeldBack {
                        by: inbox,
                        sign_of_life: Box::pin(tokio::time::sleep(SIGN_OF_LIFE)),
                    });
                }
            }
            // Telling the executor that we are done with it lets it forget the process early.
            Delivered::Last(id) => self.end(&id),
            Delivered::Broken(id, reason) => {
                tracing::warn!(process = &*id, reason, "process was given up");
                self.end(&id);
            }
            Delivered::Nobody => {}
        }
    }

    fn refuse(&mut self, request: &Request<'_>) {
        let method = &request.method;
        let error = RpcError::new(
            ErrorCode::MethodNotFound,
            format!("this client does not implement {method}"),
        );
        let mut text = String::new();
        frame::refusal(&mut text, &request.id, &error);
        self.say(text);
    }
}
