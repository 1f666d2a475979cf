//! Environments: their generations, and which node has them while its lease lives.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{Sqlite, changed, environment};
use crate::store::{
    Arrival, Closed, EnvironmentKey, EnvironmentState, NodeLease, RegisterOutcome, Registration,
    Route, StoreError,
};

impl Sqlite {
    pub(super) async fn away_counts(&self, now: i64) -> Result<Vec<(String, u64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT tenant, count(*) AS away FROM environments WHERE NOT EXISTS \
             (SELECT 1 FROM nodes WHERE nodes.id = environments.node AND until > ?) \
             GROUP BY tenant",
        )
        .bind(now)
        .fetch_all(&self.pool)
        .await?;
        let read = |row: &SqliteRow| {
            let away: i64 = row.try_get("away")?;
            Ok((row.try_get("tenant")?, away.unsigned_abs()))
        };
        rows.iter().map(read).collect()
    }

    pub(super) async fn registered(
        &self,
        wanted: &Registration,
        now: i64,
    ) -> Result<RegisterOutcome, StoreError> {
        let EnvironmentKey { tenant, id } = &wanted.environment;
        let fingerprint = wanted.key.fingerprint();
        let mut tx = self.writing().await?;
        let stays_out =
            sqlx::query("SELECT 1 FROM superseded WHERE tenant = ? AND id = ? AND fingerprint = ?")
                .bind(&**tenant)
                .bind(&**id)
                .bind(&fingerprint)
                .fetch_optional(&mut *tx)
                .await?;
        if stays_out.is_some() {
            return Ok(RegisterOutcome::Superseded);
        }
        let former = sqlx::query("SELECT * FROM environments WHERE tenant = ? AND id = ?")
            .bind(&**tenant)
            .bind(&**id)
            .fetch_optional(&mut *tx)
            .await?;
        let former = former.as_ref().map(route).transpose()?;
        let route = match former {
            // The same executor comes again: what it and orchestrators hold stays good.
            Some(former) if former.key == wanted.key => Route {
                kid: wanted.kid.clone(),
                attestation: wanted.attestation.clone(),
                ..former
            },
            Some(former) => {
                sqlx::query("INSERT INTO superseded (tenant, id, fingerprint) VALUES (?, ?, ?)")
                    .bind(&**tenant)
                    .bind(&**id)
                    .bind(former.key.fingerprint())
                    .execute(&mut *tx)
                    .await?;
                changed(&mut tx).await?;
                new_route(wanted, former.generation + 1)
            }
            None => {
                let count: i64 =
                    sqlx::query_scalar("SELECT count(*) FROM environments WHERE tenant = ?")
                        .bind(&**tenant)
                        .fetch_one(&mut *tx)
                        .await?;
                if count >= i64::from(wanted.environments_max) {
                    return Ok(RegisterOutcome::Full);
                }
                new_route(wanted, 1)
            }
        };
        let key = serde_json::to_string(&route.key).map_err(|_| StoreError::Content("key"))?;
        let info = serde_json::to_string(&wanted.info).map_err(|_| StoreError::Content("info"))?;
        sqlx::query(
            "INSERT INTO environments (tenant, id, generation, registration, key_json, \
             fingerprint, kid, registered_at, info_json, attestation) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (tenant, id) DO UPDATE SET generation = excluded.generation, \
             registration = excluded.registration, key_json = excluded.key_json, \
             fingerprint = excluded.fingerprint, kid = excluded.kid, \
             registered_at = excluded.registered_at, info_json = excluded.info_json, \
             attestation = excluded.attestation",
        )
        .bind(&**tenant)
        .bind(&**id)
        .bind(number(route.generation))
        .bind(&route.registration)
        .bind(key)
        .bind(fingerprint)
        .bind(&route.kid)
        .bind(now)
        .bind(info)
        .bind(&route.attestation)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(RegisterOutcome::Registered(route))
    }

    pub(super) async fn route_row(
        &self,
        environment: &EnvironmentKey,
    ) -> Result<Option<Route>, StoreError> {
        let row = sqlx::query("SELECT * FROM environments WHERE tenant = ? AND id = ?")
            .bind(&*environment.tenant)
            .bind(&*environment.id)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(route).transpose()
    }

    pub(super) async fn forgotten(&self, environment: &EnvironmentKey) -> Result<bool, StoreError> {
        let mut tx = self.writing().await?;
        let mut found = false;
        for sql in [
            "DELETE FROM environments WHERE tenant = ? AND id = ?",
            "DELETE FROM superseded WHERE tenant = ? AND id = ?",
            "DELETE FROM policies WHERE tenant = ? AND id = ?",
        ] {
            let done = sqlx::query(sql)
                .bind(&*environment.tenant)
                .bind(&*environment.id)
                .execute(&mut *tx)
                .await?;
            found |= done.rows_affected() > 0;
        }
        changed(&mut tx).await?;
        tx.commit().await?;
        Ok(found)
    }

    /// What is known of those that are asked for. A node counts while its lease lives.
    pub(super) async fn states(
        &self,
        tenant: Option<&str>,
        id: Option<&str>,
        now: i64,
    ) -> Result<Vec<EnvironmentState>, StoreError> {
        let rows = sqlx::query(
            "SELECT environments.*, nodes.id AS live FROM environments \
             LEFT JOIN nodes ON nodes.id = environments.node AND nodes.until > ?1 \
             WHERE (?2 IS NULL OR tenant = ?2) AND (?3 IS NULL OR environments.id = ?3) \
             ORDER BY tenant, environments.id",
        )
        .bind(now)
        .bind(tenant)
        .bind(id)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(state).collect()
    }

    pub(super) async fn arrived(&self, arrival: &Arrival, now: i64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE environments SET online_at = ?1, node = ?2, connection = ?3, \
             offline_at = NULL, offline_because = NULL, closed_code = NULL, closed_by = NULL \
             WHERE tenant = ?4 AND id = ?5 AND generation = ?6 \
             AND NOT (node IS ?2 AND connection > ?3)",
        )
        .bind(now)
        .bind(&arrival.node)
        .bind(number(arrival.connection))
        .bind(&*arrival.environment.tenant)
        .bind(&*arrival.environment.id)
        .bind(number(arrival.generation))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    pub(super) async fn departed(
        &self,
        arrival: &Arrival,
        closed: &Closed,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE environments SET offline_at = ?, closed_code = ?, closed_by = ?, \
             offline_because = ?, node = NULL, connection = NULL \
             WHERE tenant = ? AND id = ? AND node = ? AND connection = ?",
        )
        .bind(closed.at)
        .bind(closed.code)
        .bind(&closed.by)
        .bind(&closed.reason)
        .bind(&*arrival.environment.tenant)
        .bind(&*arrival.environment.id)
        .bind(&arrival.node)
        .bind(number(arrival.connection))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    pub(super) async fn turned_away(
        &self,
        environment: &EnvironmentKey,
        because: &str,
        now: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE environments SET rejected_at = ?, rejected_because = ? \
             WHERE tenant = ? AND id = ?",
        )
        .bind(now)
        .bind(because)
        .bind(&*environment.tenant)
        .bind(&*environment.id)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(super) async fn lease_held(&self, lease: &NodeLease) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT OR REPLACE INTO nodes (id, address, version, executors, until) \
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&lease.id)
        .bind(&lease.address)
        .bind(&lease.version)
        .bind(lease.executors)
        .bind(lease.until)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(super) async fn lease_rows(&self, now: i64) -> Result<Vec<NodeLease>, StoreError> {
        let rows = sqlx::query("SELECT * FROM nodes WHERE until > ? ORDER BY id")
            .bind(now)
            .fetch_all(&self.pool)
            .await?;
        let read = |row: &SqliteRow| {
            Ok(NodeLease {
                id: row.try_get("id")?,
                address: row.try_get("address")?,
                version: row.try_get("version")?,
                executors: row.try_get("executors")?,
                until: row.try_get("until")?,
            })
        };
        rows.iter().map(read).collect()
    }
}

fn new_route(wanted: &Registration, generation: u64) -> Route {
    Route {
        generation,
        registration: format!("reg_{}", Uuid::now_v7().simple()),
        key: wanted.key.clone(),
        kid: wanted.kid.clone(),
        attestation: wanted.attestation.clone(),
    }
}

/// The database counts with a sign.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn generation(row: &SqliteRow) -> Result<u64, StoreError> {
    let generation: i64 = row.try_get("generation")?;
    u64::try_from(generation).map_err(|_| StoreError::Content("generation"))
}

fn route(row: &SqliteRow) -> Result<Route, StoreError> {
    let key: &str = row.try_get("key_json")?;
    Ok(Route {
        generation: generation(row)?,
        registration: row.try_get("registration")?,
        key: serde_json::from_str(key).map_err(|_| StoreError::Content("key"))?,
        kid: row.try_get("kid")?,
        attestation: row.try_get("attestation")?,
    })
}

fn state(row: &SqliteRow) -> Result<EnvironmentState, StoreError> {
    let info: &str = row.try_get("info_json")?;
    let attestation: Option<&str> = row.try_get("attestation")?;
    let offline_at: Option<i64> = row.try_get("offline_at")?;
    let code: Option<u16> = row.try_get("closed_code")?;
    let by: Option<String> = row.try_get("closed_by")?;
    let reason: Option<String> = row.try_get("offline_because")?;
    let rejected_at: Option<i64> = row.try_get("rejected_at")?;
    let rejected: Option<String> = row.try_get("rejected_because")?;
    Ok(EnvironmentState {
        environment: environment(row)?,
        fingerprint: row.try_get("fingerprint")?,
        generation: generation(row)?,
        registered_at: row.try_get("registered_at")?,
        info: serde_json::from_str(info).map_err(|_| StoreError::Content("info"))?,
        is_attested: attestation.is_some(),
        node: row.try_get("live")?,
        online_at: row.try_get("online_at")?,
        closed: offline_at.map(|at| Closed {
            at,
            code: code.unwrap_or_default(),
            by: by.unwrap_or_default(),
            reason: reason.unwrap_or_default(),
        }),
        rejected: rejected_at.zip(rejected),
    })
}
