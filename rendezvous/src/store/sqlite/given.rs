//! What was handed out to be used once, kept as digests.

use sqlx::Row as _;

use super::{Sqlite, environment};
use crate::store::{Authorization, Digest, Enrolment, Shown, StoreError};

impl Sqlite {
    pub(super) async fn new_enrolment(
        &self,
        code: Digest,
        enrolment: &Enrolment,
        expires_at: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO enrolments (digest, tenant, scope, lifetime, expires_at) \
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(code.as_slice())
        .bind(&enrolment.tenant)
        .bind(&enrolment.scope)
        .bind(enrolment.lifetime)
        .bind(expires_at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(super) async fn used_enrolment(
        &self,
        code: Digest,
        now: i64,
    ) -> Result<Option<Enrolment>, StoreError> {
        let row = sqlx::query("DELETE FROM enrolments WHERE digest = ? RETURNING *")
            .bind(code.as_slice())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let expires_at: i64 = row.try_get("expires_at")?;
        let enrolment = Enrolment {
            tenant: row.try_get("tenant")?,
            scope: row.try_get("scope")?,
            lifetime: row.try_get("lifetime")?,
        };
        Ok((now < expires_at).then_some(enrolment))
    }

    pub(super) async fn given(
        &self,
        digest: Digest,
        authorization: &Authorization,
        nonce: Digest,
        shown: &Shown,
    ) -> Result<(), StoreError> {
        let mut tx = self.writing().await?;
        sqlx::query(
            "INSERT INTO authorizations (digest, tenant, id, registration, fingerprint, kid, \
             expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(digest.as_slice())
        .bind(&*authorization.environment.tenant)
        .bind(&*authorization.environment.id)
        .bind(&authorization.registration)
        .bind(&authorization.fingerprint)
        .bind(&authorization.kid)
        .bind(authorization.expires_at)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO tickets (digest, tenant, kid, token_id, ends_at, expires_at) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(nonce.as_slice())
        .bind(&shown.tenant)
        .bind(&shown.kid)
        .bind(&shown.token_id)
        .bind(shown.ends_at)
        .bind(authorization.expires_at)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn used_authorization(
        &self,
        digest: Digest,
        now: i64,
    ) -> Result<Option<Authorization>, StoreError> {
        let row = sqlx::query("DELETE FROM authorizations WHERE digest = ? RETURNING *")
            .bind(digest.as_slice())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let authorization = Authorization {
            environment: environment(&row)?,
            registration: row.try_get("registration")?,
            fingerprint: row.try_get("fingerprint")?,
            kid: row.try_get("kid")?,
            expires_at: row.try_get("expires_at")?,
        };
        Ok(Some(authorization).filter(|authorization| now < authorization.expires_at))
    }

    pub(super) async fn used_ticket(
        &self,
        nonce: Digest,
        now: i64,
    ) -> Result<Option<Shown>, StoreError> {
        let row =
            sqlx::query("DELETE FROM tickets WHERE digest = ? AND expires_at > ? RETURNING *")
                .bind(nonce.as_slice())
                .bind(now)
                .fetch_optional(&self.pool)
                .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Shown {
            tenant: row.try_get("tenant")?,
            kid: row.try_get("kid")?,
            token_id: row.try_get("token_id")?,
            ends_at: row.try_get("ends_at")?,
        }))
    }
}
