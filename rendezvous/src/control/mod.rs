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
pub(crate) mod words;

use std::sync::Arc;

pub(crate) use follow::follow;
pub use grpc::{GrpcError, GrpcServer, Pem, Remote, connect};
pub(crate) use words::{environment, policy, token as token_words};

use farstep_protocol::relay::is_fingerprint;
use farstep_protocol::relay::registry::is_environment_id;
use generated as wire;

use crate::auth::{NewToken, TokenKind};
use crate::bus::{Bus, Notice};
use crate::node::{new_url_key, now};
use crate::store::{
    Closed, Credential, CredentialKind, Denial, Enrolment, EnvironmentKey, EnvironmentState,
    OPERATOR, Policy, RotateOutcome, Store, StoreError, in_scope, is_outside,
};

/// For how long an enrolment code is good, in seconds.
const ENROLMENT_SECONDS: i64 = 600;

/// For how long both count after a rotation, in seconds, if nothing is said.
const OVERLAP_SECONDS: u32 = 24 * 60 * 60;

/// What whoever asks for a third credential of a subject is told.
pub(crate) const TWO_COUNT: &str = "two credentials of this subject count already, and both are in \
    use; wait until the older one ends, or revoke it (`farstep-rendezvous admin token list` shows \
    both)";

/// Entries of each list of a policy.
const POLICY_ENTRIES_MAX: usize = 1000;

/// A name in a policy, in bytes.
const POLICY_NAME_BYTES_MAX: usize = 512;

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

/// Who asks, which somebody else has made sure of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its tenant; `None` is the operator.
    pub tenant: Option<String>,
    /// Which environments it may see.
    pub scope: String,
}

impl Who {
    /// Whoever has the store in hands.
    pub fn operator() -> Who {
        Who {
            tenant: None,
            scope: "*".to_owned(),
        }
    }

    /// Whoever shows that credential; `None` when it is for something else.
    pub(crate) fn of(credential: &Credential) -> Option<Who> {
        (credential.kind == CredentialKind::Admin).then(|| Who {
            tenant: Some(credential.tenant.clone()).filter(|tenant| tenant != OPERATOR),
            scope: credential.scope.clone(),
        })
    }

    /// Whose things are meant when `wanted` is said.
    fn tenant(&self, wanted: &str) -> Result<String, ControlError> {
        match (&self.tenant, wanted) {
            (Some(own), wanted) if wanted.is_empty() || wanted == own => Ok(own.clone()),
            (Some(_), _) => Err(ControlError::Unknown("tenant")),
            (None, "") => Ok(DEFAULT_TENANT.to_owned()),
            (None, wanted) if is_environment_id(wanted) => Ok(wanted.to_owned()),
            (None, wanted) => Err(ControlError::Invalid(format!(
                "{wanted:?} cannot be a tenant: use ASCII letters, digits, `-` and `_`"
            ))),
        }
    }

    /// The tenant to list; `None` is all of them.
    fn listed(&self, wanted: &str) -> Result<Option<String>, ControlError> {
        match (&self.tenant, wanted) {
            (None, "") => Ok(None),
            _ => self.tenant(wanted).map(Some),
        }
    }

    pub(crate) fn environment(
        &self,
        tenant: &str,
        id: &str,
    ) -> Result<EnvironmentKey, ControlError> {
        let tenant = self.tenant(tenant)?;
        match is_environment_id(id) && in_scope(&self.scope, id) {
            true => Ok(EnvironmentKey::new(&tenant, id)),
            false => Err(ControlError::Unknown("environment")),
        }
    }

    /// A scope that lies within its own.
    fn scope(&self, wanted: &str) -> Result<String, ControlError> {
        let id = wanted.strip_suffix('*').unwrap_or(wanted);
        if !(wanted == "*" || is_environment_id(id)) {
            return Err(ControlError::Invalid(format!(
                "{wanted:?} cannot be the id of an environment: use ASCII letters, digits, `-` and \
                 `_`, and a `*` at the end for every one that begins so"
            )));
        }
        match self.scope == "*" || in_scope(&self.scope, wanted) {
            true => Ok(wanted.to_owned()),
            false => Err(ControlError::Unknown("environment")),
        }
    }
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

    /// Who may connect and register.
    pub async fn get_policy(
        &self,
        who: &Who,
        request: wire::EnvironmentRef,
    ) -> Answer<wire::Policy> {
        let environment = who.environment(&request.tenant, &request.environment_id)?;
        Ok(self.store.policy(&environment).await?.into())
    }

    /// Replaces it. An environment may have one before it is registered.
    pub async fn set_policy(
        &self,
        who: &Who,
        request: wire::SetPolicyRequest,
    ) -> Answer<wire::Policy> {
        let environment = who.environment(&request.tenant, &request.environment_id)?;
        let policy = request.policy.unwrap_or_default();
        let policy = checked(policy)?;
        self.store.set_policy(&environment, &policy).await?;
        self.changed();
        tracing::info!(env = %environment, "the policy is replaced");
        Ok(policy.into())
    }

    /// Credentials without their secrets.
    pub async fn list_tokens(
        &self,
        who: &Who,
        request: wire::ListTokensRequest,
    ) -> Answer<wire::ListTokensResponse> {
        let tenant = who.listed(&request.tenant)?;
        let credentials = self.store.credentials(tenant.as_deref()).await?;
        let visible = |credential: &&Credential| may_see(who, credential);
        let mut tokens: Vec<_> = credentials.iter().filter(visible).map(token).collect();
        if who.scope == "*" {
            let denials = self.store.denials(tenant.as_deref(), now()).await?;
            tokens.extend(denials.iter().map(denied));
        }
        Ok(wire::ListTokensResponse { tokens })
    }

    /// Makes a credential, whose text is told once.
    pub async fn create_token(
        &self,
        who: &Who,
        request: wire::CreateTokenRequest,
    ) -> Answer<wire::CreatedToken> {
        let kind = CredentialKind::named(&request.kind).ok_or_else(|| {
            let kind = &request.kind;
            ControlError::Invalid(format!("{kind:?} is no kind: executor, harness or admin"))
        })?;
        // Only the operator makes another one.
        let is_operators = request.tenant == OPERATOR && who.tenant.is_none();
        let tenant = match is_operators && kind == CredentialKind::Admin {
            true => OPERATOR.to_owned(),
            false => who.tenant(&request.tenant)?,
        };
        let wanted = Wanted {
            tenant,
            kind,
            scope: who.scope(&request.scope)?,
            expires_at: request.expires_at,
            subject: None,
            renews: false,
            former: None,
        };
        let (text, credential) = wanted.make()?;
        self.store.add_credential(&credential).await?;
        Ok(wire::CreatedToken {
            text,
            token: Some(token(&credential)),
            former_expires_at: None,
        })
    }

    /// Takes one back.
    pub async fn revoke_token(&self, who: &Who, request: wire::TokenRef) -> Answer<wire::Token> {
        if is_outside(&request.kid) {
            return self.deny(who, request).await;
        }
        if request.until.is_some() {
            return Err(ControlError::Invalid(
                "only what an identity provider vouches for is revoked for a time".to_owned(),
            ));
        }
        let credential = self.owned(who, &request.tenant, &request.kid).await?;
        if !self.store.revoke(&credential.kid, now()).await? {
            return Err(ControlError::Unknown("credential in force"));
        }
        self.changed();
        tracing::info!(kid = credential.kid, "a credential is revoked");
        Ok(token(&Credential {
            revoked_at: Some(now()),
            ..credential
        }))
    }

    /// Takes back what an identity provider vouches for: everything of a subject, or one token.
    async fn deny(&self, who: &Who, request: wire::TokenRef) -> Answer<wire::Token> {
        // What a token is for is not known here, and may reach further than a narrow caller.
        if who.scope != "*" {
            return Err(ControlError::Unknown("credential in force"));
        }
        let wire::TokenRef { tenant, kid, until } = request;
        if kid.len() > POLICY_NAME_BYTES_MAX || kid.chars().any(char::is_control) {
            return Err(ControlError::Invalid(
                "it is `jwt:ISSUER:SUBJECT` or `jti:ISSUER:ID`".to_owned(),
            ));
        }
        let denial = Denial {
            tenant: who.tenant(&tenant)?,
            name: kid,
            revoked_at: now(),
            until,
        };
        if !self.store.deny(&denial).await? {
            return Err(ControlError::Invalid(
                "the tenant has revoked as many tokens of identity providers as it may; give those \
                 that are over an end"
                    .to_owned(),
            ));
        }
        self.changed();
        tracing::info!(
            kid = denial.name,
            "an identity provider's tokens are revoked"
        );
        Ok(denied(&denial))
    }

    /// Makes a successor, and ends the former one after a while. Two of a subject count at a time: a
    /// successor that nobody ever showed is replaced, because its text may have been lost on the way;
    /// nothing that is in use is ended for a third.
    pub async fn rotate_token(
        &self,
        who: &Who,
        request: wire::RotateTokenRequest,
    ) -> Answer<wire::CreatedToken> {
        let former = self.owned(who, &request.tenant, &request.kid).await?;
        if !former.is_valid(now()) {
            return Err(ControlError::Unknown("credential in force"));
        }
        let overlap = request.overlap_seconds.unwrap_or(OVERLAP_SECONDS);
        self.succeed(former, overlap, None).await
    }

    /// Makes the successor of a credential for its executor, which showed it. The former one ends when
    /// the successor registers, or after a day.
    pub(crate) async fn renew(&self, former: Credential) -> Answer<wire::CreatedToken> {
        let made_of = Some(former.kid.clone());
        self.succeed(former, OVERLAP_SECONDS, made_of).await
    }

    async fn succeed(
        &self,
        former: Credential,
        overlap: u32,
        made_of: Option<String>,
    ) -> Answer<wire::CreatedToken> {
        let lifetime = former.expires_at.map(|until| until - former.created_at);
        let wanted = Wanted {
            tenant: former.tenant.clone(),
            kind: former.kind,
            scope: former.scope.clone(),
            expires_at: lifetime.map(|seconds| now() + seconds),
            subject: Some(former.subject.clone()),
            renews: former.renews,
            former: made_of,
        };
        let (text, credential) = wanted.make()?;
        let until = now() + i64::from(overlap);
        let rotated = self.store.rotate(&former.kid, until, &credential, now());
        match rotated.await? {
            RotateOutcome::Rotated => self.changed(),
            RotateOutcome::Two => return Err(ControlError::Two),
            RotateOutcome::Gone => return Err(ControlError::Unknown("credential in force")),
        }
        tracing::info!(
            kid = former.kid,
            successor = credential.kid,
            "a credential is rotated"
        );
        let until = former.expires_at.map_or(until, |end| end.min(until));
        Ok(wire::CreatedToken {
            text,
            token: Some(token(&credential)),
            former_expires_at: Some(until),
        })
    }

    /// Makes a code that enrols an executor, once.
    pub async fn create_enrolment(
        &self,
        who: &Who,
        request: wire::CreateEnrolmentRequest,
    ) -> Answer<wire::CreatedEnrolment> {
        let enrolment = Enrolment {
            tenant: who.tenant(&request.tenant)?,
            scope: who.scope(&request.scope)?,
            lifetime: request.lifetime_seconds.map(i64::from),
        };
        let code = NewToken::make(TokenKind::Enrolment).map_err(|_| ControlError::Randomness)?;
        let expires_at = now() + ENROLMENT_SECONDS;
        let kept = self
            .store
            .add_enrolment(code.digest, &enrolment, expires_at);
        kept.await?;
        Ok(wire::CreatedEnrolment {
            code: code.text,
            expires_at,
        })
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

    /// A credential that the caller may change.
    async fn owned(&self, who: &Who, tenant: &str, kid: &str) -> Answer<Credential> {
        let tenant = who.listed(tenant)?;
        let credential = self.store.credential(kid).await?;
        credential
            .filter(|credential| tenant.is_none_or(|tenant| tenant == credential.tenant))
            .filter(|credential| may_see(who, credential))
            .ok_or(ControlError::Unknown("credential in force"))
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

/// A caller with a narrower scope must not touch what reaches further.
fn may_see(who: &Who, credential: &Credential) -> bool {
    who.scope == "*" || in_scope(&who.scope, &credential.scope)
}

fn checked(policy: wire::Policy) -> Result<Policy, ControlError> {
    let lists = [
        &policy.harness_keys,
        &policy.executor_keys,
        &policy.credentials,
    ];
    if lists.iter().any(|list| list.len() > POLICY_ENTRIES_MAX) {
        return Err(ControlError::Invalid(format!(
            "a list of a policy has at most {POLICY_ENTRIES_MAX} entries"
        )));
    }
    let mut keys = policy.harness_keys.iter().chain(&policy.executor_keys);
    if let Some(wrong) = keys.find(|key| !is_fingerprint(key)) {
        let wrong: String = wrong.chars().take(64).collect();
        return Err(ControlError::Invalid(format!(
            "{wrong:?} is no fingerprint: it begins with fst1: and has 26 characters behind it"
        )));
    }
    let is_long = |name: &String| name.is_empty() || name.len() > POLICY_NAME_BYTES_MAX;
    if policy.credentials.iter().any(is_long) {
        return Err(ControlError::Invalid(
            "a credential of a policy is a key id, or `jwt:ISSUER:SUBJECT`".to_owned(),
        ));
    }
    Ok(Policy {
        harness_keys: policy.harness_keys,
        executor_keys: policy.executor_keys,
        credentials: policy.credentials,
        streams_max: policy.streams_max,
    })
}

/// A policy from JSON, which must be an object: whatever else could be read as one lets everybody in.
pub(crate) fn policy_from(json: &[u8]) -> Result<wire::Policy, serde_json::Error> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(json)?;
    serde_json::from_value(object.into())
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

impl From<Policy> for wire::Policy {
    fn from(policy: Policy) -> wire::Policy {
        wire::Policy {
            harness_keys: policy.harness_keys,
            executor_keys: policy.executor_keys,
            credentials: policy.credentials,
            streams_max: policy.streams_max,
        }
    }
}

fn token(credential: &Credential) -> wire::Token {
    wire::Token {
        kid: credential.kid.clone(),
        tenant: credential.tenant.clone(),
        kind: credential.kind.name().to_owned(),
        scope: credential.scope.clone(),
        created_at: credential.created_at,
        expires_at: credential.expires_at,
        revoked_at: credential.revoked_at,
        in_force: credential.is_valid(now()),
        subject: credential.subject.clone(),
        used_at: credential.used_at,
    }
}

/// What is revoked of an identity provider's, as a token that is not in force.
fn denied(denial: &Denial) -> wire::Token {
    wire::Token {
        kid: denial.name.clone(),
        tenant: denial.tenant.clone(),
        kind: CredentialKind::Harness.name().to_owned(),
        scope: "*".to_owned(),
        revoked_at: Some(denial.revoked_at),
        expires_at: denial.until,
        subject: denial.name.clone(),
        ..wire::Token::default()
    }
}

/// A credential to be made.
struct Wanted {
    tenant: String,
    kind: CredentialKind,
    scope: String,
    expires_at: Option<i64>,
    /// Whose successor it is.
    subject: Option<String>,
    renews: bool,
    former: Option<String>,
}

impl Wanted {
    fn make(self) -> Result<(String, Credential), ControlError> {
        let made = NewToken::make(TokenKind::Credential(self.kind));
        let made = made.map_err(|_| ControlError::Randomness)?;
        let credential = Credential {
            subject: self.subject.unwrap_or_else(|| made.kid.clone()),
            kid: made.kid,
            tenant: self.tenant,
            kind: self.kind,
            scope: self.scope,
            digest: made.digest,
            created_at: now(),
            expires_at: self.expires_at,
            revoked_at: None,
            used_at: None,
            token_id: None,
            renews: self.renews,
            former: self.former,
        };
        Ok((made.text, credential))
    }
}
