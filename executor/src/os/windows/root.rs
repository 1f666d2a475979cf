//! Whether we may do everything on this machine (`security` SR-58).

use std::os::windows::io::AsRawHandle;
use std::ptr;

use windows_sys::Win32::Security::{GetTokenInformation, TOKEN_ELEVATION, TokenElevation};

use super::call::len_u32;
use super::security::own_token;

/// Never: the elevated administrator of Windows is warned about, and not refused, because the
/// accounts of services and of containers are elevated as a rule.
pub fn is_root_of_a_host() -> bool {
    false
}

/// Whether programs we start have an administrator's rights.
pub fn is_root() -> bool {
    let Ok(token) = own_token() else {
        return false;
    };
    let mut elevation = TOKEN_ELEVATION::default();
    let mut len = 0;
    // Why at all: the standard library does not ask for it. Why sound: the record is of the class
    // that is named, and its size is its own.
    #[expect(unsafe_code, reason = "whether we are elevated")]
    let done = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenElevation,
            ptr::from_mut(&mut elevation).cast(),
            len_u32(size_of_val(&elevation)),
            &raw mut len,
        )
    };
    done != 0 && elevation.TokenIsElevated != 0
}
