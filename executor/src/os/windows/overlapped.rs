//! One read or write at a time that goes on while nobody waits for it.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::task::Context;
use std::thread;
use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_IO_INCOMPLETE, ERROR_IO_PENDING, HANDLE};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::CreateEventW;

use super::call::{check, is, len_u32};
use super::wait::Wait;

/// The end of a pipe, and what is being read from it or written to it.
#[derive(Debug)]
pub(super) struct Overlapped {
    pipe: OwnedHandle,
    wait: Wait,
    operation: Box<Operation>,
    busy: bool,
}

/// What the system writes to while an operation goes on: it has to stay where it is.
#[derive(Default)]
struct Operation {
    overlapped: OVERLAPPED,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Operation {
    /// Without the bytes: they are what somebody said.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operation").finish_non_exhaustive()
    }
}

// Why at all: the event in it is a pointer to the compiler. Why sound: handles belong to the
// process, and nobody but the owner touches the rest.
#[expect(unsafe_code, reason = "handles belong to the process")]
unsafe impl Send for Operation {}
#[expect(unsafe_code, reason = "handles belong to the process")]
unsafe impl Sync for Operation {}

impl Overlapped {
    /// `pipe` was opened for overlapped operations.
    pub(super) fn new(pipe: OwnedHandle) -> io::Result<Overlapped> {
        // Why at all: there is no safe call for an event. Why sound: no pointer is given but
        // nulls, and the handle is checked before it is owned.
        #[expect(unsafe_code, reason = "a new event")]
        let event = unsafe {
            let event = CreateEventW(ptr::null(), 0, 0, ptr::null());
            if event.is_null() {
                return Err(io::Error::last_os_error());
            }
            OwnedHandle::from_raw_handle(event)
        };
        let overlapped = OVERLAPPED {
            hEvent: event.as_raw_handle(),
            ..OVERLAPPED::default()
        };
        Ok(Overlapped {
            pipe,
            wait: Wait::repeated(event)?,
            operation: Box::new(Operation {
                overlapped,
                buffer: Vec::new(),
            }),
            busy: false,
        })
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// The task is woken when the operation that goes on has ended.
    pub(super) fn wake_me(&self, cx: &mut Context<'_>) {
        self.wait.wake_me(cx);
    }

    /// Begins to read up to `len` bytes. Not while something goes on.
    pub(super) fn begin_read(&mut self, len: usize) -> io::Result<()> {
        let operation = &mut *self.operation;
        operation.buffer.clear();
        operation.buffer.resize(len, 0);
        let (buffer, len) = (operation.buffer.as_mut_ptr(), len_u32(len));
        let overlapped = &raw mut operation.overlapped;
        // Why at all: the standard library reads pipes only by blocking. Why sound: buffer and
        // record are behind a box, are not touched while `busy`, and are freed only when the
        // operation has ended; `len` is the length of the buffer.
        #[expect(unsafe_code, reason = "a read that goes on by itself")]
        let done = unsafe {
            ReadFile(
                self.pipe.as_raw_handle(),
                buffer,
                len,
                ptr::null_mut(),
                overlapped,
            )
        };
        self.begun(check(done))
    }

    /// Begins to write all of `bytes`. Not while something goes on.
    pub(super) fn begin_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let operation = &mut *self.operation;
        operation.buffer.clear();
        operation.buffer.extend_from_slice(bytes);
        let (buffer, len) = (operation.buffer.as_ptr(), len_u32(bytes.len()));
        let overlapped = &raw mut operation.overlapped;
        // Why at all and why sound: as for reading.
        #[expect(unsafe_code, reason = "a write that goes on by itself")]
        let done = unsafe {
            WriteFile(
                self.pipe.as_raw_handle(),
                buffer,
                len,
                ptr::null_mut(),
                overlapped,
            )
        };
        self.begun(check(done))
    }

    fn begun(&mut self, outcome: io::Result<()>) -> io::Result<()> {
        match outcome {
            Err(error) if is(&error, ERROR_IO_PENDING) => {}
            outcome => outcome?,
        }
        self.busy = true;
        Ok(())
    }

    /// How many bytes were moved, if what was begun has ended.
    pub(super) fn outcome(&mut self) -> io::Result<Option<usize>> {
        match self.result() {
            Err(error) if is(&error, ERROR_IO_INCOMPLETE) => Ok(None),
            outcome => {
                self.busy = false;
                outcome.map(Some)
            }
        }
    }

    /// What the last read has brought; its outcome says how many bytes of it.
    pub(super) fn bytes(&self) -> &[u8] {
        if self.busy {
            &[]
        } else {
            &self.operation.buffer
        }
    }

    fn result(&self) -> io::Result<usize> {
        let mut count = 0;
        let pipe: HANDLE = self.pipe.as_raw_handle();
        // Why at all: it is how the end of an operation is learned. Why sound: the record belongs
        // to an operation on this handle, and the count is ours.
        #[expect(unsafe_code, reason = "the outcome of an operation")]
        let done = unsafe {
            GetOverlappedResult(
                pipe,
                &raw const self.operation.overlapped,
                &raw mut count,
                0,
            )
        };
        check(done)?;
        Ok(count as usize)
    }
}

impl Drop for Overlapped {
    fn drop(&mut self) {
        if !self.busy {
            return;
        }
        // Why at all: the system must not write to memory that is gone. Why sound: the record is
        // that of the operation; what cannot be cancelled has ended, or ends now.
        #[expect(unsafe_code, reason = "an operation is given up")]
        unsafe {
            CancelIoEx(
                self.pipe.as_raw_handle(),
                &raw const self.operation.overlapped,
            );
        }
        // Not by waiting for the event: the thread pool may have taken its signal. A cancelled
        // operation says so; it is over either way.
        for _ in 0..PAUSES_MAX {
            match self.result() {
                Err(error) if is(&error, ERROR_IO_INCOMPLETE) => thread::sleep(PAUSE),
                Ok(_) | Err(_) => return,
            }
        }
        tracing::warn!("a cancelled operation on a pipe does not end");
        let record = std::mem::take(&mut self.operation);
        // It may still be written to: better never freed than freed too early.
        Box::leak(record);
    }
}

const PAUSE: Duration = Duration::from_millis(1);
const PAUSES_MAX: u32 = 5000;
