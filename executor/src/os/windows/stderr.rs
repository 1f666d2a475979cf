//! Standard error as a place that may be full.

use std::time::Duration;

/// Always: nothing here tells whether a write to a pipe would wait.
pub fn stderr_takes(_within: Duration) -> bool {
    true
}
