//! From an entry of the configuration to a live connection.
//!
//! ```text
//!   websocket: name, TCP, TLS, upgrade ─┐             one round trip
//!   stdio: spawn                       ─┴▶ handshake ─────────────▶ Executor
//!                                                                └─▶ a task that drives it
//! ```
//!
//! Knows how executors are reached and nothing of when: that is [`crate::Environment`]'s.

mod child;
mod error;
mod recover;
mod secret;
mod stdio;
mod websocket;
mod withheld;

use farstep_protocol::rpc::Trace;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use farstep_transport::Wire;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub use error::ConnectError;

pub(crate) use child::{Program, printable};
pub(crate) use recover::{Recovery, Redial, WINDOW as RECOVERY_WINDOW};
pub(crate) use secret::Bearer;
pub use secret::Variable;
pub(crate) use stdio::Stdio;
pub(crate) use websocket::{Target, WebSocket};
pub(crate) use withheld::Withheld;

use crate::client::{self, Ending, Executor};
use child::Child;

/// A way to an executor. Each call makes a new connection and a new session.
pub(crate) trait Dial: Send + Sync + Debug {
    fn dial<'a>(&'a self, tasks: &'a Tasks) -> BoxFuture<'a, Result<Executor, ConnectError>>;

    /// The transport for people: no credentials, no query.
    fn label(&self) -> String;
}

/// An entry that asks for what this version cannot do.
#[derive(Debug)]
pub(crate) struct Unsupported {
    pub(crate) label: String,
    pub(crate) key: &'static str,
}

impl Dial for Unsupported {
    fn dial<'a>(&'a self, _: &'a Tasks) -> BoxFuture<'a, Result<Executor, ConnectError>> {
        Box::pin(async { Err(ConnectError::Unsupported { key: self.key }) })
    }

    fn label(&self) -> String {
        self.label.clone()
    }
}

/// The tasks behind all connections of a registry: stopped together and waited for together.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    /// How long a lost connection is tried to be recovered.
    pub(crate) recovery_window: Duration,
    /// What every call belongs to.
    pub(crate) trace: Option<Arc<Trace>>,
}

#[cfg(test)]
impl Default for Tasks {
    fn default() -> Tasks {
        Tasks::recovering_within(RECOVERY_WINDOW)
    }
}

impl Tasks {
    pub(crate) fn recovering_within(recovery_window: Duration) -> Tasks {
        Tasks {
            tracker: TaskTracker::default(),
            stop: CancellationToken::default(),
            recovery_window,
            trace: None,
        }
    }

    pub(crate) fn belonging_to(mut self, trace: Option<Trace>) -> Tasks {
        self.trace = trace.map(Arc::new);
        self
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Ends every connection and waits until nothing of them is left.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Shakes hands over `wire` and takes it into service. `child` is the program at its other end;
/// with a way back, a lost connection is recovered with its session.
pub(crate) async fn attach<W: Wire + 'static>(
    mut wire: W,
    mut child: Option<Child>,
    limit: Duration,
    tasks: &Tasks,
    way_back: Option<Arc<dyn Redial<W>>>,
) -> Result<Executor, ConnectError> {
    let mut noise = None;
    let shaken = client::handshake(&mut wire, None, &mut noise);
    let reason = match tokio::time::timeout(limit, shaken).await {
        Ok(Ok(greeting)) => {
            let (executor, driver) = client::serve(wire, greeting, tasks.trace.clone());
            let conn = executor.link().serial();
            let span = tracing::info_span!("connection", conn);
            let recovery = way_back.map(|way| Recovery {
                way,
                window: tasks.recovery_window,
                initialize_timeout: limit,
            });
            tasks.spawn(drive(driver, child, recovery, tasks.stop.clone()).instrument(span));
            return Ok(executor);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => {
            format!("timed out waiting for exec-server initialize handshake after {limit:?}")
        }
    };
    let mut details = Vec::new();
    if let Some(noise) = noise {
        details.push(format!("instead of the protocol it said `{noise}`"));
    }
    if let Some(child) = &mut child {
        details.extend(child.epitaph().await);
    }
    drop(wire);
    if let Some(child) = child {
        // The failure need not wait until the program has followed the end of its input.
        tasks.spawn(child.finish());
    }
    Err(ConnectError::Handshake { reason, details })
}

async fn drive<W: Wire>(
    mut driver: client::Driver<W>,
    mut child: Option<Child>,
    recovery: Option<Recovery<W>>,
    stop: CancellationToken,
) {
    tracing::info!("connected");
    let mut ending = until_end(&mut driver, recovery.as_ref(), &stop).await;
    if let (Ending::Lost { reason }, Some(child)) = (&mut ending, &mut child)
        && let Some(epitaph) = child.epitaph().await
    {
        *reason = format!("{reason}: {epitaph}");
    }
    match &ending {
        Ending::Lost { reason } | Ending::Hopeless { reason } => {
            tracing::warn!(reason, "connection lost");
        }
        Ending::Unused | Ending::Stopped => tracing::info!("connection closed"),
    }
    driver.finish(ending).await;
    if let Some(child) = child {
        child.finish().await;
    }
}

/// Serves the session over one connection after the other.
async fn until_end<W: Wire>(
    driver: &mut client::Driver<W>,
    recovery: Option<&Recovery<W>>,
    stop: &CancellationToken,
) -> Ending {
    loop {
        let ending = driver.until_end(stop).await;
        let (Ending::Lost { reason }, Some(recovery)) = (&ending, recovery) else {
            return ending;
        };
        tracing::warn!(reason, "connection lost, resuming its session");
        driver.suspend(reason);
        let session = driver.session();
        match recovery.run(session.reveal(), reason, stop).await {
            Ok((wire, greeting)) => {
                tracing::info!("session resumed");
                driver.resume(wire, greeting.caller);
            }
            Err(reason) => return Ending::Lost { reason },
        }
    }
}
