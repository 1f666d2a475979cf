//! Tokens of identity providers that count no more.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Sqlite, changed};
use crate::store::{Denial, StoreError};

/// Denials of one tenant. Beyond it the next is refused, and those that were are kept.
const DENIALS_MAX: i64 = 10_000;

fn denial(row: &SqliteRow) -> Result<Denial, StoreError> {
    Ok(Denial {
        tenant: row.try_get("tenant")?,
        name: row.try_get("name")?,
        revoked_at: row.try_get("revoked_at")?,
        until: row.try_get("until")?,
    })
}

impl Sqlite {
    pub(super) async fn new_denial(&self, denial: &Denial) -> Result<bool, StoreError> {
        let mut tx = self.writing().await?;
        sqlx::query("DELETE FROM denials WHERE tenant = ? AND (name = ? OR until <= ?)")
            .bind(&denial.tenant)
            .bind(&denial.name)
            .bind(denial.revoked_at)
            .execute(&mut *tx)
            .await?;
        if denial.until.is_none_or(|until| denial.revoked_at < until) {
            let count: i64 = sqlx::query_scalar("SELECT count(*) FROM denials WHERE tenant = ?")
                .bind(&denial.tenant)
                .fetch_one(&mut *tx)
                .await?;
            if count >= DENIALS_MAX {
                return Ok(false);
            }
            sqlx::query(
                "INSERT INTO denials (tenant, name, revoked_at, until) VALUES (?, ?, ?, ?)",
            )
            .bind(&denial.tenant)
            .bind(&denial.name)
            .bind(denial.revoked_at)
            .bind(denial.until)
            .execute(&mut *tx)
            .await?;
        }
        changed(&mut tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    pub(super) async fn is_denied(
        &self,
        tenant: &str,
        name: &str,
        now: i64,
    ) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT 1 FROM denials WHERE tenant = ? AND name = ? \
             AND (until IS NULL OR until > ?)",
        )
        .bind(tenant)
        .bind(name)
        .bind(now)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.is_some())
    }

    pub(super) async fn denial_rows(
        &self,
        tenant: Option<&str>,
        now: i64,
    ) -> Result<Vec<Denial>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM denials WHERE (?1 IS NULL OR tenant = ?1) \
             AND (until IS NULL OR until > ?2) ORDER BY tenant, revoked_at, name",
        )
        .bind(tenant)
        .bind(now)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(denial).collect()
    }
}
