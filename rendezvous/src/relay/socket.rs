//! A websocket between itself and the machine.

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use farstep_protocol::relay::{Frame, RESTART_NOTICE};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use super::machine::{Conn, Next, Reading};
use super::{Ending, PING_INTERVAL, SILENCE_MAX, Side, WRITE_MAX};

/// Reads until the end; the socket is not read while what it says has no room.
pub(super) async fn read(side: &Side<'_>, stream: &mut SplitStream<WebSocket>) -> Ending {
    let Side { link, conn, bell } = *side;
    let relayed = match conn {
        Conn::Executor => &link.counts.relayed_down,
        Conn::Harness(_) => &link.counts.relayed_up,
    };
    loop {
        let (frame, bytes) = match next_frame(stream).await {
            Ok(next) => next,
            Err(ending) => return ending,
        };
        relayed.increment(bytes.len() as u64);
        // What is above the tenant's rate waits in the sender's socket.
        link.limits
            .pace(&link.environment.tenant, bytes.len())
            .await;
        if link.on_frame(conn, &frame, bytes) == Reading::Stop {
            link.readable(conn, bell).await;
        }
    }
}

/// Writes what there is, and pings.
pub(super) async fn write(side: &Side<'_>, sink: &mut SplitSink<WebSocket, Message>) -> Ending {
    let Side { link, conn, bell } = *side;
    let mut ping = Instant::now() + PING_INTERVAL;
    let mut is_flushed = true;
    loop {
        let message = if bell.take_notice() {
            Some(Message::Text(Utf8Bytes::from_static(RESTART_NOTICE)))
        } else if Instant::now() >= ping {
            ping = Instant::now() + PING_INTERVAL;
            Some(Message::Ping(Bytes::new()))
        } else {
            match link.next_for(conn) {
                Next::Frame(queued) => {
                    link.metrics.relay_seconds.record(queued.since.elapsed());
                    Some(Message::Binary(queued.bytes))
                }
                Next::Nothing => None,
                // What was written before is flushed by the close.
                Next::End(ending) => return ending,
            }
        };
        let written = match message {
            Some(message) => {
                is_flushed = false;
                timeout(WRITE_MAX, sink.feed(message)).await
            }
            // Once for all that were written, unless more came meanwhile.
            None if !is_flushed => {
                is_flushed = true;
                timeout(WRITE_MAX, sink.flush()).await
            }
            None => {
                tokio::select! {
                    biased; // Frames beat pings, which are for silence.
                    () = bell.may_write.notified() => {}
                    () = sleep_until(ping) => {}
                }
                continue;
            }
        };
        match written {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ending::BROKEN,
            Err(_) => return Ending::SILENT,
        }
    }
}

/// The next frame, and the bytes it is made of. What is none is passed over.
async fn next_frame(stream: &mut SplitStream<WebSocket>) -> Result<(Frame, Bytes), Ending> {
    loop {
        let bytes = match timeout(SILENCE_MAX, stream.next()).await {
            Ok(Some(Ok(Message::Binary(bytes)))) => bytes,
            // Pings are answered below us; a text is nothing we know.
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_)))) => continue,
            Ok(Some(Err(error))) => return Err(read_failed(&error)),
            Ok(Some(Ok(Message::Close(_))) | None) => return Err(Ending::CLOSED),
            Err(_) => return Err(Ending::SILENT),
        };
        match Frame::decode(bytes.clone()) {
            Ok(frame) => return Ok((frame, bytes)),
            Err(_) => tracing::debug!(bytes = bytes.len(), "not a frame"),
        }
    }
}

fn read_failed(error: &axum::Error) -> Ending {
    // The library's own type is not ours to match on.
    match error.to_string().contains("too long") {
        true => Ending::TOO_LARGE,
        false => Ending::BROKEN,
    }
}
