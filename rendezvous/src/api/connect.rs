//! `connect`: an orchestrator gets what one connection to an environment takes.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::HeaderMap;
use farstep_protocol::relay::SECURITY_PROFILE;
use farstep_protocol::relay::registry::{Bundle, Connect};

use super::answer::Refused;
use super::caller::Caller;
use crate::auth::{Access, HARNESS_SECONDS, SignedUrl, digest, random_hex};
use crate::control::words;
use crate::node::{Node, now};
use crate::store::{Authorization, CredentialKind};

/// For how long an executor that is away is waited for: one that reconnects is back within seconds.
const AWAY_MAX: Duration = Duration::from_secs(8);

pub(super) async fn connect(
    State(node): State<Arc<Node>>,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Json<Connect>, JsonRejection>,
) -> Result<Json<Bundle>, Refused> {
    let counts = node.metrics.of(caller.tenant());
    let answer = connected(&node, caller, wish(&headers), body).await;
    counts.connect.count(&answer);
    answer
}

/// For how many seconds the caller wishes an executor that is away to be waited for, if it says
/// (`Prefer: wait=N`, RFC 7240): with a short wait it learns sooner why, and asks again.
fn wish(headers: &HeaderMap) -> Option<u8> {
    let wishes = headers.get_all("prefer").iter();
    let mut wishes = wishes.filter_map(|value| value.to_str().ok());
    let seconds = wishes.find_map(|value| value.trim().strip_prefix("wait="))?;
    let seconds: u64 = seconds.parse().ok()?;
    u8::try_from(seconds.min(AWAY_MAX.as_secs())).ok()
}

async fn connected(
    node: &Node,
    caller: Caller,
    wish: Option<u8>,
    body: Result<Json<Connect>, JsonRejection>,
) -> Result<Json<Bundle>, Refused> {
    let (credential, environment) = caller.may(node, CredentialKind::Harness).await?;
    if node.is_draining() {
        return Err(Refused::UNAVAILABLE);
    }
    let shown = credential.shown();
    let kid = credential.kid;
    if !node.limits.may_connect(&kid) {
        return Err(Refused::TOO_FAST);
    }
    let Json(wanted) = body.map_err(|_| Refused::MALFORMED)?;
    let fingerprint = wanted.harness_public_key.fingerprint();
    // All are asked whatever the first says, so that the time tells nothing.
    let route = node.store.route(&environment).await?;
    let policy = node.store.policy(&environment).await?;
    let is_expected = node.store.is_expected(&environment, now()).await?;
    let is_known = route.is_some() || is_expected;
    if !is_known || !policy.admits(&kid, &fingerprint) {
        return Err(Refused::FORBIDDEN);
    }
    if node.limits.is_full(&shown) {
        return Err(Refused::STREAMS);
    }
    let patience = wish.map_or(AWAY_MAX, |seconds| Duration::from_secs(seconds.into()));
    let awaited = tokio::time::timeout(patience, node.bus.wait(&environment)).await;
    let Ok(link) = awaited else {
        let state = node.store.environment(&environment, now()).await?;
        return Err(Refused::away(&words::absence(state.as_ref()), wish));
    };
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
    let (welcome, nonce) = (random()?, random()?);
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
        .give_out(digest(&welcome), &authorization, nonce_digest, &shown);
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
        harness_key_authorization: welcome,
        key_attestation: route.attestation,
    }))
}
