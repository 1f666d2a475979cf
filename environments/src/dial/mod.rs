//! From an entry of the configuration to a live connection.
//!
//! ```text
//!   websocket: (proxy,) name, TCP, TLS, upgrade ─┐     one round trip
//!   rendezvous: registry, websocket, stream     ─┤
//!   stdio: spawn                                ─┴▶ handshake ─────────────▶ Executor
//!                                                                └─▶ a task that drives it
//! ```
//!
//! Each hop leaves its mark on a [`Trail`], so that a failure can be told with its place and a
//! look for faults can time them one by one.
//!
//! Knows how executors are reached and nothing of when: that is [`crate::Environment`]'s.

mod child;
mod error;
mod guard;
mod patience;
mod proxy;
mod reach;
mod recover;
mod rendezvous;
mod secret;
mod socket;
mod ssh;
mod stdio;
mod trail;
mod websocket;
mod withheld;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use farstep_protocol::method::environment::DURABLE_SESSIONS;
use farstep_protocol::rpc::ErrorCode;
use farstep_transport::Wire;
use futures_util::SinkExt as _;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub use error::{ConnectError, Step};

pub(crate) use child::{Program, printable};
pub(crate) use proxy::Proxies;
pub(crate) use recover::{Reached, Recovery, Redial, WINDOW as RECOVERY_WINDOW};
pub(crate) use rendezvous::{Meeting, Met, Rendezvous};
pub use secret::Variable;
pub(crate) use secret::{Bearer, from_file as secret_file};
pub(crate) use ssh::Ssh;
pub use ssh::{
    BadTarget, Bootstrap, Executors, Placed, Platform, Progress, SshError, SshHop, SshTarget,
};
pub(crate) use stdio::{Start, Stdio};
pub use trail::{Fact, Hop, Leg, Place, Tried, Waiting};
pub(crate) use trail::{News, Told, Trail};
pub(crate) use websocket::{Target, WebSocket};
pub(crate) use withheld::Withheld;

use crate::client::{self, Ending, Executor, Extras, HandshakeError, Wanted};
use crate::terms::Terms;
use crate::{Herald, TraceSource};
use child::Child;

/// How long saying goodbye may take to a machine that is not the one that is meant.
const CLOSE_WAIT: Duration = Duration::from_millis(500);

/// A way to an executor. Each call makes a new connection and a new session.
pub(crate) trait Dial: Send + Sync + Debug {
    fn dial<'a>(
        &'a self,
        tasks: &'a Tasks,
        trail: &'a mut Trail,
    ) -> BoxFuture<'a, Result<Executor, ConnectError>>;

    /// A connection and nothing said on it, for somebody who speaks the protocol himself.
    fn open<'a>(&'a self, trail: &'a mut Trail) -> BoxFuture<'a, Result<Passage, ConnectError>>;

    /// The transport for people: no credentials, no query.
    fn label(&self) -> String;
}

/// A connection to an executor on which nothing was said yet.
pub(crate) struct Passage {
    pub(crate) wire: Box<dyn Wire>,
    /// The program at its other end, if it was started for it.
    pub(crate) child: Option<Child>,
}

/// The tasks behind all connections of a registry: stopped together and waited for together.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    /// How long a lost connection is tried to be recovered.
    pub(crate) recovery_window: Duration,
    /// What every call belongs to.
    pub(crate) trace: Option<TraceSource>,
    /// Which session new connections have.
    pub(crate) wanted: Wanted,
    /// What is demanded of the machine.
    pub(crate) terms: Arc<Terms>,
    /// Whoever looks for faults wants to see the first one.
    pub(crate) once: bool,
    /// Who is told when a connection is waited for.
    pub(crate) herald: Option<Herald>,
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
            wanted: Wanted::Ordinary,
            terms: Arc::default(),
            once: false,
            herald: None,
        }
    }

    pub(crate) fn belonging_to(mut self, trace: Option<TraceSource>) -> Tasks {
        self.trace = trace;
        self
    }

    pub(crate) fn announced_by(mut self, herald: Option<Herald>) -> Tasks {
        self.herald = herald;
        self
    }

    /// The same for one environment.
    pub(crate) fn under(self, terms: Terms) -> Tasks {
        Tasks {
            terms: Arc::new(terms),
            ..self
        }
    }

    /// The same for one connection with another session.
    pub(crate) fn wanting(&self, wanted: Wanted) -> Tasks {
        Tasks {
            wanted,
            ..self.clone()
        }
    }

    /// The same for one connection that is tried once.
    pub(crate) fn once(&self) -> Tasks {
        Tasks {
            once: true,
            ..self.clone()
        }
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
    trail: &mut Trail,
    way_back: Option<Arc<dyn Redial<W>>>,
) -> Result<Executor, ConnectError> {
    trail.on(Leg::Whole);
    trail.within(limit);
    trail.begin(Hop::Initialize);
    let mut noise = None;
    let shaken = client::handshake(&mut wire, &tasks.wanted, &mut noise);
    let reason = match tokio::time::timeout(limit, shaken).await {
        Ok(Ok(mut greeting)) => {
            let manner = match tasks.terms.agree(&mut greeting.info) {
                Ok(manner) => manner,
                Err(error) => {
                    let _ = tokio::time::timeout(CLOSE_WAIT, wire.close()).await;
                    if let Some(child) = child {
                        tasks.spawn(child.finish());
                    }
                    return Err(error);
                }
            };
            let extras = Extras {
                trace: tasks.trace.clone(),
                manner,
            };
            let is_durable = greeting.info.capabilities.get(DURABLE_SESSIONS) == Some(&true);
            // Of an executor that ends with its connection nothing is left to come back to.
            let way_back = way_back.filter(|way| is_durable || !way.needs_durability());
            let (executor, mut driver) = client::serve(wire, greeting, extras);
            if way_back.as_ref().is_some_and(|way| way.needs_durability()) {
                driver.give_signs_of_life();
            }
            let conn = executor.link().serial();
            let span = tracing::info_span!("connection", conn);
            let recovery = way_back.map(|way| Recovery {
                way,
                window: tasks.recovery_window,
                initialize_timeout: limit,
            });
            let lost = tasks.clone();
            tasks.spawn(drive(driver, child, recovery, lost).instrument(span));
            // It was forgiven, but whoever looks for faults wants to know.
            trail.pass(noise.map(Fact::Noise));
            return Ok(executor);
        }
        Ok(Err(HandshakeError::Unpadded)) => {
            let _ = tokio::time::timeout(CLOSE_WAIT, wire.close()).await;
            return Err(ConnectError::Unpadded);
        }
        Ok(Err(error)) => match refused(&tasks.wanted, &error) {
            Some(refused) => {
                if let Some(child) = child {
                    tasks.spawn(child.finish());
                }
                return Err(refused);
            }
            None => error.to_string(),
        },
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

/// What it means that an executor said no to a session that is not an ordinary one.
fn refused(wanted: &Wanted, error: &HandshakeError) -> Option<ConnectError> {
    let HandshakeError::Refused(refusal) = error else {
        return None;
    };
    // Another refusal may pass: too much to do, for one.
    if !refusal.is(ErrorCode::InvalidRequest) {
        return None;
    }
    let reason = refusal.to_string();
    match wanted {
        Wanted::Ordinary => None,
        Wanted::Durable { .. } => Some(ConnectError::NotDurable { reason }),
        Wanted::Resume { .. } => Some(ConnectError::SessionGone { reason }),
    }
}

async fn drive<W: Wire>(
    mut driver: client::Driver<W>,
    mut child: Option<Child>,
    recovery: Option<Recovery<W>>,
    tasks: Tasks,
) {
    tracing::info!("connected");
    let ending = until_end(&mut driver, &mut child, recovery.as_ref(), &tasks).await;
    if child.as_mut().is_some_and(Child::ended_well) {
        driver.link().end_well();
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
    child: &mut Option<Child>,
    recovery: Option<&Recovery<W>>,
    tasks: &Tasks,
) -> Ending {
    let stop = &tasks.stop;
    loop {
        let mut ending = driver.until_end(stop).await;
        if let (Ending::Lost { reason }, Some(child)) = (&mut ending, child.as_mut())
            && let Some(epitaph) = child.epitaph().await
        {
            *reason = format!("{reason}: {epitaph}");
        }
        let (Ending::Lost { reason }, Some(recovery)) = (&ending, recovery) else {
            return ending;
        };
        tracing::warn!(reason, "connection lost, resuming its session");
        driver.suspend(reason);
        driver.hang_up().await;
        let session = driver.session();
        match recovery.run(&session, reason, stop).await {
            Ok(((wire, new), greeting)) => {
                tracing::info!("session resumed");
                driver.resume(wire, greeting.caller);
                // The one before has lost its pipes by now, and follows them.
                if let Some(old) = std::mem::replace(child, new) {
                    tasks.spawn(old.finish());
                }
            }
            Err(reason) => return Ending::Lost { reason },
        }
    }
}
