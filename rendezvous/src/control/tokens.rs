//! Credentials: made, listed, rotated, taken back.

use super::policies::NAME_BYTES_MAX;
use super::{Answer, Control, ControlError, Who, wire};
use crate::auth::{NewToken, TokenKind};
use crate::node::now;
use crate::store::{
    Credential, CredentialKind, Denial, Enrolment, OPERATOR, RotateOutcome, in_scope, is_outside,
};

/// For how long an enrolment code is good, in seconds.
const ENROLMENT_SECONDS: i64 = 600;

/// For how long both count after a rotation, in seconds, if nothing is said.
const OVERLAP_SECONDS: u32 = 24 * 60 * 60;

impl Control {
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
        if kid.len() > NAME_BYTES_MAX || kid.chars().any(char::is_control) {
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

    /// A credential that the caller may change.
    async fn owned(&self, who: &Who, tenant: &str, kid: &str) -> Answer<Credential> {
        let tenant = who.listed(tenant)?;
        let credential = self.store.credential(kid).await?;
        credential
            .filter(|credential| tenant.is_none_or(|tenant| tenant == credential.tenant))
            .filter(|credential| may_see(who, credential))
            .ok_or(ControlError::Unknown("credential in force"))
    }
}

/// A caller with a narrower scope must not touch what reaches further.
fn may_see(who: &Who, credential: &Credential) -> bool {
    who.scope == "*" || in_scope(&who.scope, &credential.scope)
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
