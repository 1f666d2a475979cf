//! Taking a session up again on another connection, within a window.
//!
//! A laptop that slept, a tunnel that was restarted, a network that changed: the executor keeps a
//! session for a while (`exec-protocol` section 4.2), and until our window is over everybody who
//! uses the environment simply waits. What ends the attempt at once is an executor that does not
//! know the session any more, because then no waiting helps.

use std::sync::Arc;
use std::time::Duration;

use farstep_protocol::rpc::ErrorCode;
use farstep_transport::Wire;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::child::Child;
use super::{ConnectError, Trail};
use crate::client::{self, Greeting, HandshakeError, SessionId, Wanted};

/// From the loss until we give up: below the 80 s for which executors keep a session, because the
/// two sides start their clocks independently (`environments` section 6).
pub(crate) const WINDOW: Duration = Duration::from_secs(45);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection, and the program at its other end if it was started for it.
pub(crate) type Reached<W> = (W, Option<Child>);

/// A way to another connection to the same executor.
pub(crate) trait Redial<W>: Send + Sync {
    fn redial<'a>(
        &'a self,
        trail: &'a mut Trail,
    ) -> BoxFuture<'a, Result<Reached<W>, ConnectError>>;

    /// Whether only an executor that knows durable sessions is still there when its connection is
    /// not.
    fn needs_durability(&self) -> bool {
        false
    }

    /// How long to wait between two attempts, where the failure does not say.
    fn pause(&self) -> Duration {
        PAUSE
    }
}

/// What it takes to recover a connection.
pub(crate) struct Recovery<W> {
    pub(crate) way: Arc<dyn Redial<W>>,
    pub(crate) window: Duration,
    /// For the handshake of one attempt.
    pub(crate) initialize_timeout: Duration,
}

/// How one attempt failed.
enum Attempt {
    /// The next one may succeed, after a while.
    Again(String, Duration),
    /// It will not get better.
    Final(String),
}

impl<W: Wire> Recovery<W> {
    /// Takes the session up again. Fails with a reason that tells the loss and what followed.
    pub(crate) async fn run(
        &self,
        session: &SessionId,
        loss: &str,
        stop: &CancellationToken,
    ) -> Result<(Reached<W>, Greeting), String> {
        let deadline = Instant::now() + self.window;
        let session = &Wanted::Resume {
            id: session.clone(),
            peek: false,
        };
        let mut last = String::new();
        let attempts = async {
            loop {
                match self.attempt(session).await {
                    Ok(resumed) => return Ok(resumed),
                    Err(Attempt::Final(reason)) => return Err(reason),
                    Err(Attempt::Again(reason, pause)) => {
                        tracing::debug!(reason, "not resumed yet");
                        last = reason;
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        };
        let resumed = tokio::select! {
            biased; // Who stops does not want to wait.
            () = stop.cancelled() => Err("it was stopped".to_owned()),
            resumed = tokio::time::timeout_at(deadline, attempts) => {
                let timed_out = |_| Err(format!("recovery timed out after {:?}", self.window));
                resumed.unwrap_or_else(timed_out)
            }
        };
        resumed.map_err(|reason| {
            let last = if last.is_empty() {
                last
            } else {
                format!(" ({last})")
            };
            format!("{loss}; failed to resume exec-server session: {reason}{last}")
        })
    }

    async fn attempt(&self, session: &Wanted) -> Result<(Reached<W>, Greeting), Attempt> {
        let redialled = self.way.redial(&mut Trail::default()).await;
        let (mut wire, mut child) = redialled.map_err(|error| {
            let reason = error.to_string();
            if error.may_pass() {
                Attempt::Again(reason, error.pause().unwrap_or(self.way.pause()))
            } else {
                Attempt::Final(reason)
            }
        })?;
        let mut noise = None;
        let shaken = client::handshake(&mut wire, session, &mut noise);
        let limit = self.initialize_timeout;
        let mut reason = match tokio::time::timeout(limit, shaken).await {
            Ok(Ok(greeting)) => return Ok(((wire, child), greeting)),
            Ok(Err(HandshakeError::Refused(refusal)))
                if !refusal.is(ErrorCode::SessionAttached) =>
            {
                return Err(Attempt::Final(refusal.to_string()));
            }
            Ok(Err(error @ HandshakeError::Unpadded)) => {
                return Err(Attempt::Final(error.to_string()));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer to the handshake after {limit:?}"),
        };
        drop(wire);
        if let Some(child) = &mut child
            && let Some(epitaph) = child.epitaph().await
        {
            reason = format!("{reason}: {epitaph}");
        }
        Err(Attempt::Again(reason, self.way.pause()))
    }
}
