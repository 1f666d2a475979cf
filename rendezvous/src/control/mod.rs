//! What operators and tenants do: one set of operations behind three doors.
//!
//! ```text
//!   HTTP /v1/...  ──┐
//!   gRPC            ├──▶ Control ──▶ store          (a node, its callers known by an admin token)
//!   `admin --data` ─┘                               (the same without a node, as the operator)
//! ```
//!
//! Requests and answers are the messages of `proto/admin.proto`, so that every door says the same in
//! the same words. What a caller may not see does not exist for it: both are [`ControlError::Unknown`].

#[expect(clippy::allow_attributes, reason = "the generator's own")]
#[rustfmt::skip]
pub mod generated;
mod follow;
mod grpc;
mod policies;
mod tokens;
mod who;
pub(crate) mod words;

use std::sync::Arc;

pub(crate) use follow::follow;
pub use grpc::{GrpcError, GrpcServer, Pem, Remote, connect};
pub(crate) use policies::policy_from;
pub use who::Who;
pub(crate) use words::{environment, policy, token as token_words};

use generated as wire;

use crate::bus::{Bus, Notice};
use crate::node::{new_url_key, now};
use crate::store::{Closed, EnvironmentState, Store, StoreError, in_scope};

/// What whoever asks for a third credential of a subject is told.
pub(crate) const TWO_COUNT: &str = "two credentials of this subject count already, and both are in \
    use; wait until the older one ends, or revoke it (`farstep-rendezvous admin token list` shows \
    both)";

/// The tenant of whoever names none.
pub(crate) const DEFAULT_TENANT: &str = "default";

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It does not exist, or is not the caller's.
    #[error("there is no such {0} for this credential")]
    Unknown(&'static str),
    /// A third one of a subject.
    #[error("{TWO_COUNT}")]
    Two,
    /// As many follow events as the node takes.
    #[error("as many follow events of this node as it takes")]
    Followers,
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system.
    #[error("the system has no randomness")]
    Randomness,
}

/// The operations.
#[derive(Clone, Debug)]
pub struct Control {
    store: Arc<dyn Store>,
    /// Of a node that runs; it knows how many streams there are.
    bus: Option<Arc<dyn Bus>>,
}

type Answer<T> = Result<T, ControlError>;

impl Control {
    /// On a store, without a node.
    pub fn new(store: Arc<dyn Store>) -> Control {
        Control { store, bus: None }
    }

    pub(crate) fn of_node(store: Arc<dyn Store>, bus: Arc<dyn Bus>) -> Control {
        let bus = Some(bus);
        Control { store, bus }
    }

    /// What is known of all environments.
    pub async fn list_environments(
        &self,
        who: &Who,
        request: wire::ListEnvironmentsRequest,
    ) -> Answer<wire::ListEnvironmentsResponse> {
        let tenant = who.listed(&request.tenant)?;
        let states = self.store.environments(tenant.as_deref(), now()).await?;
        let visible = |state: &&EnvironmentState| in_scope(&who.scope, &state.environment.id);
        let environments = states.iter().filter(visible);
        Ok(wire::ListEnvironmentsResponse {
            environments: environments.map(|state| self.shown(state)).collect(),
        })
    }

    /// What is known of one.
    pub async fn get_environment(
        &self,
        who: &Who,
        request: wire::EnvironmentRef,
    ) -> Answer<wire::Environment> {
        let environment = who.environment(&request.tenant, &request.environment_id)?;
        let state = self.store.environment(&environment, now()).await?;
        let state = state.ok_or(ControlError::Unknown("environment"))?;
        Ok(self.shown(&state))
    }

    /// Lets any executor have it.
    pub async fn forget_environment(
        &self,
        who: &Who,
        request: wire::EnvironmentRef,
    ) -> Answer<wire::ForgetEnvironmentResponse> {
        let environment = who.environment(&request.tenant, &request.environment_id)?;
        match self.store.forget(&environment).await? {
            true => {
                self.changed();
                Ok(wire::ForgetEnvironmentResponse {})
            }
            false => Err(ControlError::Unknown("environment")),
        }
    }

    /// Has a new key sign URLs.
    pub async fn rotate_url_key(
        &self,
        who: &Who,
        _: wire::RotateUrlKeyRequest,
    ) -> Answer<wire::RotateUrlKeyResponse> {
        if who.tenant.is_some() {
            return Err(ControlError::Unknown("operation"));
        }
        let made = new_url_key(self.store.as_ref()).await;
        made.map_err(|error| match error {
            crate::node::StartError::Store(error) => ControlError::Store(error),
            _ => ControlError::Randomness,
        })?;
        self.changed();
        Ok(wire::RotateUrlKeyResponse {})
    }

    /// Nodes look at once. Without one they see it at their next look.
    fn changed(&self) {
        if let Some(bus) = &self.bus {
            bus.publish(Notice::Changed);
        }
    }

    fn shown(&self, state: &EnvironmentState) -> wire::Environment {
        let streams = self
            .bus
            .as_ref()
            .and_then(|bus| bus.find(&state.environment));
        let streams = streams.map_or(0, |link| link.streams());
        let rejected = state.rejected.clone();
        wire::Environment {
            tenant: state.environment.tenant.to_string(),
            environment_id: state.environment.id.to_string(),
            online: state.node.is_some(),
            node: state.node.clone(),
            since: state.since(),
            registered_at: state.registered_at,
            generation: state.generation,
            executor_key: state.fingerprint.clone(),
            version: state.info.version.clone(),
            os: state.info.os.clone(),
            labels: state.info.labels.clone(),
            streams: u32::try_from(streams).unwrap_or(u32::MAX),
            last_closed: state.closed.as_ref().map(wire::Closed::from),
            last_rejected: rejected.map(|(at, reason)| wire::Rejected { at, reason }),
            attested: state.is_attested,
        }
    }
}

impl From<&Closed> for wire::Closed {
    fn from(closed: &Closed) -> wire::Closed {
        wire::Closed {
            at: closed.at,
            code: closed.code.into(),
            by: closed.by.clone(),
            reason: closed.reason.clone(),
        }
    }
}
