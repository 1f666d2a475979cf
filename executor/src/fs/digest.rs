//! What a file holds, in 32 bytes.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::error::{Cause, FsError};
use super::read::open_regular;
use super::tree::{Bounds, Tally};
use crate::os::files::{self, Links};

/// Read at once: large enough that calls do not count, small enough to stay in the cache.
const PIECE_BYTES: usize = 256 * 1024;

/// The digest of a file, and of how many bytes it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// In hexadecimal digits.
    pub sha256: String,
    pub length: u64,
}

/// The SHA-256 of the first `length` bytes of a regular file, or of all there are.
pub fn digest(path: &Path, length: Option<u64>, bounds: Bounds<'_>) -> Result<FileDigest, FsError> {
    read_through(path, length, &Tally::new(bounds)).map_err(|cause| cause.at("read", path))
}

fn read_through(path: &Path, length: Option<u64>, tally: &Tally<'_>) -> Result<FileDigest, Cause> {
    let (file, _size) = open_regular(path, Links::Follow)?;
    let end = length.unwrap_or(u64::MAX).min(i64::MAX as u64);
    let mut digest = Sha256::new();
    let mut piece = Vec::new();
    let mut at = 0;
    while at < end {
        tally.proceed()?;
        let wanted = usize::try_from(end - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        piece.clear();
        files::read_at(&file, at, wanted, &mut piece)?;
        digest.update(&piece);
        at += piece.len() as u64;
        if piece.len() < wanted {
            break;
        }
    }
    Ok(FileDigest {
        sha256: hexadecimal(&digest.finalize()),
        length: at,
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::fs::FsErrorKind;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_or_its_beginning_has_the_known_digest() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abcdef").unwrap();
        let gone = AtomicBool::new(false);
        let of = |length| digest(file.path(), length, Bounds::from_now(&gone)).unwrap();
        let found = of(Some(3));
        assert_eq!((found.sha256.as_str(), found.length), (ABC, 3));
        let found = of(Some(0));
        assert_eq!((found.sha256.as_str(), found.length), (EMPTY, 0));
        assert_eq!(of(None), of(Some(u64::MAX)));
        assert_eq!(of(None).length, 6);
    }

    #[test]
    fn a_digest_that_nobody_waits_for_ends_and_a_directory_has_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let gone = AtomicBool::new(true);
        let cancelled = digest(file.path(), None, Bounds::from_now(&gone)).unwrap_err();
        assert!(cancelled.to_string().ends_with("cancelled"), "{cancelled}");
        let gone = AtomicBool::new(false);
        let folder = tempfile::tempdir().unwrap();
        let refused = digest(folder.path(), None, Bounds::from_now(&gone)).unwrap_err();
        assert_eq!(refused.kind(), FsErrorKind::Invalid);
    }
}
