//! What the allocator does with memory that was given back to it.
//!
//! By itself it returns whatever lies free at the end of its memory to the system as soon as there
//! are some hundred KiB of it. An answer of a few such pieces is then built in memory that is new
//! each time, and the system takes longer to make a page than we take to fill it.

/// Keeps freed memory for the next answer, until [`give_back_memory`]. To be called before there are
/// threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_memory() {
    /// What is free at the end of the heap: the large answers and requests of a connection at once.
    const KEPT_BYTES_MAX: libc::c_int = 16 * 1024 * 1024;
    /// What is larger has memory of its own. A block of 1 MiB in base64 is not.
    const SHARED_BYTES_MAX: libc::c_int = 2 * 1024 * 1024;
    // One heap, for nothing gives back the end of any but the first. It is not noticed: small pieces
    // have a store in each thread, and few threads allocate large ones.
    //
    // Why at all: there is no safe call for these settings.
    // Why sound: all three take a number and may be called at any time.
    #[expect(unsafe_code, reason = "settings of the allocator")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES_MAX);
        libc::mallopt(libc::M_MMAP_THRESHOLD, SHARED_BYTES_MAX);
    }
}

/// Gives freed memory back to the system, wherever it lies. Takes some hundred microseconds for a few
/// MiB, and who wants to allocate waits meanwhile.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back_memory() {
    // Why at all: there is no safe call that empties the allocator.
    // Why sound: it touches nothing that is allocated, and may be called from any thread.
    #[expect(unsafe_code, reason = "the allocator gives back what nobody has")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators are left to themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_memory() {}

/// Other allocators are left to themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back_memory() {}
