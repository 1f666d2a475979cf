//! What every call of the system needs: text as it wants it, and its failures.

use std::ffi::OsStr;
use std::io;
use std::os::windows::ffi::OsStrExt;

use windows_sys::Win32::Foundation::{
    NTSTATUS, RtlNtStatusToDosError, STATUS_FILE_IS_A_DIRECTORY, STATUS_SUCCESS,
};
use windows_sys::core::BOOL;

/// What the standard library calls `IsADirectory`.
pub(super) const ERROR_DIRECTORY_NOT_SUPPORTED: i32 = 336;

/// Text that ends with a NUL. One inside it would end it too early.
pub(super) fn wide(text: impl AsRef<OsStr>) -> io::Result<Vec<u16>> {
    let mut wide: Vec<u16> = text.as_ref().encode_wide().collect();
    if wide.contains(&0) {
        let why = "there is a NUL in the name";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    wide.push(0);
    Ok(wide)
}

/// The outcome of a call that says false when it failed.
pub(super) fn check(done: BOOL) -> io::Result<()> {
    if done == 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The outcome of a call of the system's lower layer.
pub(super) fn check_status(status: NTSTATUS) -> io::Result<()> {
    match status {
        STATUS_SUCCESS => Ok(()),
        // The general translation is "access denied", which tells nobody anything.
        STATUS_FILE_IS_A_DIRECTORY => {
            Err(io::Error::from_raw_os_error(ERROR_DIRECTORY_NOT_SUPPORTED))
        }
        status => {
            // Why at all: the numbers of the lower layer mean nothing to the standard library.
            // Why sound: it is a lookup in a table.
            #[expect(unsafe_code, reason = "a status becomes an error")]
            let code = unsafe { RtlNtStatusToDosError(status) };
            Err(io::Error::from_raw_os_error(code.cast_signed()))
        }
    }
}

/// Whether it is this error of the system.
pub(super) fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code.cast_signed())
}

/// The length of a buffer as the system counts it.
pub(super) fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
