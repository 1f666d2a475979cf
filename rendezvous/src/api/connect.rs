//! `connect`: an orchestrator gets what one connection to an environment takes.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use farstep_protocol::relay::SECURITY_PROFILE;
use farstep_protocol::relay::registry::{Bundle, Connect};

use super::answer::Refused;
use super::caller::Caller;
use crate::auth::{Access, HARNESS_SECONDS, SignedUrl, digest, random_hex};
use crate::node::{Node, now};
use crate::store::{Authorization, CredentialKind};

/// For how long an executor that is away is waited for: one that reconnects is back within seconds.
const AWAY_MAX: Duration = Duration::from_secs(8);

pub(super) async fn connect(
    State(node): State<Arc<Node>>,
    caller: Caller,
    body: Result<Json<Connect>, JsonRejection>,
) -> Result<Json<Bundle>, Refused> {
    let answer = connected(&node, caller, body).await;
    node.metrics.connect.count(&answer);
    answer
}

async fn connected(
    node: &Node,
    caller: Caller,
    body: Result<Json<Connect>, JsonRejection>,
) -> Result<Json<Bundle>, Refused> {
    let (credential, environment) = caller.may(node, CredentialKind::Harness).await?;
    if node.is_draining() {
        return Err(Refused::UNAVAILABLE);
    }
    let kid = credential.kid;
    if !node.limits.may_connect(&kid) {
        return Err(Refused::TOO_FAST);
    }
    let Json(wanted) = body.map_err(|_| Refused::MALFORMED)?;
    let fingerprint = wanted.harness_public_key.fingerprint();
    // Both are asked whatever the first says, so that the time tells nothing.
    let route = node.store.route(&environment).await?;
    let policy = node.store.policy(&environment).await?;
    if route.is_none() || !policy.admits(&kid, &fingerprint) {
        return Err(Refused::FORBIDDEN);
    }
    if node.limits.is_full(&kid) {
        return Err(Refused::STREAMS);
    }
    let link = tokio::time::timeout(AWAY_MAX, node.bus.wait(&environment)).await;
    let link = link.map_err(|_| Refused::AWAY)?;
    let most = node.limits.quotas().streams_per_executor;
    let wanted = policy.streams_max.map(|max| max as usize);
    if link.streams() >= wanted.map_or(most, |max| max.min(most)) {
        return Err(Refused::STREAMS);
    }
    // It may have been taken over while we waited.
    let route = node
        .store
        .route(&environment)
        .await?
        .ok_or(Refused::FORBIDDEN)?;
    let random = || random_hex::<32>().map_err(|_| Refused::UNAVAILABLE);
    let (shown, nonce) = (random()?, random()?);
    let authorization = Authorization {
        environment: environment.clone(),
        registration: route.registration.clone(),
        fingerprint,
        kid,
        expires_at: now() + HARNESS_SECONDS,
    };
    let nonce_digest = digest(&nonce);
    let given = node
        .store
        .give_out(digest(&shown), &authorization, nonce_digest);
    given.await?;
    let url = SignedUrl {
        environment: environment.clone(),
        access: Access::Harness { nonce },
    };
    let url = node.signer().sign(&node.websocket_base, &url, now());
    Ok(Json(Bundle {
        environment_id: environment.id.to_string(),
        url: url.ok_or(Refused::UNAVAILABLE)?,
        security_profile: SECURITY_PROFILE.to_owned(),
        executor_registration_id: route.registration,
        executor_public_key: route.key,
        harness_key_authorization: shown,
        key_attestation: route.attestation,
    }))
}
