//! What makes this process harder to look into and to talk into something (`security` SR-74), and
//! smaller.

use windows_sys::Win32::System::Diagnostics::Debug::{
    SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SetErrorMode,
};
use windows_sys::Win32::System::LibraryLoader::{
    LOAD_LIBRARY_SEARCH_SYSTEM32, SetDefaultDllDirectories,
};

use super::call::check;

/// No report of a crash is made, with the memory in it, and no window waits for somebody to look at
/// it. Libraries are loaded from the system's folder only. Call it before there is a secret in
/// memory.
pub fn harden() {
    // Why at all: there are no safe calls for either. Why sound: both are settings of this process
    // and take numbers only.
    #[expect(unsafe_code, reason = "settings of this process")]
    let done = unsafe {
        SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
        SetDefaultDllDirectories(LOAD_LIBRARY_SEARCH_SYSTEM32)
    };
    if let Err(error) = check(done) {
        tracing::warn!(%error, "libraries are looked for everywhere");
    }
}

/// Nothing: the system takes back by itself what is not used.
pub fn give_back_program() {}

/// Nothing: the allocator is the system's own.
pub fn keep_memory() {}

/// Nothing: what is freed is the system's.
pub fn give_back_memory() {}
