//! What makes this process harder to look into (`security.md`, SR-74).

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What core dumps were limited to before; programs get it back.
static CORE_BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// No core dump of this process is written, and nobody of the same user may attach to it or read
/// its memory and environment. Programs it starts are not touched by either. Call it before there
/// is a secret in memory.
pub fn harden() {
    let before = getrlimit(Resource::Core);
    let none = Rlimit {
        current: Some(0),
        ..before
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps stay as they are");
    } else {
        let _ = CORE_BEFORE.set(before);
    }
    #[cfg(target_os = "linux")]
    {
        let never = rustix::process::DumpableBehavior::NotDumpable;
        if let Err(error) = rustix::process::set_dumpable_behavior(never) {
            tracing::warn!(%error, "memory can be read by processes of the same user");
        }
    }
}

/// The limit of core dumps for a program, if ours is another one.
pub(super) fn core_limit() -> Option<Rlimit> {
    CORE_BEFORE.get().copied()
}
