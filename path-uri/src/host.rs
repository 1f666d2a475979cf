//! Between URIs and the paths that system calls take. This is where a URI becomes access, so
//! every rule here refuses.
//!
//! Both flavours are plain functions over bytes or UTF-16 units, compiled and tested on every
//! host; only the last step, into `std::path`, depends on where it runs. What is lexically fine
//! may still lead elsewhere through a link: whoever opens the path confines the open itself
//! (`openat2` with `RESOLVE_BENEATH`, or the final path of a Windows handle).

mod devices;
mod posix;
mod windows;

use std::path::{Path, PathBuf};

pub use devices::Devices;

use crate::error::{PathUriError, PathUriErrorKind as Kind};
use crate::native::{self, Trailing};
use crate::uri::PathUri;

/// The platform named in refusals of the POSIX flavour.
const POSIX: &str = if cfg!(unix) {
    std::env::consts::OS
} else {
    "posix"
};

/// The platform named in refusals of the Windows flavour.
const WINDOWS: &str = "windows";

impl PathUri {
    /// Reads an absolute POSIX host path; every byte is preserved.
    pub fn from_posix_bytes(bytes: &[u8]) -> Result<PathUri, PathUriError> {
        native::posix::absolute(bytes, Trailing::Dropped)
    }

    /// The POSIX host path, byte for byte.
    ///
    /// Refuses what belongs to another platform and every name that hides a separator. Slashes at
    /// the end are dropped, because they make the system follow a link that the name alone would
    /// not. A path that holds NUL is returned as it is; nothing can open it.
    pub fn to_posix_bytes(&self) -> Result<Vec<u8>, PathUriError> {
        posix::to_bytes(self)
    }

    /// As [`PathUri::to_posix_bytes`], for a system call: NUL is refused too.
    pub fn to_posix_openable(&self) -> Result<Vec<u8>, PathUriError> {
        let bytes = self.to_posix_bytes()?;
        match bytes.contains(&0) {
            true => Err(unusable(self, POSIX, "it contains a NUL byte")),
            false => Ok(bytes),
        }
    }

    /// Reads an absolute Windows host path; unpaired surrogates are preserved.
    pub fn from_windows_wide(units: &[u16]) -> Result<PathUri, PathUriError> {
        native::windows::from_units(units)
    }

    /// The Windows host path in UTF-16 units.
    ///
    /// Refuses what belongs to another platform and every name that the system would read as
    /// something else: streams and drives after the root, wildcards, controls, trailing dots and
    /// blanks, reserved device names. Device namespaces are returned as they are; see
    /// [`PathUri::to_windows_openable`].
    pub fn to_windows_wide(&self) -> Result<Vec<u16>, PathUriError> {
        windows::to_units(self)
    }

    /// As [`PathUri::to_windows_wide`], for a system call: devices, verbatim names and the shares
    /// that stand for them are refused unless allowed by name.
    pub fn to_windows_openable(&self, devices: &Devices) -> Result<Vec<u16>, PathUriError> {
        let units = self.to_windows_wide()?;
        match devices.admit(&units) {
            true => Ok(units),
            false => Err(unusable(
                self,
                WINDOWS,
                "it names a device, and none of that name is allowed",
            )),
        }
    }

    /// Reads a path of this host.
    pub fn from_host(path: &Path) -> Result<PathUri, PathUriError> {
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            Self::from_posix_bytes(path.as_os_str().as_bytes())
        }
        #[cfg(windows)]
        {
            use std::os::windows::ffi::OsStrExt;
            let units: Vec<u16> = path.as_os_str().encode_wide().collect();
            Self::from_windows_wide(&units)
        }
    }

    /// The path to give to a system call of this host; no devices.
    pub fn to_host(&self) -> Result<PathBuf, PathUriError> {
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStringExt;
            Ok(std::ffi::OsString::from_vec(self.to_posix_openable()?).into())
        }
        #[cfg(windows)]
        {
            use std::os::windows::ffi::OsStringExt;
            let units = self.to_windows_openable(&Devices::NONE)?;
            Ok(std::ffi::OsString::from_wide(&units).into())
        }
    }
}

/// A path of another platform. The text is the wire's.
fn foreign(uri: &PathUri, os: &str) -> PathUriError {
    PathUriError::new(Kind::NotHostNative, format!("'{uri}' is invalid on '{os}'"))
}

/// A path of this platform that no system call may see.
fn unusable(uri: &PathUri, os: &str, why: &str) -> PathUriError {
    PathUriError::new(
        Kind::NotHostNative,
        format!("'{uri}' is invalid on '{os}': {why}"),
    )
}
