//! Whether one connection still lives, for everybody who wants to know and nobody who keeps it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// The state of one connection, and of those that take its session up again. Holding it does not
/// hold the connection.
#[derive(Debug)]
pub(crate) struct Link {
    serial: u64,
    reason: OnceLock<String>,
    /// Whether the program at the other end ended by itself and without an error.
    ended_well: AtomicBool,
    lost: CancellationToken,
    /// Whether the session is between two connections.
    recovering: watch::Sender<bool>,
    /// Whether anything was received since somebody last asked.
    heard: AtomicBool,
    /// Whether we do not read, because a reader is behind.
    deaf: AtomicBool,
    /// Somebody holds the connection for dead.
    doubted: Notify,
}

impl Link {
    pub(super) fn new() -> Link {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Link {
            serial: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            reason: OnceLock::new(),
            ended_well: AtomicBool::new(false),
            lost: CancellationToken::new(),
            recovering: watch::Sender::new(false),
            heard: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            doubted: Notify::new(),
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

    /// Something was received.
    pub(super) fn hear(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    pub(super) fn turn_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::Relaxed);
    }

    /// Whether nothing was received since this was asked last, though it would have been.
    pub(crate) fn was_silent(&self) -> bool {
        let heard = self.heard.swap(false, Ordering::Relaxed);
        !heard && !self.deaf.load(Ordering::Relaxed)
    }

    /// Lets the connection be given up as one that is dead.
    pub(crate) fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Waits until somebody holds the connection for dead.
    pub(super) async fn doubted(&self) {
        self.doubted.notified().await;
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

    /// To be said before the end is.
    pub(crate) fn end_well(&self) {
        self.ended_well.store(true, Ordering::Release);
    }

    pub(crate) fn ended_well(&self) -> bool {
        self.ended_well.load(Ordering::Acquire)
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
