//! Standard error as a place that may be full.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Whether standard error takes [`STDERR_PIECE`](super::STDERR_PIECE) bytes without making us wait,
/// now or within a time.
pub fn stderr_takes(within: Duration) -> bool {
    let stderr = std::io::stderr();
    let mut looked_at = [PollFd::new(&stderr, PollFlags::OUT)];
    let within = Timespec::try_from(within).unwrap_or_default();
    // Who is gone or broken does not make anybody wait: the write fails at once.
    poll(&mut looked_at, Some(&within)).is_ok_and(|ready| ready > 0)
}
