//! The websocket of one orchestrator, which carries one stream of one executor.

use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;

use super::link::ExecutorLink;
use super::machine::Next;
use super::{CLOSE_MAX, Ending, Side, socket};

/// Serves an orchestrator's websocket to its end, or until its credential is `over`.
pub(crate) async fn serve(
    link: Arc<ExecutorLink>,
    websocket: WebSocket,
    over: impl Future<Output = Ending>,
    wants_notice: bool,
) -> Ending {
    let (mut sink, mut stream) = websocket.split();
    let Some(place) = link.join(wants_notice) else {
        if let Some(message) = Ending::FULL.message() {
            let _ = timeout(CLOSE_MAX, sink.send(message)).await;
        }
        return Ending::FULL;
    };
    let side = Side {
        link: &link,
        conn: place.conn,
        bell: &place.bell,
    };
    let (ending, gently) = tokio::select! {
        biased; // Stopping beats frames.
        ending = over => (ending, false),
        ending = side.bell.ended() => (ending, false),
        _ = link.bell().ended() => (Ending::GONE, false),
        ending = socket::read(&side, &mut stream) => (ending, ending.is_farewell()),
        ending = socket::write(&side, &mut sink) => (ending, false),
    };
    if ending == Ending::EXPIRED {
        link.expire(side.conn);
    }
    // What was reset is told so on the stream, too.
    let is_reset = ending == Ending::STALLED || ending == Ending::EXPIRED;
    let farewell = async {
        if is_reset {
            while let Next::Frame(queued) = link.next_for(side.conn) {
                sink.send(Message::Binary(queued.bytes)).await?;
            }
        }
        match ending.message() {
            Some(message) => sink.send(message).await,
            // The answer to its farewell.
            None => sink.flush().await,
        }
    };
    if is_reset {
        // A peer that does not take it misses nothing.
        let _ = timeout(CLOSE_MAX, farewell).await;
        place.leave(gently);
    } else {
        place.leave(gently);
        let _ = timeout(CLOSE_MAX, farewell).await;
    }
    ending
}
