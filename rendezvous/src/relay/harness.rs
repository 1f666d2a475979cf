//! The websocket of one orchestrator, which carries one stream of one executor.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::link::ExecutorLink;
use super::machine::Next;
use super::{CLOSE_MAX, Ending, Reader, Side, Writer, socket};

/// Serves an orchestrator's websocket to its end, or until its credential is `over`.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite>(
    link: Arc<ExecutorLink>,
    (mut reader, mut writer): (Reader<S>, Writer<S>),
    over: impl Future<Output = Ending>,
    wants_notice: bool,
) -> Ending {
    let Some(place) = link.join(wants_notice) else {
        let _ = timeout(CLOSE_MAX, writer.farewell(Ending::FULL)).await;
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
        ending = socket::read(&side, &mut reader) => (ending, ending.is_farewell()),
        ending = socket::write(&side, &mut writer) => (ending, false),
    };
    if ending == Ending::EXPIRED {
        link.expire(side.conn);
    }
    // What was reset is told so on the stream, too.
    let is_reset = ending == Ending::STALLED || ending == Ending::EXPIRED;
    let farewell = async {
        if is_reset {
            while let Next::Frame(queued) = link.next_for(side.conn) {
                writer.binary(queued.bytes);
                writer.write().await?;
            }
        }
        writer.farewell(ending).await
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
