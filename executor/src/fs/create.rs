//! New directories.

use std::path::Path;

use super::error::{Cause, FsError};
use super::metadata::without_trailing_separator;
use crate::os::files::{self, Directory, Links};

/// Creates a directory; recursively, its missing parents too, and then an existing one is fine.
pub fn create_directory(path: &Path, recursive: bool, links: Links) -> Result<(), FsError> {
    let path = without_trailing_separator(path);
    let made = match (links, recursive) {
        (Links::Follow, true) => std::fs::create_dir_all(path),
        (Links::Follow, false) => std::fs::create_dir(path),
        (Links::Refuse, true) => files::make_directories_without_links(path, NEW_DIRECTORY_MODE),
        (Links::Refuse, false) => Directory::parent_of(path, links).and_then(|parent| {
            parent.make_directory(path.file_name().unwrap_or(".".as_ref()), NEW_DIRECTORY_MODE)
        }),
    };
    made.map_err(|error| Cause::of_lookup(error, links).at("create directory", path))
}

/// The first component of a path that is not there yet, as a path: where a recursive creation will
/// begin to change things. The path itself if all of it exists.
pub fn topmost_missing(path: &Path) -> &Path {
    path.ancestors()
        .take_while(|ancestor| ancestor.symlink_metadata().is_err())
        .last()
        .unwrap_or(path)
}

/// What the umask leaves of this is the mode of a new directory.
pub(super) const NEW_DIRECTORY_MODE: u32 = 0o777;

#[cfg(test)]
mod tests;
