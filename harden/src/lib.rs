//! What makes a process harder to look into (`security` SR-74): all of ours hold secrets.
//!
//! Call it before there is a secret in memory. What cannot be had is warned of and done without.
//! Windows has other means, and only the executor runs there, so here is nothing for it.

#[cfg(unix)]
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No core dump of this process is written, and on Linux nobody of the same user may attach to it
/// or read its memory and environment. Programs it starts are ordinary ones.
#[cfg(unix)]
pub fn harden() {
    // On Linux this rules out core dumps as well, and unlike their limit it is not inherited.
    #[cfg(target_os = "linux")]
    close();
    #[cfg(not(target_os = "linux"))]
    no_core_dumps();
}

/// On Linux nobody of the same user may attach to this process or read its memory and environment.
#[cfg(unix)]
pub fn close() {
    #[cfg(target_os = "linux")]
    {
        let never = rustix::process::DumpableBehavior::NotDumpable;
        if let Err(error) = rustix::process::set_dumpable_behavior(never) {
            tracing::warn!(%error, "memory can be read by processes of the same user");
        }
    }
}

/// No core dump of this process is written, nor of a program that it starts. Returns the limit that
/// was there before, if there is another now.
#[cfg(unix)]
pub fn no_core_dumps() -> Option<Rlimit> {
    let before = getrlimit(Resource::Core);
    let none = Rlimit {
        current: Some(0),
        ..before
    };
    match setrlimit(Resource::Core, none) {
        Ok(()) => Some(before),
        Err(error) => {
            tracing::warn!(%error, "core dumps stay as they are");
            None
        }
    }
}
