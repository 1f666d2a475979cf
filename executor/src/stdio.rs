//! One connection on standard input and output. Its end is the executor's end.

use std::sync::Arc;

use farstep_transport::lines::Lines;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::audit::Who;
use crate::connection::{self, End};
use crate::server::Server;

/// Why a stdio executor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdioEnd {
    /// The input ended, or we were told to stop.
    Orderly,
    /// The peer broke the rules, or the pipe did.
    Failed,
}

/// Serves the one connection a stdio executor has.
pub async fn serve_stdio(server: &Arc<Server>, stop: &CancellationToken) -> StdioEnd {
    let wire = Lines::new(tokio::io::stdin(), tokio::io::stdout());
    let who = Who {
        conn: Some(1),
        ..Who::default()
    };
    let span = tracing::info_span!("connection", conn = 1);
    // Whoever started this process decides for how long it waits.
    let serving = connection::serve(server, wire, who, None, stop);
    let (end, _wire) = serving.instrument(span).await;
    match end {
        End::Closed | End::Stopping => StdioEnd::Orderly,
        End::Violation(reason) => {
            // Hanging on silently, as others do, leaves the caller guessing.
            tracing::error!(
                reason,
                "the caller broke the protocol, so the executor ends"
            );
            StdioEnd::Failed
        }
        end @ (End::Broken(_) | End::Torn(_) | End::Unheard) => {
            tracing::error!(%end, "the connection failed, so the executor ends");
            StdioEnd::Failed
        }
    }
}
