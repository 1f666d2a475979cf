//! One connection, from its first message to its end: the gates of the handshake, the calls in
//! flight, and the order in which everything is written.
//!
//! ```text
//!              ┌─────────────────────────── one task ───────────────────────────┐
//!   wire ────▶ │ read ─▶ dispatch ─▶ answered at once ──▶ ┌────────┐            │
//!              │            └─▶ in flight ──▶ finished ─▶ │ outbox │ ──▶ flush ─│──▶ wire
//!              │                                          └────────┘            │
//!              │        what processes say ──(nothing else to write)──▶         │
//!              └────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The task owns the wire whole, so reading never waits for writing: when the peer takes no
//! answers we stop reading its requests and go on writing. All requests found in one go are
//! handled before one flush sends all their answers. Priority: stopping, requests, finished
//! calls, answers, and last what processes say.

mod flights;
mod outbox;
mod rhythm;
mod writing;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use farstep_protocol::method::initialize::{
    ChannelTerms, INITIALIZE, INITIALIZED, InitializeParams, InitializeResult,
};
use farstep_protocol::rpc::{self, Limits, Message, Request, RequestId, RpcError};
use farstep_transport::{Attention, Padding, PaddingWish, Rekeys, Text, Wire, WireError};
use futures_util::SinkExt as _;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use crate::attached::Attached;
use crate::audit::{Event, Who};
use crate::dispatch::{self, Answer, Calls, Pieces, TornError};
use crate::errors;
use crate::server::Server;
use crate::surroundings::Surroundings;
use flights::Flights;
use outbox::Outbox;
pub(crate) use outbox::{ANSWERS_MAX, BYTES_MAX as ANSWER_BYTES_MAX};
use rhythm::Rhythm;

/// Requests of one connection that are not answered yet. Beyond it we stop reading.
pub(crate) const IN_FLIGHT_MAX: usize = 1024;

/// Bytes of blocks that are asked for and not answered yet. Beyond it we stop reading: each of them may
/// be in memory before the peer takes any.
pub(crate) const BLOCK_BYTES_IN_FLIGHT_MAX: usize = 32 * 1024 * 1024;

/// Messages handled before their answers are flushed: what one read finds is usually less, and a
/// peer that never pauses still gets its answers.
const BATCH_MESSAGES: usize = 256;

/// How long a closing connection may take to say goodbye.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the peer closed it")]
    Closed,
    #[error("the peer broke the rules: {0}")]
    Violation(&'static str),
    #[error("the peer did not say `initialize` in time")]
    Unheard,
    #[error("messages cannot be carried any more: {0}")]
    Broken(WireError),
    #[error("{0}")]
    Torn(TornError),
    #[error("the executor stops")]
    Stopping,
}

/// Serves one connection of `who` to its end, and returns what is left of it. `patience` is how
/// long the peer may take to say `initialize`, and to say it again after a refusal; without one it
/// may take for ever.
pub(crate) fn serve<W: Wire>(
    server: &Arc<Server>,
    wire: W,
    who: Who,
    patience: Option<Duration>,
    stop: &CancellationToken,
) -> impl Future<Output = (End, W)> {
    let surroundings = Arc::clone(server.surroundings());
    serve_in(surroundings, server, wire, who, patience, stop)
}

/// The same for one whose sessions have surroundings of their own.
pub(crate) fn serve_in<W: Wire>(
    surroundings: Arc<Surroundings>,
    server: &Arc<Server>,
    wire: W,
    who: Who,
    patience: Option<Duration>,
    stop: &CancellationToken,
) -> impl Future<Output = (End, W)> {
    let server = Arc::clone(server);
    let moment = match wire.attention() {
        Some(_) => server.vigil().moment(),
        None => Duration::ZERO,
    };
    // In memory of its own: every future that it passes through would keep room for it.
    let connection = Box::new(Connection {
        calls: Calls::new(Arc::clone(&server), Arc::clone(&surroundings)),
        server,
        surroundings,
        who,
        wire,
        phase: Phase::Silent,
        silence: patience.map(Silence::begin),
        in_flight: Flights::new(),
        outbox: Outbox::default(),
        sending: None,
        output_next: false,
        draining: false,
        note_next: false,
        rhythm: Rhythm::new(moment),
    });
    run(connection, stop)
}

async fn run<W: Wire>(mut connection: Box<Connection<W>>, stop: &CancellationToken) -> (End, W) {
    let end = {
        let mut stopped = pin!(stop.cancelled());
        let mut grace: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            if grace.is_none() && stopped.as_mut().poll(cx).is_ready() {
                connection.draining = true;
                grace = Some(Box::pin(tokio::time::sleep(connection.server.drain())));
            }
            let polled = connection.poll(cx);
            match &mut grace {
                // What was asked before the stop is answered, within the grace.
                Some(grace) if polled.is_pending() => {
                    if connection.is_drained() || grace.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(End::Stopping);
                    }
                    Poll::Pending
                }
                _ => polled,
            }
        })
        .await
    };
    let wire = Box::pin(connection.close(&end)).await;
    (end, wire)
}

struct Connection<W> {
    server: Arc<Server>,
    surroundings: Arc<Surroundings>,
    who: Who,
    wire: W,
    phase: Phase,
    /// Runs while the phase is silent.
    silence: Option<Silence>,
    calls: Calls,
    in_flight: Flights,
    outbox: Outbox,
    /// An answer of which a part was sent: nothing else may be until it is whole.
    sending: Option<Box<Pieces>>,
    /// Whose turn it is when both large answers and output are waiting.
    output_next: bool,
    /// The executor stops: nothing more is read.
    draining: bool,
    /// Whose turn it is when both a process and other long work have something to say.
    note_next: bool,
    /// Whether the next request is worth staying awake for.
    rhythm: Rhythm,
}

/// How long the peer may stay without a session.
struct Silence {
    patience: Duration,
    over: Pin<Box<Sleep>>,
}

impl Silence {
    fn begin(patience: Duration) -> Silence {
        Silence {
            patience,
            over: Box::pin(tokio::time::sleep(patience)),
        }
    }
}

/// How far the handshake is.
enum Phase {
    Silent,
    /// `initialize` was answered, `initialized` is awaited.
    Greeted(Attached),
    Open(Attached),
}

impl<W: Wire> Connection<W> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.rhythm.turn(self.server.vigil().turn());
        loop {
            let read = match self.read(cx) {
                Ok(read) => read,
                Err(end) => return Poll::Ready(end),
            };
            let finished = self.take_finished(cx);
            let wrote = match self.write(cx) {
                Ok(wrote) => wrote,
                Err(end) => return Poll::Ready(end),
            };
            if !(read || finished || wrote) {
                match self.stay_awake(cx) {
                    Ok(false) => {}
                    Ok(true) => continue,
                    Err(end) => return Poll::Ready(end),
                }
                // Only now: what has arrived counts, however late we looked.
                return match &mut self.silence {
                    Some(silence) => silence.over.as_mut().poll(cx).map(|()| End::Unheard),
                    None => Poll::Pending,
                };
            }
        }
    }

    /// Waits for the next request without sleeping, for a moment, if the caller asks one right
    /// behind the other and nothing else is going on here. Says whether something came.
    fn stay_awake(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let Some(moment) = self.rhythm.awake_for(Instant::now) else {
            return Ok(false);
        };
        if !self.is_drained() || !self.may_read() {
            return Ok(false);
        }
        let server = Arc::clone(&self.server);
        let (Some(_awake), Some(attention)) = (server.vigil().enter(), self.wire.attention())
        else {
            return Ok(false);
        };
        attention.pay(moment);
        let read = self.read(cx);
        let found = self.wire.attention().is_some_and(Attention::end);
        if !found {
            self.rhythm.missed();
        }
        read.map(|_| found)
    }

    /// Handles the requests that have arrived. Says whether there may be more.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        for _ in 0..BATCH_MESSAGES {
            if !self.may_read() {
                // Whatever makes room again was polled already or is polled after this.
                return Ok(false);
            }
            match Pin::new(&mut self.wire).poll_next(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(None) => return Err(End::Closed),
                Poll::Ready(Some(Ok(message))) => self.handle(&message)?,
                Poll::Ready(Some(Err(error))) if error.is_survivable() => {
                    self.outbox
                        .push(dispatch::refusal(&RequestId::UNKNOWN, &errors::not_text()));
                }
                Poll::Ready(Some(Err(error))) => {
                    if matches!(error, WireError::Overloaded) {
                        self.outbox.push(dispatch::refusal(
                            &RequestId::UNKNOWN,
                            &errors::overloaded(&error.to_string()),
                        ));
                    }
                    return Err(End::Broken(error));
                }
            }
        }
        Ok(true)
    }

    /// Whether every call that came before the stop is answered.
    fn is_drained(&self) -> bool {
        let is_quiet = self.in_flight.is_empty() && self.calls.waiting() == 0;
        is_quiet && self.sending.is_none() && self.outbox.is_empty()
    }

    fn may_read(&self) -> bool {
        !self.draining
            && self.in_flight.len() + self.calls.waiting() < IN_FLIGHT_MAX
            && self.calls.promised() < BLOCK_BYTES_IN_FLIGHT_MAX
            && self.outbox.has_room()
    }

    fn handle(&mut self, message: &Text) -> Result<(), End> {
        tracing::trace!(bytes = message.len(), "message received");
        self.server.carried(message.len());
        match rpc::parse(message, &Limits::default()) {
            Err(error) => self.outbox.push(dispatch::refusal(
                &RequestId::UNKNOWN,
                &errors::malformed(&error),
            )),
            Ok(Message::Request(request)) => {
                self.rhythm.asked(Instant::now);
                self.request(message, request);
            }
            Ok(Message::Notification { method, .. }) if method == INITIALIZED => {
                self.initialized()?
            }
            Ok(Message::Notification { .. }) => return Err(End::Violation("unknown notification")),
            Ok(Message::Reply { .. }) => {
                return Err(End::Violation("reply to a request that was never made"));
            }
        }
        Ok(())
    }

    fn request(&mut self, message: &Text, request: Request<'_>) {
        if request.method == INITIALIZE {
            let answer = match self.initialize(&request) {
                Ok(result) => {
                    self.silence = None;
                    dispatch::reply(&request.id, &result)
                }
                Err(error) => {
                    // It may try again, as one does whose session is still attached.
                    let patience = self.silence.as_ref().map(|silence| silence.patience);
                    self.silence = patience.map(Silence::begin);
                    dispatch::refusal(&request.id, &error)
                }
            };
            return self.outbox.push(answer);
        }
        let missing = match &self.phase {
            Phase::Open(attached) => {
                return match self.calls.answer(attached.session(), message, request) {
                    Answer::Now(text) => self.outbox.push(text),
                    Answer::Later(flight) => self.in_flight.push(flight),
                    Answer::Waits => {}
                };
            }
            Phase::Silent => "initialize must come first",
            Phase::Greeted(_) => "initialized must come first",
        };
        let error = if dispatch::is_known(&request.method) {
            errors::out_of_turn(missing)
        } else {
            errors::unknown_method(&request.method)
        };
        self.outbox.push(dispatch::refusal(&request.id, &error));
    }

    fn initialize(&mut self, request: &Request<'_>) -> Result<InitializeResult, RpcError> {
        if !matches!(self.phase, Phase::Silent) {
            return Err(errors::out_of_turn("this connection has a session already"));
        }
        let params: InitializeParams = request.params.parse()?;
        let channel = self.agree(params.farstep_channel)?;
        let wish = params.farstep.unwrap_or_default();
        let retention = wish.retention_seconds.map(Duration::from_secs);
        let attached = match (&params.resume_session_id, retention) {
            (Some(id), _) => {
                let resumed = self.server.resume(id, &self.who, wish.peek);
                resumed.map_err(errors::resume)?
            }
            (None, Some(retention)) => {
                let opened = self
                    .server
                    .open_durable(&self.who, &self.surroundings, retention);
                opened.map_err(|error| errors::durable(&error))?
            }
            (None, None) => self.server.open(&self.who, &self.surroundings),
        };
        let result = InitializeResult {
            session_id: attached.id().reveal().to_owned(),
            environment_info: Some(self.surroundings.info().clone()),
            farstep: attached.terms(),
            farstep_channel: channel,
        };
        self.keep(channel.unwrap_or_default());
        let resumed = params.resume_session_id.is_some();
        tracing::info!(session = %attached.id(), resumed, "session attached");
        self.server.attached();
        self.who.session = Some(attached.id().to_string().into());
        let span = tracing::info_span!("session", session = %attached.id());
        self.calls.belong_to(self.who.clone(), span);
        let metrics = self.server.metrics();
        let event = if resumed {
            metrics.resumed.increment(1);
            Event::SessionResume
        } else {
            metrics.opened.increment(1);
            Event::SessionNew
        };
        self.server.audit().record(&self.who, event);
        self.phase = Phase::Greeted(attached);
        Ok(result)
    }

    /// What of it this connection has and wants. Nothing changes before there is a session.
    fn agree(&self, asked: Option<ChannelTerms>) -> Result<Option<ChannelTerms>, RpcError> {
        let asks_for_padding = asked.is_some_and(|asked| asked.padding);
        let wish = self.wire.padding_wish();
        if wish == PaddingWish::Always && !asks_for_padding {
            return Err(errors::unpadded());
        }
        let agreed = asked.map(|asked| ChannelTerms {
            rekey: asked.rekey && self.wire.has_keys(),
            padding: asked.padding && self.wire.has_keys() && wish != PaddingWish::Never,
        });
        Ok(agreed)
    }

    /// Does what was agreed, from the answer on.
    fn keep(&mut self, agreed: ChannelTerms) {
        if agreed.rekey {
            self.wire.set_rekeys(Rekeys::Agreed);
        }
        if agreed.padding {
            self.wire.set_padding(Padding::Agreed);
        }
    }

    fn initialized(&mut self) -> Result<(), End> {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Silent) {
            Phase::Silent => return Err(End::Violation("initialized before initialize")),
            Phase::Greeted(attached) => Phase::Open(attached),
            // Saying it again is a sign of life.
            Phase::Open(attached) => {
                self.wire.expect_signs();
                Phase::Open(attached)
            }
        };
        Ok(())
    }

    /// Takes in what has finished; says whether anything has.
    fn take_finished(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while let Poll::Ready(finished) = self.in_flight.poll_finished(cx) {
            any = true;
            let released = self.calls.finish(finished);
            // The answer to a start goes before whatever its process says.
            self.outbox.push(released.reply);
            self.in_flight.extend(released.flights);
            for message in released.messages {
                // They were requests when they came in, so they end nothing now.
                let _: Result<(), End> = self.handle(&message);
            }
        }
        any
    }

    /// Ends the session's attachment at once, then the connection with the reason, if it can
    /// still be told.
    async fn close(mut self: Box<Self>, end: &End) -> W {
        if let End::Broken(WireError::TooLong { .. }) = end {
            let limit = "messageBytes";
            self.server
                .audit()
                .record(&self.who, Event::LimitHit { limit });
        }
        if !matches!(self.phase, Phase::Silent) {
            self.server.audit().record(&self.who, Event::SessionDetach);
        }
        self.phase = Phase::Silent;
        self.in_flight.clear();
        let farewell = match end {
            End::Violation(reason) => reason,
            End::Unheard => "initialize did not come in time",
            End::Stopping => "the executor is stopping",
            End::Torn(_) => "an answer could not be finished",
            End::Broken(WireError::TooLong { .. }) => "a message is larger than allowed",
            End::Broken(WireError::Overloaded) => "overloaded, try again",
            End::Broken(WireError::Unresponsive { .. }) => "pings were not answered",
            End::Broken(WireError::Silent { .. }) => "there were no signs of life any more",
            End::Closed | End::Broken(_) => return self.wire,
        };
        self.wire.set_farewell(farewell);
        let goodbye = async {
            while self.sending.is_none()
                && let Some(text) = self.outbox.next_small()
            {
                self.wire.feed(text).await?;
            }
            self.wire.close().await
        };
        // A peer that does not listen is not waited for.
        if let Ok(Err(error)) = tokio::time::timeout(FAREWELL_MAX, goodbye).await {
            tracing::debug!(%error, "the peer was gone before goodbye");
        }
        self.wire
    }
}

#[cfg(test)]
mod tests;
