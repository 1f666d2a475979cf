//! Keeping hold of everything a program starts, however it tries to get away.
//!
//! A group of processes is left by `setsid`, and a parent by ending: neither says later whose a
//! process was. So each program is started with a *mark* that its descendants inherit and cannot
//! shake off by any of the usual means (a new session, a double fork, an empty environment).
//!
//! ```text
//!   Lineage (one per session) ─┐ doomed
//!   Group (one per program) ───┴──▶ Keeper ──▶ sweeper: scan, kill, until two scans find nobody
//!                                     │
//!   house (the first thread) ── reaps orphans, keeps ──▶ guardian, a small process that sweeps
//!                                                        when the executor is suddenly gone
//! ```
//!
//! Nothing here stands between us and a program: marking costs one system call at its start, and
//! the rest happens only when something is ended.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod guardian;
#[cfg(target_os = "linux")]
mod house;
#[cfg(target_os = "linux")]
mod keeper;
#[cfg(target_os = "linux")]
mod mark;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
#[cfg(target_os = "linux")]
mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Pid;

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::Keeper;
#[cfg(not(target_os = "linux"))]
pub use elsewhere::{guard, keep_house};
#[cfg(target_os = "linux")]
pub use guardian::guard;
#[cfg(target_os = "linux")]
pub use house::keep_house;
#[cfg(target_os = "linux")]
pub(super) use keeper::Keeper;

/// Which session and which of all programs a process descends from. Neither is ever 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Branch {
    pub(super) session: u32,
    pub(super) program: u32,
}

/// What is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doomed {
    /// One program and what it started.
    Program(Branch),
    /// All programs of a session and what they started.
    Session(u32),
    /// Whatever any program of this executor started.
    Everything,
}

/// What all programs of one session, and all that descends from them, have in common.
///
/// Dropping it ends those that are left, programs that exited long ago included: a daemon they
/// left behind is theirs.
#[derive(Debug)]
pub struct Lineage {
    keeper: Arc<Keeper>,
    /// 0 until a program is started.
    session: AtomicU32,
}

impl Lineage {
    pub(super) fn new(keeper: Arc<Keeper>) -> Lineage {
        Lineage {
            keeper,
            session: AtomicU32::new(0),
        }
    }

    /// Ends everything of this session. Returns at once; nobody is left a moment later.
    pub fn end(&self) {
        let session = self.session.load(Ordering::Acquire);
        if session != 0 {
            self.keeper.doom(Doomed::Session(session));
        }
    }

    /// The place of one more program.
    pub(super) fn origin(&self) -> Origin {
        let mut session = self.session.load(Ordering::Acquire);
        if session == 0 {
            let number = self.keeper.next_number();
            let kept = (Ordering::AcqRel, Ordering::Acquire);
            let first = self.session.compare_exchange(0, number, kept.0, kept.1);
            // Of two first starts at the same moment one decides.
            session = first.map_or_else(|decided| decided, |_| number);
        }
        Origin {
            branch: Branch {
                session,
                program: self.keeper.next_number(),
            },
            keeper: Arc::clone(&self.keeper),
        }
    }
}

impl Drop for Lineage {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where one program belongs, and who ends what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) keeper: Arc<Keeper>,
    pub(super) branch: Branch,
}

impl Origin {
    /// The program was collected, so its number means nothing any more.
    pub(super) fn forget(&self, pid: Pid) {
        self.keeper.forget(pid, self.branch);
    }

    /// Ends what the program started and did not keep in its group.
    pub(super) fn end(&self) {
        self.keeper.doom(Doomed::Program(self.branch));
    }
}
