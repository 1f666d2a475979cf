//! The wish to stop, from the keyboard or from whoever started us.

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How often somebody has asked.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// The first time: end in an orderly way.
    pub softly: CancellationToken,
    /// The second time: end now.
    pub at_once: CancellationToken,
}

impl Stop {
    /// Listens until the handle is dropped.
    pub fn listen() -> (Self, AbortOnDropHandle<()>) {
        let stop = Self::default();
        let heard = stop.clone();
        let listener = tokio::spawn(async move {
            match Signals::new() {
                Ok(mut signals) => {
                    signals.next().await;
                    heard.softly.cancel();
                    signals.next().await;
                    heard.at_once.cancel();
                }
                Err(error) => tracing::warn!(%error, "signals cannot be heard"),
            }
        });
        (stop, AbortOnDropHandle::new(listener))
    }
}

/// Kept between two signals, so that none in between is missed.
#[cfg(unix)]
struct Signals([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "Ctrl-C cannot be heard");
            std::future::pending().await
        }
    }
}
