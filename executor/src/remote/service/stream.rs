//! One stream: who knocks, whether they may come in, and then a connection like any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use farstep_protocol::noise::{Binding, Channel, Knock, Responder};
use farstep_protocol::relay::registry::Validate;
use farstep_protocol::relay::{Frame, Kind, PROTOCOL_ERROR};
use farstep_transport::relay::Sealed;
use futures_util::SinkExt as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::registry::Judged;
use super::share::Share;
use crate::audit::{Event, Who};
use crate::connection;
use crate::listen::INITIALIZE_DEADLINE;

/// How somebody proves who they are here, in the audit log.
const MODE: &str = "rendezvous";

/// What it takes to open a stream.
pub(super) struct Opening {
    pub(super) context: Arc<Context>,
    pub(super) id: String,
    /// Message 1 of the handshake.
    pub(super) first: Bytes,
    pub(super) share: Share,
    pub(super) judged: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
}

/// Serves a stream to its end. Returns what its orchestrator is told.
pub(super) async fn serve(opening: Opening) -> &'static str {
    let Opening {
        context,
        id,
        first,
        mut share,
        judged,
        stop,
    } = opening;
    let mut who = Who {
        conn: Some(number()),
        ..Who::default()
    };
    let server = &context.server;
    server.metrics().accepted.increment(1);
    server.audit().record(&who, Event::Connect);
    let let_in = tokio::select! {
        biased; // Stopping beats judging.
        () = stop.cancelled() => return "executor stopping",
        let_in = judge(&context, &id, &first, &judged) => let_in,
    };
    let (second, let_in) = match let_in {
        Ok(answer) => answer,
        Err(why) => {
            tracing::warn!(why, "an orchestrator was not let in");
            server.metrics().unauthenticated.increment(1);
            server
                .audit()
                .record(&who, Event::AuthFail { mode: MODE, why });
            return PROTOCOL_ERROR;
        }
    };
    let frame = Frame {
        stream: id.clone(),
        kind: Kind::Handshake(second),
    };
    if share.send(frame.encode()).await.is_err() {
        return PROTOCOL_ERROR;
    }
    let Some((fingerprint, channel)) = let_in else {
        tracing::error!("the registry does not accept this executor's credential");
        // It knows already; a reset says that nothing follows.
        return PROTOCOL_ERROR;
    };
    tracing::info!(key = fingerprint, "an orchestrator was let in");
    // A key that was named here owns its sessions. Whoever the registry lets in otherwise may come
    // with another key each time, and is known by the session's id alone, as at the peer.
    who.principal = Some(match context.welcome.is_open() {
        true => MODE.into(),
        false => format!("key:{fingerprint}").into(),
    });
    server.metrics().upgraded.increment(1);
    server.audit().record(&who, Event::AuthOk { mode: MODE });
    let wire = Sealed::new(share, id, channel).wishing(context.padding);
    let (end, _wire) = connection::serve(server, wire, who, Some(INITIALIZE_DEADLINE), &stop).await;
    tracing::info!(%end, "connection ended");
    match end {
        connection::End::Violation(_) | connection::End::Broken(_) => PROTOCOL_ERROR,
        _ => "connection closed",
    }
}

/// Message 2, and the channel behind it with whom it leads to.
type LetIn = (Bytes, Option<(String, Channel)>);

/// Reads message 1 and asks whether its sender may come in.
async fn judge(
    context: &Context,
    id: &str,
    first: &[u8],
    judged: &Semaphore,
) -> Result<LetIn, &'static str> {
    // Before the first look, because that is what costs.
    let _turn = judged.acquire().await.map_err(|_| "no turn")?;
    let responder = Responder {
        identity: &context.identity,
        binding: Binding {
            environment: &context.environment,
            registration: &context.registration,
            stream: id,
        },
    };
    let knock: Knock = responder.read(first).map_err(|_| "handshake")?;
    let fingerprint = knock.peer().fingerprint();
    if !context.welcome.admits(&fingerprint).await {
        return Err("key");
    }
    let asked = Validate {
        executor_registration_id: context.registration.clone(),
        harness_public_key: knock.peer().clone(),
        harness_key_authorization: knock.authorization().to_owned(),
    };
    match context.registry.validate(id, &asked).await {
        Judged::Welcome => {
            let (second, channel) = knock.admit().map_err(|_| "handshake")?;
            Ok((second, Some((fingerprint, channel))))
        }
        Judged::Unwelcome => Err("registry"),
        Judged::WeAreNot => Ok((knock.refuse().map_err(|_| "handshake")?, None)),
    }
}

/// Connections are numbered over all websockets of the process.
fn number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}
