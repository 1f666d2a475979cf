//! How far a machine's clock is from ours.

use std::time::{SystemTime, UNIX_EPOCH};

use farstep_environments::{CallError, Executor};

use super::{Finding, probe};

/// Beyond this, signed tokens and fresh certificates begin to be refused, and times in logs to
/// mislead. Some file systems count in steps of two seconds.
const SKEW_MS_MAX: i64 = 5_000;

/// Compares the time of a new file there with the middle of the call that wrote it.
pub(super) async fn skew(executor: &Executor) -> Finding {
    match measure(executor).await {
        Err(reason) => Finding::warning("clock", format!("it could not be compared: {reason}"))
            .try_this("see what `files` says below"),
        Ok(skew) => {
            let way = if skew < 0 { "behind" } else { "ahead of" };
            let found = format!("{:.1} s {way} ours", skew.abs() as f64 / 1e3);
            match skew.abs() > SKEW_MS_MAX {
                true => Finding::warning("clock", found).try_this(
                    "set both clocks, best by NTP: tokens and certificates depend on them",
                ),
                false => Finding::ok("clock", format!("within {} s of ours", SKEW_MS_MAX / 1000)),
            }
        }
    }
}

/// In milliseconds; more than zero when that clock is ahead.
async fn measure(executor: &Executor) -> Result<i64, String> {
    let file = probe::scratch(executor)?;
    let told = |error: CallError| error.to_string();
    let before = now();
    executor.write_file(&file, b"").await.map_err(told)?;
    let after = now();
    let metadata = executor.metadata(&file).await.map_err(told);
    executor.remove(&file, false, true).await.map_err(told)?;
    Ok(metadata?.modified_at_ms - i64::midpoint(before, after))
}

fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
