//! A handle that a task waits for: the end of a process, or of a read or a write.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle, RawHandle};
use std::ptr;
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
    WT_EXECUTEONLYONCE, WaitForSingleObject,
};

use super::call::check;

/// Watches one handle with the system's own thread pool; no runtime is needed.
#[derive(Debug)]
pub(super) struct Wait {
    /// Dropped first, so that nobody uses the other two any more.
    #[expect(dead_code, reason = "held for its end")]
    registered: Registered,
    waker: Box<AtomicWaker>,
    handle: OwnedHandle,
}

#[derive(Debug)]
struct Registered(RawHandle);

// Why at all: handles are pointers to the compiler. Why sound: the system's handles belong to the
// process and not to a thread, and nothing else is in there.
#[expect(unsafe_code, reason = "handles belong to the process")]
unsafe impl Send for Registered {}
#[expect(unsafe_code, reason = "handles belong to the process")]
unsafe impl Sync for Registered {}

impl Wait {
    /// Once: for a process, which ends only once.
    pub(super) fn once(handle: OwnedHandle) -> io::Result<Wait> {
        Wait::register(handle, WT_EXECUTEONLYONCE)
    }

    /// Again and again: for an event that resets itself.
    pub(super) fn repeated(handle: OwnedHandle) -> io::Result<Wait> {
        Wait::register(handle, 0)
    }

    fn register(handle: OwnedHandle, flags: u32) -> io::Result<Wait> {
        let waker = Box::new(AtomicWaker::new());
        let mut registered: HANDLE = ptr::null_mut();
        // Why at all: only the thread pool waits for many handles without a thread for each.
        // Why sound: the waker is behind a box, so it stays where it is, and it is freed after
        // the registration: `Registered` waits for a callback that is running.
        #[expect(unsafe_code, reason = "a callback of the thread pool")]
        let done = unsafe {
            RegisterWaitForSingleObject(
                &raw mut registered,
                handle.as_raw_handle(),
                Some(wake),
                ptr::from_ref(&*waker).cast(),
                INFINITE,
                flags | WT_EXECUTEINWAITTHREAD,
            )
        };
        check(done)?;
        Ok(Wait {
            registered: Registered(registered),
            waker,
            handle,
        })
    }

    /// Ready when the handle of [`Wait::once`] is signalled.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before looking, so that nothing falls in between.
        self.waker.register(cx.waker());
        if is_signalled(&self.handle) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// The task is woken by the next signal.
    pub(super) fn wake_me(&self, cx: &mut Context<'_>) {
        self.waker.register(cx.waker());
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // Why at all: what was registered has to go. Why sound: the handle came from the
        // registration and is used once; with this second argument the call returns when no
        // callback runs any more.
        #[expect(unsafe_code, reason = "the end of a registration")]
        unsafe {
            UnregisterWaitEx(self.0, INVALID_HANDLE_VALUE);
        }
    }
}

/// Whether a handle is signalled right now.
pub(super) fn is_signalled(handle: &impl AsRawHandle) -> bool {
    // Why at all: the standard library waits for its own processes only. Why sound: the handle is
    // open, and a wait of no time has no effect but on events, which nobody asks about here.
    #[expect(unsafe_code, reason = "a look at a handle")]
    let outcome = unsafe { WaitForSingleObject(handle.as_raw_handle(), 0) };
    outcome == WAIT_OBJECT_0
}

#[expect(unsafe_code, reason = "called by the system with what was registered")]
unsafe extern "system" fn wake(waker: *mut c_void, _timed_out: bool) {
    // Why at all: the system knows pointers only. Why sound: it is the waker of the registration,
    // which lives until no callback runs, and it is only shared.
    let waker = unsafe { &*waker.cast::<AtomicWaker>() };
    waker.wake();
}
