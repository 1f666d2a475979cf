//! The store of a single node: one file beside it.
//!
//! `credentials` is who may what, `environments` is who is what and where, `given` is what was
//! handed out to be used once.

mod credentials;
mod denials;
mod environments;
mod given;

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Connection as _, Row as _, Sqlite as Db, SqliteConnection, Transaction};

use super::{
    Arrival, Authorization, Closed, Credential, Denial, Digest, Enrolment, EnvironmentKey,
    EnvironmentState, NodeLease, Policy, RegisterOutcome, Registration, RotateOutcome, Route,
    Shown, Store, StoreError, Stored, UrlKey,
};

/// Connections to the file: readers beside the one writer there can be.
const CONNECTIONS_MAX: u32 = 4;

/// How long a writer waits for another process, for instance an `admin` command.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// The store in a file.
#[derive(Debug)]
pub struct Sqlite {
    pool: SqlitePool,
}

impl Sqlite {
    /// Opens the file, makes it if there is none, and brings it up to date.
    pub async fn open(path: &Path) -> Result<Sqlite, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What is deleted was worth something: it leaves no traces in the file.
            .pragma("secure_delete", "on")
            // A crash of the machine may lose the last moments; never the file.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_MAX);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(BUSY_MAX)
            .connect_with(options)
            .await?;
        sqlx::migrate!().run(&pool).await?;
        Ok(Sqlite { pool })
    }

    /// Copies everything that a new node needs to a file that must not exist: digests and names, and
    /// no key. A node that starts with it makes a key of its own for URLs.
    pub async fn backup(&self, path: &Path) -> Result<(), StoreError> {
        let target = path.to_str().ok_or(StoreError::Content("path"))?;
        // Empty, and nobody else's to read, before anything is in it.
        let mut options = std::fs::OpenOptions::new();
        let made = options.write(true).create_new(true).mode(0o600).open(path);
        made.map_err(sqlx::Error::Io)?;
        sqlx::query("VACUUM INTO ?")
            .bind(target)
            .execute(&self.pool)
            .await?;
        let options = SqliteConnectOptions::new().filename(path);
        let mut copy = SqliteConnection::connect_with(&options).await?;
        for sql in [
            "DELETE FROM url_keys",
            "DELETE FROM tickets",
            "DELETE FROM authorizations",
            "DELETE FROM enrolments",
            "DELETE FROM nodes",
            "VACUUM",
        ] {
            sqlx::query(sql).execute(&mut copy).await?;
        }
        Ok(copy.close().await?)
    }

    /// A transaction that writes, and is the only one that does.
    async fn writing(&self) -> Result<Transaction<'static, Db>, StoreError> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }

    async fn url_key_rows(&self) -> Result<Vec<UrlKey>, StoreError> {
        let rows = sqlx::query("SELECT number, secret FROM url_keys ORDER BY number DESC LIMIT 2")
            .fetch_all(&self.pool)
            .await?;
        let read = |row: &SqliteRow| {
            Ok(UrlKey {
                number: row.try_get("number")?,
                secret: row.try_get("secret")?,
            })
        };
        rows.iter().map(read).collect()
    }

    async fn new_url_key(&self, secret: &[u8], now: i64) -> Result<(), StoreError> {
        let mut tx = self.writing().await?;
        sqlx::query("INSERT INTO url_keys (secret, created_at) VALUES (?, ?)")
            .bind(secret)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        // Two count, so the others are worth nothing.
        sqlx::query(
            "DELETE FROM url_keys WHERE number NOT IN \
             (SELECT number FROM url_keys ORDER BY number DESC LIMIT 2)",
        )
        .execute(&mut *tx)
        .await?;
        changed(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Tells every node to look.
async fn changed(tx: &mut Transaction<'static, Db>) -> Result<(), StoreError> {
    sqlx::query("UPDATE changes SET count = count + 1")
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn environment(row: &SqliteRow) -> Result<EnvironmentKey, StoreError> {
    let tenant: &str = row.try_get("tenant")?;
    let id: &str = row.try_get("id")?;
    Ok(EnvironmentKey::new(tenant, id))
}

impl Store for Sqlite {
    fn credential<'a>(&'a self, kid: &'a str) -> Stored<'a, Option<Credential>> {
        Box::pin(self.credential_row(kid))
    }

    fn credentials<'a>(&'a self, tenant: Option<&'a str>) -> Stored<'a, Vec<Credential>> {
        Box::pin(self.credential_rows(tenant))
    }

    fn add_credential<'a>(&'a self, credential: &'a Credential) -> Stored<'a, ()> {
        Box::pin(self.new_credential(credential))
    }

    fn revoke<'a>(&'a self, kid: &'a str, now: i64) -> Stored<'a, bool> {
        // One that its executor renews may have a successor by now, which must not be left.
        let sql = "UPDATE credentials SET revoked_at = ?1 WHERE revoked_at IS NULL AND (kid = ?2 \
                   OR renews AND subject = (SELECT subject FROM credentials WHERE kid = ?2))";
        Box::pin(self.ended(sql, kid, now))
    }

    fn deny<'a>(&'a self, denial: &'a Denial) -> Stored<'a, bool> {
        Box::pin(self.new_denial(denial))
    }

    fn denied<'a>(&'a self, tenant: &'a str, name: &'a str, now: i64) -> Stored<'a, bool> {
        Box::pin(self.is_denied(tenant, name, now))
    }

    fn denials<'a>(&'a self, tenant: Option<&'a str>, now: i64) -> Stored<'a, Vec<Denial>> {
        Box::pin(self.denial_rows(tenant, now))
    }

    fn expire<'a>(&'a self, kid: &'a str, until: i64) -> Stored<'a, bool> {
        Box::pin(self.ended(credentials::EXPIRE, kid, until))
    }

    fn rotate<'a>(
        &'a self,
        former: &'a str,
        until: i64,
        successor: &'a Credential,
        now: i64,
    ) -> Stored<'a, RotateOutcome> {
        Box::pin(self.rotated(former, until, successor, now))
    }

    fn used<'a>(&'a self, kid: &'a str, now: i64) -> Stored<'a, ()> {
        Box::pin(async move {
            sqlx::query("UPDATE credentials SET used_at = ? WHERE kid = ? AND used_at IS NULL")
                .bind(now)
                .bind(kid)
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }

    fn add_enrolment<'a>(
        &'a self,
        code: Digest,
        enrolment: &'a Enrolment,
        expires_at: i64,
    ) -> Stored<'a, ()> {
        Box::pin(self.new_enrolment(code, enrolment, expires_at))
    }

    fn take_enrolment(&self, code: Digest, now: i64) -> Stored<'_, Option<Enrolment>> {
        Box::pin(self.used_enrolment(code, now))
    }

    fn register<'a>(
        &'a self,
        registration: &'a Registration,
        now: i64,
    ) -> Stored<'a, RegisterOutcome> {
        Box::pin(self.registered(registration, now))
    }

    fn route<'a>(&'a self, environment: &'a EnvironmentKey) -> Stored<'a, Option<Route>> {
        Box::pin(self.route_row(environment))
    }

    fn is_expected<'a>(&'a self, environment: &'a EnvironmentKey, now: i64) -> Stored<'a, bool> {
        Box::pin(self.expected(environment, now))
    }

    fn forget<'a>(&'a self, environment: &'a EnvironmentKey) -> Stored<'a, bool> {
        Box::pin(self.forgotten(environment))
    }

    fn environments<'a>(
        &'a self,
        tenant: Option<&'a str>,
        now: i64,
    ) -> Stored<'a, Vec<EnvironmentState>> {
        Box::pin(self.states(tenant, None, now))
    }

    fn environment<'a>(
        &'a self,
        environment: &'a EnvironmentKey,
        now: i64,
    ) -> Stored<'a, Option<EnvironmentState>> {
        Box::pin(async move {
            let EnvironmentKey { tenant, id } = environment;
            let mut states = self.states(Some(tenant), Some(id), now).await?;
            Ok(states.pop())
        })
    }

    fn away(&self, now: i64) -> Stored<'_, Vec<(String, u64)>> {
        Box::pin(self.away_counts(now))
    }

    fn came<'a>(&'a self, arrival: &'a Arrival, now: i64) -> Stored<'a, bool> {
        Box::pin(self.arrived(arrival, now))
    }

    fn went<'a>(&'a self, arrival: &'a Arrival, closed: &'a Closed) -> Stored<'a, bool> {
        Box::pin(self.departed(arrival, closed))
    }

    fn rejected<'a>(
        &'a self,
        environment: &'a EnvironmentKey,
        because: &'a str,
        now: i64,
    ) -> Stored<'a, ()> {
        Box::pin(self.turned_away(environment, because, now))
    }

    fn hold_lease<'a>(&'a self, lease: &'a NodeLease) -> Stored<'a, ()> {
        Box::pin(self.lease_held(lease))
    }

    fn drop_lease<'a>(&'a self, node: &'a str) -> Stored<'a, ()> {
        Box::pin(async move {
            sqlx::query("DELETE FROM nodes WHERE id = ?")
                .bind(node)
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }

    fn leases(&self, now: i64) -> Stored<'_, Vec<NodeLease>> {
        Box::pin(self.lease_rows(now))
    }

    fn policy<'a>(&'a self, environment: &'a EnvironmentKey) -> Stored<'a, Policy> {
        Box::pin(self.policy_row(environment))
    }

    fn set_policy<'a>(
        &'a self,
        environment: &'a EnvironmentKey,
        policy: &'a Policy,
    ) -> Stored<'a, ()> {
        Box::pin(self.new_policy(environment, policy))
    }

    fn give_out<'a>(
        &'a self,
        digest: Digest,
        authorization: &'a Authorization,
        nonce: Digest,
        shown: &'a Shown,
    ) -> Stored<'a, ()> {
        Box::pin(self.given(digest, authorization, nonce, shown))
    }

    fn take_authorization(&self, digest: Digest, now: i64) -> Stored<'_, Option<Authorization>> {
        Box::pin(self.used_authorization(digest, now))
    }

    fn take_ticket(&self, nonce: Digest, now: i64) -> Stored<'_, Option<Shown>> {
        Box::pin(self.used_ticket(nonce, now))
    }

    fn url_keys(&self) -> Stored<'_, Vec<UrlKey>> {
        Box::pin(self.url_key_rows())
    }

    fn add_url_key<'a>(&'a self, secret: &'a [u8], now: i64) -> Stored<'a, ()> {
        Box::pin(self.new_url_key(secret, now))
    }

    fn changes(&self) -> Stored<'_, i64> {
        Box::pin(async move {
            Ok(sqlx::query_scalar("SELECT count FROM changes")
                .fetch_one(&self.pool)
                .await?)
        })
    }

    fn sweep(&self, now: i64) -> Stored<'_, ()> {
        Box::pin(async move {
            for sql in [
                "DELETE FROM authorizations WHERE expires_at <= ?",
                "DELETE FROM tickets WHERE expires_at <= ?",
                "DELETE FROM enrolments WHERE expires_at <= ?",
                "DELETE FROM nodes WHERE until <= ?",
                "DELETE FROM denials WHERE until <= ?",
            ] {
                sqlx::query(sql).bind(now).execute(&self.pool).await?;
            }
            Ok(())
        })
    }
}
