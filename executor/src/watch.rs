//! Waiting for a path to appear or to disappear.
//!
//! ```text
//!   listen to the deepest folders that exist ─▶ look ─▶ it happened
//!            ▲                                   │ not yet
//!            └──── news, or a while has passed ──┘
//! ```
//!
//! We listen first and look then, so what happens in between is not missed; and every round listens
//! anew, because a parent that appeared has to be listened to next. Where the system tells nothing
//! (its limits are used up, or it is not Linux) or lies (some network file systems), looking again
//! after a while is what remains.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::os::FolderNotices;

/// Paths of one watch. The markers a project can have are some dozens; beyond it the request is
/// refused.
pub(crate) const PATHS_MAX: usize = 1024;

/// How long we trust the silence of the system.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long we wait between two looks when the system tells nothing.
const LOOK_OFTEN: Duration = Duration::from_millis(500);

/// What is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Awaited {
    /// Any of these appears...
    pub(crate) missing: Vec<PathBuf>,
    /// ...or this one disappears.
    pub(crate) present: Option<PathBuf>,
}

impl Awaited {
    /// Whether it has not happened yet. Blocks.
    pub(crate) fn is_outstanding(&self) -> bool {
        !self.missing.iter().any(|path| is_there(path))
            && self.present.as_deref().is_none_or(is_there)
    }

    /// Waits until it has happened.
    pub(crate) async fn happened(self) {
        let mut awaited = self;
        loop {
            let round = tokio::task::spawn_blocking(move || {
                let folders = awaited.folders();
                (awaited, folders)
            });
            let Ok((same, folders)) = round.await else {
                return std::future::pending().await; // The runtime is ending.
            };
            let notices = listen(&folders);
            // From here on nothing is missed, if the folders are still the right ones.
            let look = tokio::task::spawn_blocking(move || {
                let outstanding = same.is_outstanding();
                let same_folders = same.folders() == folders;
                (same, outstanding, same_folders)
            });
            let Ok((same, outstanding, same_folders)) = look.await else {
                return std::future::pending().await;
            };
            if !outstanding {
                return;
            }
            awaited = same;
            match notices {
                _ if !same_folders => {}
                Ok(mut notices) => {
                    // Either way we look again; a failure is as good as news.
                    let _ = tokio::time::timeout(LOOK_AGAIN, notices.changed()).await;
                }
                Err(_) => tokio::time::sleep(LOOK_OFTEN).await,
            }
        }
    }

    /// The folders in which it would show.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let paths = self.missing.iter().chain(&self.present);
        let folders = paths.filter_map(|path| {
            let mut above = path.ancestors().skip(1);
            above.find(|folder| folder.is_dir()).map(Path::to_owned)
        });
        folders.collect()
    }
}

fn is_there(path: &Path) -> bool {
    // A link to nothing is there as well: somebody made it.
    path.symlink_metadata().is_ok()
}

fn listen(folders: &BTreeSet<PathBuf>) -> io::Result<FolderNotices> {
    let notices = FolderNotices::new()?;
    for folder in folders {
        match notices.add(folder) {
            // It is gone, which the next look notices.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            outcome => outcome?,
        }
    }
    Ok(notices)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// How long a test waits for what has to happen.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn awaited(folder: &TempDir, missing: &[&str], present: Option<&str>) -> Awaited {
        let at = |name: &str| folder.path().join(name);
        Awaited {
            missing: missing.iter().map(|name| at(name)).collect(),
            present: present.map(at),
        }
    }

    #[tokio::test]
    async fn a_path_whose_parents_are_missing_too_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let waiting = tokio::spawn(awaited(&folder, &["a/b/new", "other"], None).happened());
        for part in ["a", "a/b", "a/b/else"] {
            std::fs::create_dir(folder.path().join(part)).unwrap();
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        std::fs::write(folder.path().join("a/b/new"), "").unwrap();
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_is_moved_into_place_whole_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("made/b/new")).unwrap();
        let waiting = tokio::spawn(awaited(&folder, &["a/b/new"], None).happened());
        tokio::task::yield_now().await;
        std::fs::rename(folder.path().join("made"), folder.path().join("a")).unwrap();
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn what_disappears_is_noticed_and_so_is_what_went_with_its_parent() {
        for parent in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(folder.path().join("a/here")).unwrap();
            let waiting = tokio::spawn(awaited(&folder, &["never"], Some("a/here")).happened());
            tokio::task::yield_now().await;
            if parent {
                std::fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
            } else {
                std::fs::remove_dir(folder.path().join("a/here")).unwrap();
            }
            tokio::time::timeout(PATIENCE, waiting)
                .await
                .unwrap()
                .unwrap();
        }
    }

    #[tokio::test]
    async fn what_happened_before_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let now = |awaited: Awaited| tokio::time::timeout(PATIENCE, awaited.happened());
        std::fs::write(folder.path().join("there"), "").unwrap();
        now(awaited(&folder, &["there"], None)).await.unwrap();
        now(awaited(&folder, &[], Some("gone"))).await.unwrap();
        assert!(!awaited(&folder, &["there"], None).is_outstanding());
        assert!(awaited(&folder, &["gone"], Some("there")).is_outstanding());
    }
}
