//! One websocket at the relay, and the streams inside it.
//!
//! Reading and writing are two futures of one task, so that neither waits for the other. A stream
//! is a task of its own; the table of streams belongs to the reader alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use farstep_protocol::relay::{Frame, Kind, PROTOCOL_ERROR};
use farstep_transport::WireError;
use farstep_transport::websocket::Binary;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, PollSender};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::registry::Socket;
use super::share::Share;
use super::{Context, stream};

/// Streams at once, as many as the peer has.
const STREAMS_MAX: usize = 128;

/// Streams whose orchestrator is being judged at once. More wait their turn.
const JUDGED_MAX: usize = 32;

/// Frames of one stream that wait for it: a full window of what it may take at once. When it is
/// full the websocket is not read for [`STALL_MAX`], then the stream is reset.
const INBOUND_FRAMES: usize = 16;

const STALL_MAX: Duration = Duration::from_secs(10);

/// Frames of all streams that wait for the websocket. Few, because a small answer waits behind them.
const OUTBOUND_FRAMES: usize = 8;

/// How long streams may take to end when the websocket is gone or the executor stops.
const ENDING_MAX: Duration = Duration::from_secs(1);

/// The websocket of a link.
pub(super) type Websocket = Binary<Socket>;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkEnd {
    #[error("the relay closed it")]
    Closed,
    #[error("{0}")]
    Broken(WireError),
}

/// A stream as the reader knows it.
struct Known {
    /// Tells it from an earlier one of the same id.
    serial: u64,
    inbound: mpsc::Sender<Bytes>,
}

/// A stream ended on our side.
struct Ended {
    stream: String,
    serial: u64,
    /// What its orchestrator is told.
    reason: &'static str,
}

/// Serves a websocket until it ends.
pub(super) async fn serve(
    context: &Arc<Context>,
    websocket: Websocket,
    stop: &CancellationToken,
) -> LinkEnd {
    let (sink, frames) = websocket.split();
    let (to_relay, outbound) = mpsc::channel(OUTBOUND_FRAMES);
    let (ended, endings) = mpsc::channel(STREAMS_MAX);
    let tasks = TaskTracker::new();
    let stop = stop.child_token();
    let reader = Reader {
        context,
        streams: HashMap::new(),
        serial: 0,
        judged: Arc::new(Semaphore::new(JUDGED_MAX)),
        to_relay,
        ended,
        tasks: tasks.clone(),
        stop: stop.clone(),
    };
    let end = tokio::select! {
        end = reader.run(frames, endings) => end,
        end = write(sink, outbound) => end,
    };
    // Sessions detach when their connections end; their processes go on.
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(ENDING_MAX, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("some streams were still ending when their websocket was gone");
    }
    end
}

struct Reader<'a> {
    context: &'a Arc<Context>,
    streams: HashMap<String, Known>,
    serial: u64,
    judged: Arc<Semaphore>,
    to_relay: mpsc::Sender<Bytes>,
    ended: mpsc::Sender<Ended>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Reader<'_> {
    async fn run(
        mut self,
        mut frames: SplitStream<Websocket>,
        mut endings: mpsc::Receiver<Ended>,
    ) -> LinkEnd {
        loop {
            tokio::select! {
                biased; // What ended makes room for what comes.
                Some(ended) = endings.recv() => self.forget(ended).await,
                frame = frames.next() => match frame {
                    Some(Ok(bytes)) => self.take(bytes).await,
                    Some(Err(error)) => return LinkEnd::Broken(error),
                    None => return LinkEnd::Closed,
                },
            }
        }
    }

    async fn take(&mut self, bytes: Bytes) {
        let Ok(frame) = Frame::decode(bytes.clone()) else {
            return tracing::debug!(bytes = bytes.len(), "not a frame");
        };
        let stream = frame.stream;
        match frame.kind {
            // A second handshake on a stream that lives would only end it.
            Kind::Handshake(_) if self.streams.contains_key(&stream) => {}
            Kind::Handshake(_) if self.streams.len() >= STREAMS_MAX => {
                tracing::warn!("more than {STREAMS_MAX} streams");
                self.reset(stream, PROTOCOL_ERROR).await;
            }
            Kind::Handshake(first) => self.open(stream, first),
            Kind::Data { .. } => self.pass_on(stream, bytes).await,
            Kind::Reset { .. } => {
                // Its task sees the end of its frames.
                self.streams.remove(&stream);
            }
            Kind::Ack | Kind::Resume { .. } | Kind::Heartbeat => {}
        }
    }

    async fn pass_on(&mut self, stream: String, bytes: Bytes) {
        let Some(known) = self.streams.get(&stream) else {
            return self.reset(stream, PROTOCOL_ERROR).await;
        };
        let sent = known.inbound.send_timeout(bytes, STALL_MAX).await;
        if sent.is_err() {
            self.streams.remove(&stream);
            self.reset(stream, PROTOCOL_ERROR).await;
        }
    }

    fn open(&mut self, id: String, first: Bytes) {
        self.serial += 1;
        let serial = self.serial;
        let (inbound, from_relay) = mpsc::channel(INBOUND_FRAMES);
        let share = Share {
            from_relay,
            to_relay: PollSender::new(self.to_relay.clone()),
        };
        self.streams.insert(id.clone(), Known { serial, inbound });
        let opening = stream::serve(stream::Opening {
            context: Arc::clone(self.context),
            id: id.clone(),
            first,
            share,
            judged: Arc::clone(&self.judged),
            stop: self.stop.clone(),
        });
        let ended = self.ended.clone();
        let span = tracing::info_span!("stream", stream = id);
        let task = async move {
            let reason = opening.await;
            let over = Ended {
                stream: id,
                serial,
                reason,
            };
            // The link is over when nobody takes it.
            let _: Result<(), _> = ended.send(over).await;
        };
        self.tasks.spawn(task.instrument(span));
    }

    async fn forget(&mut self, ended: Ended) {
        let known = self.streams.get(&ended.stream);
        if known.is_some_and(|known| known.serial == ended.serial) {
            self.streams.remove(&ended.stream);
            self.reset(ended.stream, ended.reason).await;
        }
    }

    async fn reset(&self, stream: String, reason: &'static str) {
        // The writer is gone only together with us.
        let frame = Frame::reset(stream, reason).encode();
        let _: Result<(), _> = self.to_relay.send(frame).await;
    }
}

/// Writes what streams hand over, several frames at a time if there are.
async fn write(
    mut sink: SplitSink<Websocket, Bytes>,
    mut outbound: mpsc::Receiver<Bytes>,
) -> LinkEnd {
    while let Some(bytes) = outbound.recv().await {
        let written = async {
            let mut next = Some(bytes);
            for _ in 0..OUTBOUND_FRAMES {
                let Some(bytes) = next.take() else { break };
                sink.feed(bytes).await?;
                next = outbound.try_recv().ok();
            }
            if let Some(bytes) = next {
                sink.feed(bytes).await?;
            }
            sink.flush().await
        };
        if let Err(error) = written.await {
            return LinkEnd::Broken(error);
        }
    }
    LinkEnd::Closed
}
