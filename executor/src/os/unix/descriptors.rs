//! How many files and sockets this process may have open.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What it was before; programs get it back.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Takes as many descriptors as whoever started us allows: the usual first limit of 1024 is fewer
/// than the connections we promise. Programs we start are not touched by it, because some of them
/// do not work with more.
pub fn raise_descriptor_limit() {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        ..before
    };
    if raised == before {
        return;
    }
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {
            let _ = BEFORE.set(before);
        }
        Err(error) => tracing::warn!(%error, "the number of open files stays as it is"),
    }
}

/// The limit for a program, if ours is another one.
pub(super) fn limit_before() -> Option<Rlimit> {
    BEFORE.get().copied()
}
