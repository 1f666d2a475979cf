//! A websocket between itself and the machine.

use bytes::Bytes;
use farstep_protocol::relay::{Frame, RESTART_NOTICE};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};

use super::machine::{Conn, Next, Reading};
use super::wire::{Fault, Reader, Said, Silence, Writer};
use super::{Ending, PING_INTERVAL, SILENCE_MAX, Side, WRITE_MAX};

/// What is taken from the queues for one write, in bytes. What was taken cannot be overtaken any
/// more, so it is one full record, or as many small ones.
const WRITE_BYTES: usize = 48 * 1024;

/// What is read or written before others have their turn, in bytes: the other half of the websocket,
/// and whoever waits for the same thread. It is about a tenth of a millisecond.
const TURN_BYTES: usize = 256 * 1024;

/// Reads until the end; the socket is not read while what it says has no room.
pub(super) async fn read<S: AsyncRead>(side: &Side<'_>, reader: &mut Reader<S>) -> Ending {
    let Side { link, conn, bell } = *side;
    let relayed = match conn {
        Conn::Executor => &link.counts.relayed_down,
        Conn::Harness(_) => &link.counts.relayed_up,
    };
    let mut turn = Turn::default();
    loop {
        let (frame, bytes) = match next_frame(side, reader).await {
            Ok(next) => next,
            Err(ending) => return ending,
        };
        let count = bytes.len();
        relayed.increment(count as u64);
        // What is above the tenant's rate waits in the sender's socket.
        link.limits.pace(&link.environment.tenant, count).await;
        if link.on_frame(conn, &frame, bytes) == Reading::Stop {
            link.readable(conn, bell).await;
        }
        turn.moved(count).await;
    }
}

/// Writes what there is, and pings.
pub(super) async fn write<S: AsyncWrite>(side: &Side<'_>, writer: &mut Writer<S>) -> Ending {
    let Side { link, conn, bell } = *side;
    let mut ping = Instant::now() + PING_INTERVAL;
    let mut turn = Turn::default();
    loop {
        if bell.take_notice() {
            writer.text(RESTART_NOTICE);
        }
        if Instant::now() >= ping {
            ping = Instant::now() + PING_INTERVAL;
            writer.ping();
        }
        if let Some(said) = bell.take_pong() {
            writer.pong(&said);
        }
        while writer.waiting() < WRITE_BYTES {
            match link.next_for(conn) {
                Next::Frame(queued) => {
                    link.metrics.relay_seconds.record(queued.since.elapsed());
                    writer.binary(queued.bytes);
                }
                Next::Nothing => break,
                // What waits is written before the farewell.
                Next::End(ending) => return ending,
            }
        }
        let count = writer.waiting();
        if count == 0 {
            tokio::select! {
                biased; // Frames beat pings, which are for silence.
                () = bell.may_write.notified() => {}
                () = sleep_until(ping) => {}
            }
            continue;
        }
        match timeout(WRITE_MAX, writer.write()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ending::BROKEN,
            Err(_) => return Ending::SILENT,
        }
        turn.moved(count).await;
    }
}

/// Lets others have their turn.
#[derive(Default)]
struct Turn(usize);

impl Turn {
    async fn moved(&mut self, bytes: usize) {
        self.0 += bytes;
        if self.0 >= TURN_BYTES {
            self.0 = 0;
            yield_now().await;
        }
    }
}

/// The next frame, and the bytes it is made of. What is none is passed over.
async fn next_frame<S: AsyncRead>(
    side: &Side<'_>,
    reader: &mut Reader<S>,
) -> Result<(Frame, Bytes), Ending> {
    loop {
        let bytes = match timeout(SILENCE_MAX, reader.next()).await {
            Ok(Ok(Said::Binary(bytes))) => bytes,
            Ok(Ok(Said::Ping(said))) => {
                side.bell.pinged(said);
                continue;
            }
            Ok(Ok(Said::Other)) => continue,
            Ok(Ok(Said::Close)) => return Err(Ending::CLOSED),
            Ok(Err(Silence::Fault(Fault::TooLarge))) => return Err(Ending::TOO_LARGE),
            Ok(Err(Silence::Fault(Fault::Rules) | Silence::Broken)) => return Err(Ending::BROKEN),
            Err(_) => return Err(Ending::SILENT),
        };
        match Frame::decode(bytes.clone()) {
            Ok(frame) => return Ok((frame, bytes)),
            Err(_) => tracing::debug!(bytes = bytes.len(), "not a frame"),
        }
    }
}
