//! Which upload of this machine a partial file belongs to.
//!
//! Two uploads to one place must not write into one partial file, and nobody but the executor could
//! hold a lock there. So each has a name of its own: the same command has the same one again, and
//! finds what it left there; another command, or another machine, has another. The same command
//! twice at a time is told from the lock it holds here.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::digest;
use crate::files::error::FileCause;

/// The right to a name among partial files, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    id: String,
    /// None where this machine remembers nothing: then no later copy finds the name again.
    lock: Option<(PathBuf, File)>,
}

/// How often a lock is taken that somebody has just given up.
const TRIES: u32 = 8;

impl Claim {
    /// The claim of a copy from `sources` to `destination`, remembered in `folder`.
    pub(super) fn take(
        folder: Option<&Path>,
        sources: &[String],
        destination: &str,
    ) -> Result<Claim, FileCause> {
        let remembered = match folder.map(|folder| take(folder, sources, destination)) {
            Some(Err(error)) => {
                tracing::debug!(%error, "uploads are not remembered");
                None
            }
            Some(Ok(taken)) => Some(taken?),
            None => None,
        };
        Ok(remembered.unwrap_or_else(|| Claim {
            id: short(&Uuid::new_v4().simple().to_string()),
            lock: None,
        }))
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Whoever locks it now looks whether it is still there.
        if let Some((path, _)) = &self.lock
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "a lock was not removed");
        }
    }
}

fn take(
    folder: &Path,
    sources: &[String],
    destination: &str,
) -> io::Result<Result<Claim, FileCause>> {
    make_private(folder)?;
    let key = key(folder)?;
    let all = [key.as_str(), destination]
        .into_iter()
        .chain(sources.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join("\0");
    let id = short(&digest::of(all.as_bytes()));
    let path = folder.join(format!("{id}.lock"));
    for _ in 0..TRIES {
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Err(FileCause::Busy)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if is_at(&file, &path) {
            return Ok(Ok(Claim {
                id,
                lock: Some((path, file)),
            }));
        }
    }
    Ok(Err(FileCause::Busy))
}

/// What tells this machine's uploads from those of others.
fn key(folder: &Path) -> io::Result<String> {
    let path = folder.join("key");
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let file = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::write(file.path(), Uuid::new_v4().to_string())?;
    match file.persist_noclobber(&path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => std::fs::read_to_string(&path),
    }
}

fn short(digits: &str) -> String {
    digits.chars().take(12).collect()
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
/// A file that is open cannot be removed.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_copy_has_the_same_name_again_and_not_twice_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let take = |source: &str, destination: &str| {
            Claim::take(Some(folder.path()), &[source.to_owned()], destination)
        };
        let first = take("a", "far:b").unwrap();
        assert!(matches!(take("a", "far:b"), Err(FileCause::Busy)));
        let other = take("c", "far:b").unwrap();
        assert_ne!(first.id(), other.id());
        let id = first.id().to_owned();
        drop(first);
        assert_eq!(take("a", "far:b").unwrap().id(), id);
        drop(other);
        // Nothing but the key is left.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_machine_has_other_names_and_so_has_who_remembers_nothing() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = |folder: Option<&Path>| {
            let claim = Claim::take(folder, &["a".to_owned()], "far:b").unwrap();
            claim.id().to_owned()
        };
        assert_ne!(id(Some(one.path())), id(Some(two.path())));
        assert_ne!(id(None), id(None));
        let in_the_way = one.path().join("file");
        std::fs::write(&in_the_way, "").unwrap();
        assert_eq!(id(Some(&in_the_way)).len(), 12);
    }
}
