//! Pipes between us and a program.
//!
//! Our ends never block, so they are ends of named pipes: the nameless ones cannot do that. Theirs
//! do, because programs expect it. A name is used once, by us, and lets nobody else in.

use std::fs::OpenOptions;
use std::io;
use std::os::windows::fs::OpenOptionsExt as _;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{
    HANDLE_FLAG_INHERIT, INVALID_HANDLE_VALUE, SetHandleInformation,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, PIPE_ACCESS_INBOUND, PIPE_ACCESS_OUTBOUND,
    SECURITY_ANONYMOUS,
};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_WAIT,
};

use super::call::{check, wide};

/// What the system holds of a stream before its writer has to wait.
const PIPE_BYTES: u32 = 64 * 1024;

/// Our reading end and their writing end.
pub(super) fn for_output() -> io::Result<(OwnedHandle, OwnedHandle)> {
    let (ours, name) = create(PIPE_ACCESS_INBOUND)?;
    let theirs = OpenOptions::new()
        .write(true)
        .security_qos_flags(SECURITY_ANONYMOUS)
        .open(name)?;
    Ok((ours, theirs.into()))
}

/// Their reading end and our writing end.
pub(super) fn for_input() -> io::Result<(OwnedHandle, OwnedHandle)> {
    let (ours, name) = create(PIPE_ACCESS_OUTBOUND)?;
    let theirs = OpenOptions::new()
        .read(true)
        .security_qos_flags(SECURITY_ANONYMOUS)
        .open(name)?;
    Ok((theirs.into(), ours))
}

/// Input that is at its end.
pub(super) fn null() -> io::Result<OwnedHandle> {
    Ok(OpenOptions::new().read(true).open("NUL")?.into())
}

/// Lets a program have the handle, if it is named among those it gets.
pub(super) fn make_inheritable(handle: &OwnedHandle) -> io::Result<()> {
    // Why at all: the standard library has no call for it. Why sound: the handle is open, and the
    // flag changes nothing else about it.
    #[expect(unsafe_code, reason = "a flag of a handle")]
    let done = unsafe {
        SetHandleInformation(
            handle.as_raw_handle(),
            HANDLE_FLAG_INHERIT,
            HANDLE_FLAG_INHERIT,
        )
    };
    check(done)
}

fn create(direction: u32) -> io::Result<(OwnedHandle, String)> {
    // Nobody can guess it, and whoever is there before us makes the call fail.
    let name = format!(r"\\.\pipe\farstep-{}", uuid::Uuid::new_v4());
    let wide = wide(&name)?;
    let open = direction | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE;
    let mode = PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS;
    // Why at all: the standard library has no pipes that can be waited for. Why sound: the name
    // ends with a NUL and outlives the call, and the handle is checked before it is owned.
    #[expect(unsafe_code, reason = "a new pipe")]
    let ours = unsafe {
        let ours = CreateNamedPipeW(
            wide.as_ptr(),
            open,
            mode,
            1,
            PIPE_BYTES,
            PIPE_BYTES,
            0,
            ptr::null(),
        );
        if ours == INVALID_HANDLE_VALUE {
            return Err(io::Error::last_os_error());
        }
        OwnedHandle::from_raw_handle(ours)
    };
    Ok((ours, name))
}
