//! What this machine remembers of a job.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The version of the file's form. A newer one is not touched.
pub(super) const VERSION: u32 = 1;

/// Hexadecimal digits of a job's id: 48 random bits, few enough to be typed.
const ID_DIGITS: usize = 12;

/// One file of the [`Store`](super::Store). It holds the secret of the session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub version: u32,
    pub job: String,
    pub environment: String,
    pub session: String,
    pub process: String,
    pub command: Vec<String>,
    /// In the spelling of the executor.
    pub cwd: String,
    pub tty: bool,
    /// Milliseconds since 1970, by this machine's clock.
    pub started_at_ms: u64,
    pub retention_seconds: u64,
    /// When somebody last looked at it so that its clock began anew.
    pub seen_at_ms: u64,
    /// How it ended, as far as somebody looked.
    pub exit_code: Option<i64>,
    /// Why nothing is known of it any more.
    pub lost: Option<String>,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("job", &self.job)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

impl Record {
    /// Whether nothing about it will change any more.
    pub fn is_over(&self) -> bool {
        self.exit_code.is_some() || self.lost.is_some()
    }

    pub fn retention(&self) -> Duration {
        Duration::from_secs(self.retention_seconds)
    }

    /// How much of its retention is left, by this machine's clock alone.
    pub(super) fn left(&self, now_ms: u64) -> Duration {
        let kept = Duration::from_millis(now_ms.saturating_sub(self.seen_at_ms));
        self.retention().saturating_sub(kept)
    }
}

/// An id for a new job.
pub(super) fn new_id() -> String {
    // The end of it is the random part.
    let id = Uuid::now_v7().simple().to_string();
    id[id.len() - ID_DIGITS..].to_owned()
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
