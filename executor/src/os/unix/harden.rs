//! What makes this process harder to look into (`security.md`, SR-74).

use std::sync::OnceLock;

use rustix::process::Rlimit;

/// What core dumps were limited to before; programs get it back.
static CORE_BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// No core dump of this process is written, and nobody of the same user may attach to it or read
/// its memory and environment. Programs it starts are not touched by either. Call it before there
/// is a secret in memory.
pub fn harden() {
    if let Some(before) = farstep_harden::no_core_dumps() {
        let _ = CORE_BEFORE.set(before);
    }
    farstep_harden::close();
}

/// The limit of core dumps for a program, if ours is another one.
pub(super) fn core_limit() -> Option<Rlimit> {
    CORE_BEFORE.get().copied()
}
