//! `register`: an executor becomes the one of its environment.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use farstep_protocol::relay::attest::ATTESTATION_BYTES_MAX;
use farstep_protocol::relay::registry::{INFO_FEATURE, Register, Registered};
use farstep_protocol::relay::{RESTART_NOTICE_FEATURE, SECURITY_PROFILE};
use tokio::time::Instant;

use super::answer::Refused;
use super::caller::Caller;
use crate::auth::{Access, SignedUrl};
use crate::bus::Notice;
use crate::node::{Node, now};
use crate::store::{
    Credential, CredentialKind, EnvironmentKey, RegisterOutcome, Registration, Route, StoreError,
};

/// For how long a store that fails is asked again. The peer ends for good when it is answered with
/// an error, and waits 10 s for an answer.
const PATIENCE: Duration = Duration::from_secs(9);

const PAUSE: Duration = Duration::from_millis(250);

pub(super) async fn register(
    State(node): State<Arc<Node>>,
    caller: Caller,
    body: Result<Json<Register>, JsonRejection>,
) -> Result<Json<Registered>, Refused> {
    let counts = node.metrics.of(caller.tenant());
    let answer = registered(&node, caller, body).await;
    counts.register.count(&answer);
    answer
}

async fn registered(
    node: &Node,
    caller: Caller,
    body: Result<Json<Register>, JsonRejection>,
) -> Result<Json<Registered>, Refused> {
    let (credential, environment) = caller.may(node, CredentialKind::Executor).await?;
    let Json(wanted) = body.map_err(|_| Refused::MALFORMED)?;
    if wanted.security_profile != SECURITY_PROFILE {
        return Err(Refused::PROFILE);
    }
    let info = wanted.executor_info.unwrap_or_default();
    let attestation = wanted.key_attestation;
    let is_long = |text: &String| text.len() > ATTESTATION_BYTES_MAX;
    if !info.is_modest() || attestation.as_ref().is_some_and(is_long) {
        return Err(Refused::MALFORMED);
    }
    let rotate_after = rotate_after(&credential);
    let renewed = credential.former;
    let registration = Registration {
        environment: environment.clone(),
        key: wanted.executor_public_key,
        kid: credential.kid,
        environments_max: node.limits.quotas().executors_per_tenant,
        info,
        attestation,
    };
    let fingerprint = registration.key.fingerprint();
    let (former, outcome) = patiently(node, &registration, &fingerprint).await?;
    let route = match outcome {
        Ok(RegisterOutcome::Registered(route)) => route,
        Ok(RegisterOutcome::Full) => return Err(Refused::FULL),
        refused => {
            let refused = match refused {
                Err(refused) => refused,
                Ok(_) => {
                    node.metrics.lease_conflicts.increment(1);
                    Refused::SUPERSEDED
                }
            };
            turned_away(node, &environment, refused.message()).await;
            return Err(refused);
        }
    };
    if former.is_some_and(|generation| generation < route.generation) {
        node.bus.publish(Notice::Superseded {
            environment: environment.clone(),
            generation: route.generation,
        });
        node.bus.publish(Notice::Changed);
    }
    if let Some(former) = renewed {
        end(node, &former).await?;
    }
    let Route {
        generation,
        registration,
        ..
    } = route;
    tracing::info!(env = %environment, generation, fingerprint, "registered");
    let url = SignedUrl {
        environment: environment.clone(),
        access: Access::Executor { generation },
    };
    let signer = node.signer();
    let alternates = node.alternate_bases.get().into_iter().flatten();
    let alternates = alternates.filter_map(|base| signer.sign(base, &url, now()));
    let alternate_urls = alternates.collect();
    let url = signer.sign(&node.websocket_base, &url, now());
    Ok(Json(Registered {
        environment_id: environment.id.to_string(),
        url: url.ok_or(Refused::UNAVAILABLE)?,
        security_profile: SECURITY_PROFILE.to_owned(),
        executor_registration_id: registration,
        features: vec![INFO_FEATURE.to_owned(), RESTART_NOTICE_FEATURE.to_owned()],
        rotate_after,
        alternate_urls,
    }))
}

/// The generation there was, and what became of the registration or why it was not tried.
type Tried = (Option<u64>, Result<RegisterOutcome, Refused>);

/// Asks a store that fails again, because the peer ends with any refusal.
async fn patiently(
    node: &Node,
    registration: &Registration,
    fingerprint: &str,
) -> Result<Tried, Refused> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match once(node, registration, fingerprint).await {
            Ok(tried) => return Ok(tried),
            Err(error) if Instant::now() + PAUSE < deadline => {
                tracing::warn!(%error, "the store failed, and is asked again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn once(
    node: &Node,
    registration: &Registration,
    fingerprint: &str,
) -> Result<Tried, StoreError> {
    let environment = &registration.environment;
    let former = node.store.route(environment).await?;
    let former = former.map(|route| route.generation);
    if !node
        .store
        .policy(environment)
        .await?
        .is_executor(fingerprint)
    {
        return Ok((former, Err(Refused::EXECUTOR_KEY)));
    }
    let outcome = node.store.register(registration, now()).await?;
    Ok((former, Ok(outcome)))
}

/// A credential's successor is in use, so it counts no more. The websocket it opened stays: the
/// registration is the successor's by now.
async fn end(node: &Node, former: &str) -> Result<(), StoreError> {
    let kept = node.store.credential(former).await?;
    if kept.is_some_and(|former| former.is_valid(now())) {
        node.store.expire(former, now()).await?;
        node.bus.publish(Notice::Changed);
        tracing::info!(
            kid = former,
            "a credential ends, as its successor is in use"
        );
    }
    Ok(())
}

/// From when on a credential should be a new one: when two thirds of its life are over.
fn rotate_after(credential: &Credential) -> Option<i64> {
    let lifetime = credential.expires_at? - credential.created_at;
    Some(credential.created_at + lifetime / 3 * 2)
}

/// Notes why an executor is not let in, for whoever asks why it is away.
pub(super) async fn turned_away(node: &Node, environment: &EnvironmentKey, because: &str) {
    if let Err(error) = node.store.rejected(environment, because, now()).await {
        tracing::warn!(%error, "a refusal was not noted");
    }
}
