//! Where there is neither a mark nor a subreaper: a group of processes is all there is, and a
//! program that leaves its group is lost. `docs/security.md` says so.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Pid;

use super::{Branch, Doomed};

#[derive(Debug, Default)]
pub(in crate::os::unix) struct Keeper {
    numbers: AtomicU32,
}

impl Keeper {
    pub(in crate::os::unix) fn next_number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    #[expect(clippy::unused_self, reason = "the shape of the Linux one")]
    pub(in crate::os::unix) fn forget(&self, _pid: Pid, _branch: Branch) {}

    #[expect(clippy::unused_self, reason = "the shape of the Linux one")]
    pub(in crate::os::unix) fn doom(&self, _whom: Doomed) {}

    #[expect(clippy::unused_self, reason = "the shape of the Linux one")]
    pub(in crate::os::unix) fn close(&self) {}

    #[expect(
        clippy::unused_self,
        clippy::unused_async,
        reason = "the shape of the Linux one"
    )]
    pub(in crate::os::unix) async fn settled(&self) {}
}

/// There is no guardian to be.
pub fn guard() -> Option<ExitCode> {
    None
}

/// Serves on this thread: there are no orphans to look after.
pub fn keep_house(serve: impl FnOnce() -> u8 + Send + 'static) -> ExitCode {
    ExitCode::from(serve())
}
