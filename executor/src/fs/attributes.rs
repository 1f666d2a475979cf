//! The name and the rights of what is there.

use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::error::{Cause, FsError};
use super::metadata::without_trailing_separator;
use crate::os::files;

/// Gives what is at `source` the name `destination`, in one step and in place of a file that has
/// it. A link is renamed itself, and so is one replaced.
pub fn rename(source: &Path, destination: &Path) -> Result<(), FsError> {
    let source = without_trailing_separator(source);
    std::fs::rename(source, without_trailing_separator(destination))
        .map_err(|error| Cause::System(error).at("rename", source))
}

/// Sets the permission bits of what a path leads to.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), FsError> {
    let set = if mode > MODE_MAX {
        Err(Cause::ModeBits)
    } else {
        files::set_mode_at(path, mode).map_err(Cause::System)
    };
    set.map_err(|cause| cause.at("set the mode of", path))
}

/// Sets when what a path leads to was changed last, in Unix milliseconds.
pub fn set_times(path: &Path, modified_at_ms: i64) -> Result<(), FsError> {
    let ms = Duration::from_millis(modified_at_ms.unsigned_abs());
    let modified = match modified_at_ms {
        0.. => UNIX_EPOCH.checked_add(ms),
        _ => UNIX_EPOCH.checked_sub(ms),
    };
    let set = match modified {
        Some(modified) => files::set_modified_at(path, modified).map_err(Cause::System),
        None => Err(Cause::System(io::ErrorKind::InvalidInput.into())),
    };
    set.map_err(|cause| cause.at("set the times of", path))
}

/// All rights for everybody. Programs do not gain the rights of another user by being copied.
const MODE_MAX: u32 = 0o777;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::fs::FsErrorKind;

    #[test]
    fn a_file_takes_the_place_of_another_and_a_link_is_replaced_itself() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("new"), "new").unwrap();
        std::fs::write(at("kept"), "kept").unwrap();
        std::os::unix::fs::symlink("kept", at("link")).unwrap();
        rename(&at("new"), &at("link")).unwrap();
        assert_eq!(std::fs::read(at("link")).unwrap(), b"new");
        assert_eq!(std::fs::read(at("kept")).unwrap(), b"kept");
        assert_eq!(
            rename(&at("new"), &at("x")).unwrap_err().kind(),
            FsErrorKind::NotFound
        );
    }

    #[test]
    fn a_time_is_set_to_the_millisecond_before_1970_too_and_on_what_cannot_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (file, below) = (folder.path().join("f"), folder.path().join("d"));
        std::fs::write(&file, "").unwrap();
        std::fs::create_dir(&below).unwrap();
        set_mode(&file, 0).unwrap();
        for path in [&file, &below] {
            for ms in [1_700_000_000_123, 0, -1_500, 4_102_444_800_000] {
                set_times(path, ms).unwrap();
                let found = crate::fs::metadata(path, crate::fs::Links::Follow).unwrap();
                assert_eq!(found.modified_at_ms, ms);
            }
        }
        assert!(set_times(&file, i64::MIN).is_err() || cfg!(target_os = "linux"));
        assert_eq!(
            set_times(&folder.path().join("x"), 0).unwrap_err().kind(),
            FsErrorKind::NotFound
        );
    }

    #[test]
    fn nine_bits_can_be_set_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "").unwrap();
        set_mode(&path, 0o751).unwrap();
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o7777,
            0o751
        );
        assert_eq!(
            set_mode(&path, 0o4755).unwrap_err().kind(),
            FsErrorKind::Invalid
        );
    }
}
