//! The bytes of a POSIX host path.

use super::{POSIX, foreign, unusable};
use crate::error::PathUriError;
use crate::native::{Trailing, posix};
use crate::opaque;
use crate::uri::{Flags, Kind, PathUri};

/// The bytes of the host path, or why there are none.
pub(crate) fn to_bytes(uri: &PathUri) -> Result<Vec<u8>, PathUriError> {
    match uri.kind() {
        Kind::Posix => {}
        Kind::Opaque => {
            return opaque::payload(uri)
                .filter(|bytes| bytes.starts_with(b"/"))
                .filter(|bytes| {
                    posix::absolute(bytes, Trailing::Dropped).is_ok_and(|back| back == *uri)
                })
                .ok_or_else(|| foreign(uri, POSIX));
        }
        Kind::Drive | Kind::Unc => return Err(foreign(uri, POSIX)),
    }
    if uri.has(Flags::ENCODED_SEPARATOR) {
        return Err(unusable(uri, POSIX, "a name contains an encoded separator"));
    }
    let mut out = Vec::with_capacity(uri.as_str().len());
    for segment in uri.segments() {
        out.push(b'/');
        let start = out.len();
        out.extend(segment.decoded_bytes());
        // Parsing leaves none of these; a system call is no place to rely on it.
        match out.get(start..) {
            Some(b"." | b"..") => return Err(unusable(uri, POSIX, "a dot segment")),
            Some(name) if name.contains(&0) || name.contains(&b'/') => {
                return Err(unusable(uri, POSIX, "a name contains a separator or NUL"));
            }
            _ => {}
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Ok(out)
}
