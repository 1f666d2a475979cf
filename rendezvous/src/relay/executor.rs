//! The websocket of an executor.
//!
//! Its two halves are two futures of one task, so that reading never waits for writing.

use std::sync::Arc;

use axum::extract::ws::WebSocket;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;

use super::link::ExecutorLink;
use super::machine::Conn;
use super::{CLOSE_MAX, Ending, Side, socket};

/// Serves an executor's websocket to its end.
pub(crate) async fn serve(link: Arc<ExecutorLink>, websocket: WebSocket) -> Ending {
    let (mut sink, mut stream) = websocket.split();
    let side = Side {
        link: &link,
        conn: Conn::Executor,
        bell: link.bell(),
    };
    let ending = tokio::select! {
        biased; // Stopping beats frames.
        ending = side.bell.ended() => ending,
        ending = socket::read(&side, &mut stream) => ending,
        ending = socket::write(&side, &mut sink) => ending,
    };
    // Its orchestrators come back through the new one, or through the next.
    link.end(ending);
    let ending = link.ending_or(ending);
    let farewell = async {
        match ending.message() {
            Some(message) => sink.send(message).await,
            // The answer to its own.
            None => sink.flush().await,
        }
    };
    // A peer that does not take it misses nothing.
    let _ = timeout(CLOSE_MAX, farewell).await;
    ending
}
