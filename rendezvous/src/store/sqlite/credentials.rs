//! Credentials and policies: who may what.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::{Sqlite, changed};
use crate::store::{Credential, CredentialKind, EnvironmentKey, Policy, RotateOutcome, StoreError};

/// Ends a credential, not later than it would anyway.
pub(super) const EXPIRE: &str = "UPDATE credentials SET expires_at = \
    min(?, coalesce(expires_at, 1 << 62)) WHERE kid = ? AND revoked_at IS NULL";

fn credential(row: &SqliteRow) -> Result<Credential, StoreError> {
    let digest: &[u8] = row.try_get("digest")?;
    let kind: &str = row.try_get("kind")?;
    Ok(Credential {
        kid: row.try_get("kid")?,
        tenant: row.try_get("tenant")?,
        kind: CredentialKind::named(kind).ok_or(StoreError::Content("kind of credential"))?,
        scope: row.try_get("scope")?,
        digest: digest
            .try_into()
            .map_err(|_| StoreError::Content("digest"))?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
        subject: row.try_get("subject")?,
        used_at: row.try_get("used_at")?,
        token_id: None,
        renews: row.try_get("renews")?,
        former: row.try_get("former")?,
    })
}

async fn insert(
    connection: &mut SqliteConnection,
    credential: &Credential,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO credentials (kid, tenant, kind, scope, digest, created_at, expires_at, \
         revoked_at, subject, used_at, renews, former) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&credential.kid)
    .bind(&credential.tenant)
    .bind(credential.kind.name())
    .bind(&credential.scope)
    .bind(credential.digest.as_slice())
    .bind(credential.created_at)
    .bind(credential.expires_at)
    .bind(credential.revoked_at)
    .bind(&credential.subject)
    .bind(credential.used_at)
    .bind(credential.renews)
    .bind(&credential.former)
    .execute(connection)
    .await?;
    Ok(())
}

impl Sqlite {
    pub(super) async fn credential_row(&self, kid: &str) -> Result<Option<Credential>, StoreError> {
        let row = sqlx::query("SELECT * FROM credentials WHERE kid = ?")
            .bind(kid)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(credential).transpose()
    }

    pub(super) async fn credential_rows(
        &self,
        tenant: Option<&str>,
    ) -> Result<Vec<Credential>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM credentials WHERE ?1 IS NULL OR tenant = ?1 \
             ORDER BY tenant, created_at, kid",
        )
        .bind(tenant)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(credential).collect()
    }

    pub(super) async fn new_credential(&self, credential: &Credential) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        insert(&mut connection, credential).await
    }

    /// In one transaction, so that of several rotations at once one is the second.
    pub(super) async fn rotated(
        &self,
        former: &str,
        until: i64,
        successor: &Credential,
        now: i64,
    ) -> Result<RotateOutcome, StoreError> {
        let mut tx = self.writing().await?;
        let counts = sqlx::query(
            "SELECT 1 FROM credentials WHERE kid = ? AND revoked_at IS NULL \
             AND (expires_at IS NULL OR expires_at > ?)",
        )
        .bind(former)
        .bind(now)
        .fetch_optional(&mut *tx)
        .await?;
        if counts.is_none() {
            return Ok(RotateOutcome::Gone);
        }
        let in_use = sqlx::query(
            "SELECT 1 FROM credentials WHERE subject = ? AND kid <> ? AND revoked_at IS NULL \
             AND (expires_at IS NULL OR expires_at > ?) AND used_at IS NOT NULL LIMIT 1",
        )
        .bind(&successor.subject)
        .bind(former)
        .bind(now)
        .fetch_optional(&mut *tx)
        .await?;
        if in_use.is_some() {
            return Ok(RotateOutcome::Two);
        }
        sqlx::query(
            "UPDATE credentials SET revoked_at = ? WHERE subject = ? AND kid <> ? \
             AND revoked_at IS NULL AND used_at IS NULL",
        )
        .bind(now)
        .bind(&successor.subject)
        .bind(former)
        .execute(&mut *tx)
        .await?;
        sqlx::query(EXPIRE)
            .bind(until)
            .bind(former)
            .execute(&mut *tx)
            .await?;
        insert(&mut tx, successor).await?;
        changed(&mut tx).await?;
        tx.commit().await?;
        Ok(RotateOutcome::Rotated)
    }

    /// Whether a credential or a code is there for exactly this environment. Wider ones say nothing
    /// about any one of theirs.
    pub(super) async fn expected(
        &self,
        environment: &EnvironmentKey,
        now: i64,
    ) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM credentials WHERE tenant = ?1 AND kind = ?2 \
             AND scope = ?3 AND revoked_at IS NULL AND coalesce(expires_at, 1 << 62) > ?4) \
             OR EXISTS (SELECT 1 FROM enrolments WHERE tenant = ?1 AND scope = ?3 \
             AND expires_at > ?4)",
        )
        .bind(&*environment.tenant)
        .bind(CredentialKind::Executor.name())
        .bind(&*environment.id)
        .bind(now)
        .fetch_one(&self.pool)
        .await?)
    }

    pub(super) async fn ended(
        &self,
        sql: &'static str,
        kid: &str,
        at: i64,
    ) -> Result<bool, StoreError> {
        let mut tx = self.writing().await?;
        let done = sqlx::query(sql)
            .bind(at)
            .bind(kid)
            .execute(&mut *tx)
            .await?;
        changed(&mut tx).await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    pub(super) async fn policy_row(
        &self,
        environment: &EnvironmentKey,
    ) -> Result<Policy, StoreError> {
        let json: Option<String> =
            sqlx::query_scalar("SELECT json FROM policies WHERE tenant = ? AND id = ?")
                .bind(&*environment.tenant)
                .bind(&*environment.id)
                .fetch_optional(&self.pool)
                .await?;
        match json {
            Some(json) => serde_json::from_str(&json).map_err(|_| StoreError::Content("policy")),
            None => Ok(Policy::default()),
        }
    }

    pub(super) async fn new_policy(
        &self,
        environment: &EnvironmentKey,
        policy: &Policy,
    ) -> Result<(), StoreError> {
        let json = serde_json::to_string(policy).map_err(|_| StoreError::Content("policy"))?;
        let mut tx = self.writing().await?;
        sqlx::query("INSERT OR REPLACE INTO policies (tenant, id, json) VALUES (?, ?, ?)")
            .bind(&*environment.tenant)
            .bind(&*environment.id)
            .bind(json)
            .execute(&mut *tx)
            .await?;
        changed(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }
}
