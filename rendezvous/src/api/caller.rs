//! Who makes a request, and for which environment.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Path};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use farstep_protocol::relay::registry::is_environment_id;
use serde::Deserialize;

use super::answer::Refused;
use crate::auth::{Grant, authenticate, is_jwt, refuse};
use crate::control::Who;
use crate::node::{Node, now};
use crate::store::{Credential, CredentialKind, EnvironmentKey, OPERATOR};
use crate::watch::Standing;

/// A caller with a credential that counts, and the environment of the path. Whether the credential
/// is for that environment is another question.
#[derive(Debug)]
pub(super) struct Caller {
    credential: Credential,
    /// What a token of an identity provider is for.
    grant: Option<Grant>,
    /// Absent when the path names none, or one that nobody can have.
    environment: Option<EnvironmentKey>,
    /// Under whose base URL.
    tenant: Option<String>,
}

#[derive(Deserialize)]
struct Place {
    id: Option<String>,
    tenant: Option<String>,
}

impl FromRequestParts<Arc<Node>> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Caller, Refused> {
        let place = Path::<Place>::from_request_parts(parts, node).await;
        let Path(place) = place.map_err(|_| Refused::NOT_FOUND)?;
        let address = address(parts);
        let shown = parts.headers.get(AUTHORIZATION);
        let bearer = shown
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let jwt = bearer.map(str::trim).filter(|bearer| is_jwt(bearer));
        let (credential, grant) = match (jwt, node.providers.get()) {
            (Some(jwt), Some(providers)) => {
                match providers.verify(jwt, place.tenant.as_deref()).await {
                    Ok((credential, grant)) => match node.standing(&credential.shown()).await? {
                        Standing::Counts(_) => (credential, Some(grant)),
                        Standing::Over(_) => return Err(refuse(node, bearer, address).await),
                    },
                    Err(why) => {
                        tracing::info!(why, "a token of an identity provider is refused");
                        return Err(refuse(node, bearer, address).await);
                    }
                }
            }
            _ => (authenticate(node, bearer, address).await?, None),
        };
        // A credential counts only under its tenant's base URL, or under the one without a tenant.
        let under = place.tenant.as_deref();
        let is_operators = credential.tenant == OPERATOR;
        if under.is_some_and(|tenant| !is_operators && tenant != credential.tenant) {
            return Err(refuse(node, bearer, address).await);
        }
        let id = place.id.filter(|id| is_environment_id(id));
        Ok(Caller {
            environment: id.map(|id| EnvironmentKey::new(&credential.tenant, &id)),
            tenant: place.tenant,
            credential,
            grant,
        })
    }
}

impl Caller {
    /// Names its credential.
    pub(super) fn kid(&self) -> &str {
        &self.credential.kid
    }

    /// Whose it is.
    pub(super) fn tenant(&self) -> &str {
        &self.credential.tenant
    }

    /// What its credential is for.
    pub(super) fn kind(&self) -> CredentialKind {
        self.credential.kind
    }

    /// With an admin token. What it may see is for [`Who`] to say; its tenant is the one of the base
    /// URL, if the token is the operator's.
    pub(super) fn admin(self) -> Result<(Who, String), Refused> {
        let who = Who::of(&self.credential).ok_or(Refused::CREDENTIAL)?;
        Ok((who, self.tenant.unwrap_or_default()))
    }

    /// Of that kind, and for the environment it asks about. A token of an identity provider may be for
    /// environments by what their executors say of themselves.
    pub(super) async fn may(
        self,
        node: &Node,
        kind: CredentialKind,
    ) -> Result<(Credential, EnvironmentKey), Refused> {
        if self.credential.kind != kind {
            return Err(Refused::kind(kind));
        }
        let environment = self.environment.ok_or(Refused::FORBIDDEN)?;
        let covers = match &self.grant {
            Some(grant) => {
                let state = node.store.environment(&environment, now()).await?;
                let labels = state.map(|state| state.info.labels).unwrap_or_default();
                grant.covers(&environment.id, &labels)
            }
            None => self.credential.covers(&environment),
        };
        match covers {
            true => Ok((self.credential, environment)),
            false => Err(Refused::FORBIDDEN),
        }
    }
}

/// Where a request comes from.
pub(super) fn address(parts: &Parts) -> IpAddr {
    let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::from([0, 0, 0, 0]), |info| info.0.ip())
}
