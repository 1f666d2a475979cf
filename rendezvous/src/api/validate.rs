//! `validate`: an executor asks whether whoever knocked is welcome.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use farstep_protocol::relay::registry::{Validate, Verdict};

use super::answer::Refused;
use super::caller::Caller;
use crate::auth::digest;
use crate::node::{Node, now};
use crate::store::CredentialKind;

pub(super) async fn validate(
    State(node): State<Arc<Node>>,
    caller: Caller,
    body: Result<Json<Validate>, JsonRejection>,
) -> Result<Json<Verdict>, Refused> {
    let began = Instant::now();
    let counts = node.metrics.of(caller.tenant());
    let answer = validated(&node, caller, body).await;
    counts.validate.count(&answer);
    node.metrics
        .validate_seconds
        .record(began.elapsed().as_secs_f64());
    answer
}

async fn validated(
    node: &Node,
    caller: Caller,
    body: Result<Json<Validate>, JsonRejection>,
) -> Result<Json<Verdict>, Refused> {
    let (_, environment) = caller.may(node, CredentialKind::Executor).await?;
    let Json(asked) = body.map_err(|_| Refused::MALFORMED)?;
    let shown = digest(&asked.harness_key_authorization);
    let given = node.store.take_authorization(shown, now()).await?;
    let route = node.store.route(&environment).await?;
    let valid = given.is_some_and(|given| {
        given.environment == environment
            && given.registration == asked.executor_registration_id
            && given.fingerprint == asked.harness_public_key.fingerprint()
            && route.is_some_and(|route| route.registration == given.registration)
    });
    if !valid {
        tracing::warn!(env = %environment, "an orchestrator was not welcome");
    }
    Ok(Json(Verdict { valid }))
}
