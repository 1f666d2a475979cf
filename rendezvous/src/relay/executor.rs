//! The websocket of an executor.
//!
//! Its two halves are two futures of one task, so that reading never waits for writing.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::link::ExecutorLink;
use super::machine::Conn;
use super::{CLOSE_MAX, Ending, Reader, Side, Writer, socket};

/// Serves an executor's websocket to its end.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite>(
    link: Arc<ExecutorLink>,
    (mut reader, mut writer): (Reader<S>, Writer<S>),
) -> Ending {
    let side = Side {
        link: &link,
        conn: Conn::Executor,
        bell: link.bell(),
    };
    let ending = tokio::select! {
        biased; // Stopping beats frames.
        ending = side.bell.ended() => ending,
        ending = socket::read(&side, &mut reader) => ending,
        ending = socket::write(&side, &mut writer) => ending,
    };
    // Its orchestrators come back through the new one, or through the next.
    link.end(ending);
    let ending = link.ending_or(ending);
    // A peer that does not take it misses nothing.
    let _ = timeout(CLOSE_MAX, writer.farewell(ending)).await;
    ending
}
