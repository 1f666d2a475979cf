//! `enroll`: a code that was pasted somewhere becomes a credential that never was.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, State};
use serde::{Deserialize, Serialize};

use super::answer::Refused;
use crate::auth::{NewToken, TokenKind, digest, kid, refuse};
use crate::node::{Node, now};
use crate::store::{Credential, CredentialKind};

#[derive(Deserialize)]
pub(super) struct Enroll {
    code: String,
}

#[derive(Serialize)]
pub(super) struct Enrolled {
    credential: String,
    scope: String,
}

pub(super) async fn enroll(
    State(node): State<Arc<Node>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Result<Json<Enroll>, JsonRejection>,
) -> Result<Json<Enrolled>, Refused> {
    let Json(Enroll { code }) = body.map_err(|_| Refused::MALFORMED)?;
    let code = code.trim();
    let taken = match kid(code) {
        Some(_) => node.store.take_enrolment(digest(code), now()).await?,
        None => None,
    };
    let Some(enrolment) = taken else {
        let refused = refuse(&node, Some(code), peer.ip()).await;
        return Err(match refused == Refused::GUESSING {
            true => refused,
            false => Refused::CODE,
        });
    };
    let made = NewToken::make(TokenKind::Credential(CredentialKind::Executor));
    let made = made.map_err(|_| Refused::UNAVAILABLE)?;
    let credential = Credential {
        subject: made.kid.clone(),
        kid: made.kid,
        tenant: enrolment.tenant,
        kind: CredentialKind::Executor,
        scope: enrolment.scope,
        digest: made.digest,
        created_at: now(),
        expires_at: enrolment.lifetime.map(|seconds| now() + seconds),
        revoked_at: None,
        used_at: None,
        token_id: None,
        renews: true,
        former: None,
    };
    node.store.add_credential(&credential).await?;
    tracing::info!(kid = credential.kid, "an executor was enrolled");
    Ok(Json(Enrolled {
        credential: made.text,
        scope: credential.scope,
    }))
}
