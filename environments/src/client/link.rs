//! Whether one connection still lives, for everybody who wants to know and nobody who keeps it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The state of one connection, and of those that take its session up again. Holding it does not
/// hold the connection.
#[derive(Debug)]
pub(crate) struct Link {
    serial: u64,
    reason: OnceLock<String>,
    lost: CancellationToken,
    /// Whether the session is between two connections.
    recovering: watch::Sender<bool>,
}

impl Link {
    pub(super) fn new() -> Link {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Link {
            serial: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            reason: OnceLock::new(),
            lost: CancellationToken::new(),
            recovering: watch::Sender::new(false),
        }
    }

    /// Whether the connection is gone and its session is being taken up again on another one.
    pub(crate) fn is_recovering(&self) -> bool {
        *self.recovering.borrow()
    }

    pub(super) fn recover(&self, recovering: bool) {
        self.recovering.send_replace(recovering);
    }

    /// Waits until it is clear how a recovery under way ends, if there is one.
    pub(super) async fn settled(&self) {
        // The sender lives in `self`.
        let _ = self
            .recovering
            .subscribe()
            .wait_for(|under_way| !under_way)
            .await;
    }

    /// The number of the connection in this process, for logs (`conn`).
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    pub(crate) fn is_up(&self) -> bool {
        self.reason.get().is_none()
    }

    /// Why the connection ended; while it lives, that nothing is known.
    pub(crate) fn reason(&self) -> String {
        let reason = self.reason.get().map(String::as_str);
        reason.unwrap_or("the connection is closing").to_owned()
    }

    /// Waits for the end and tells the reason.
    pub(crate) async fn lost(&self) -> String {
        self.lost.cancelled().await;
        self.reason()
    }

    /// Ends it. Only the first reason counts.
    pub(super) fn lose(&self, reason: &str) {
        let _ = self.reason.set(reason.to_owned());
        self.lost.cancel();
        self.recover(false);
    }
}
