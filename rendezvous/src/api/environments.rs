//! What a tenant reads and changes with an admin token (`rendezvous` section C3).

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use bytes::Bytes;
use serde::Deserialize;

use super::answer::Refused;
use super::caller::Caller;
use crate::control::{Control, ControlError, Who, generated as wire, policy_from};
use crate::node::Node;
use crate::store::{CredentialKind, EnvironmentKey, in_scope, is_outside};

type Body<T> = Result<Json<T>, JsonRejection>;
type Answer<T> = Result<Json<T>, Refused>;

/// What belongs to one environment.
#[derive(Deserialize)]
pub(super) struct Place {
    pub(super) id: String,
    #[serde(default)]
    kid: String,
}

/// `credentials/rotate`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    /// An executor may leave it out: it renews what it shows.
    kid: Option<String>,
    overlap_seconds: Option<u32>,
}

impl From<ControlError> for Refused {
    fn from(error: ControlError) -> Refused {
        match error {
            ControlError::Unknown(_) => Refused::FORBIDDEN,
            ControlError::Followers => Refused::FOLLOWERS,
            ControlError::Two => Refused::TWO,
            ControlError::Invalid(_) => Refused::MALFORMED,
            ControlError::Store(error) => error.into(),
            ControlError::Randomness => Refused::UNAVAILABLE,
        }
    }
}

pub(super) fn control(node: &Node) -> Control {
    Control::of_node(Arc::clone(&node.store), Arc::clone(&node.bus))
}

pub(super) async fn list(
    State(node): State<Arc<Node>>,
    caller: Caller,
) -> Answer<wire::ListEnvironmentsResponse> {
    let (who, tenant) = caller.admin()?;
    let request = wire::ListEnvironmentsRequest { tenant };
    Ok(Json(control(&node).list_environments(&who, request).await?))
}

pub(super) async fn get(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Path(place): Path<Place>,
) -> Answer<wire::Environment> {
    let (who, tenant) = caller.admin()?;
    let request = named(tenant, place);
    Ok(Json(control(&node).get_environment(&who, request).await?))
}

pub(super) async fn policy(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Path(place): Path<Place>,
) -> Answer<wire::Policy> {
    let (who, tenant) = caller.admin()?;
    let request = named(tenant, place);
    Ok(Json(control(&node).get_policy(&who, request).await?))
}

pub(super) async fn set_policy(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Path(place): Path<Place>,
    body: Bytes,
) -> Answer<wire::Policy> {
    let (who, tenant) = caller.admin()?;
    let policy = policy_from(&body).map_err(|_| Refused::MALFORMED)?;
    let request = wire::SetPolicyRequest {
        tenant,
        environment_id: place.id,
        policy: Some(policy),
    };
    Ok(Json(control(&node).set_policy(&who, request).await?))
}

pub(super) async fn rotate(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Path(place): Path<Place>,
    body: Body<Rotate>,
) -> Answer<wire::CreatedToken> {
    let Json(wanted) = body.map_err(|_| Refused::MALFORMED)?;
    if caller.kind() == CredentialKind::Executor {
        return renew(&node, caller, wanted).await;
    }
    let (who, tenant) = caller.admin()?;
    let kid = wanted.kid.ok_or(Refused::MALFORMED)?;
    is_for(&node, &who, &tenant, &place.id, &kid).await?;
    let request = wire::RotateTokenRequest {
        tenant,
        kid,
        overlap_seconds: wanted.overlap_seconds,
    };
    Ok(Json(control(&node).rotate_token(&who, request).await?))
}

/// An executor renews its own credential, and no other, if that came of a code: what several executors
/// may share is for an administrator to rotate.
async fn renew(node: &Node, caller: Caller, wanted: Rotate) -> Answer<wire::CreatedToken> {
    let (credential, _) = caller.may(node, CredentialKind::Executor).await?;
    let is_own = wanted.kid.is_none_or(|kid| kid == credential.kid);
    match is_own && wanted.overlap_seconds.is_none() && credential.renews {
        true => Ok(Json(control(node).renew(credential).await?)),
        false => Err(Refused::FORBIDDEN),
    }
}

pub(super) async fn revoke(
    State(node): State<Arc<Node>>,
    caller: Caller,
    Path(place): Path<Place>,
) -> Answer<wire::Token> {
    let (who, tenant) = caller.admin()?;
    is_for(&node, &who, &tenant, &place.id, &place.kid).await?;
    let kid = place.kid;
    let request = wire::TokenRef {
        tenant,
        kid,
        until: None,
    };
    Ok(Json(control(&node).revoke_token(&who, request).await?))
}

/// Whether a credential is for the environment of the path. Whether it is the caller's is said
/// behind this, in the same words.
async fn is_for(node: &Node, who: &Who, tenant: &str, id: &str, kid: &str) -> Result<(), Refused> {
    let environment: EnvironmentKey = who.environment(tenant, id)?;
    if is_outside(kid) {
        // It is the tenant's, and what it is for is not known here.
        return Ok(());
    }
    let credential = node.store.credential(kid).await?;
    let covers = credential.is_some_and(|credential| in_scope(&credential.scope, &environment.id));
    match covers {
        true => Ok(()),
        false => Err(Refused::FORBIDDEN),
    }
}

fn named(tenant: String, place: Place) -> wire::EnvironmentRef {
    wire::EnvironmentRef {
        tenant,
        environment_id: place.id,
    }
}
