//! Signals a thread does not want.

use std::mem::MaybeUninit;
use std::ptr;

/// This thread takes no signals any more; others of the process do.
#[expect(
    unsafe_code,
    reason = "there is no safe call for a thread's signal mask"
)]
pub(super) fn block_all() {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // Why at all: a handler that runs in a child before its exec runs in our memory, and a
    // guardian must not be talked out of its post. Why sound: the set is initialised by the first
    // call, and the mask of one thread is nobody else's business.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut());
    }
}
