//! Hearing that something in a folder was made, moved or removed.
//!
//! Linux tells. Elsewhere nobody is told, and whoever waits looks again by itself.

use std::io;
use std::path::Path;

#[cfg(target_os = "linux")]
use super::watch::{Readiness, Watch};

/// News of folders, all of them together: that something changed, not what.
#[derive(Debug)]
pub struct FolderNotices {
    #[cfg(target_os = "linux")]
    watch: Watch,
}

#[cfg(target_os = "linux")]
impl FolderNotices {
    /// Fails where the user has as many as the system allows.
    pub fn new() -> io::Result<FolderNotices> {
        use rustix::fs::inotify::{CreateFlags, init};
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let watch = Watch::new(inotify, tokio::io::Interest::READABLE);
        Ok(FolderNotices { watch })
    }

    /// Listens to a folder from now on.
    pub fn add(&self, folder: &Path) -> io::Result<()> {
        use rustix::fs::inotify::{WatchFlags, add_watch};
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        if let Some(inotify) = self.watch.fd() {
            add_watch(inotify, folder, flags)?;
        }
        Ok(())
    }

    /// Waits until something changed since it was last asked. Needs a tokio runtime around it.
    pub async fn changed(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            self.watch.poll(cx, |inotify| {
                let mut news = [0_u8; 4096];
                match rustix::io::read(inotify, &mut news) {
                    Ok(_) => (Ok(()), Readiness::Remains),
                    Err(error) => (Err(error), Readiness::UsedUp),
                }
            })
        })
        .await
    }
}

#[cfg(not(target_os = "linux"))]
impl FolderNotices {
    /// There are none.
    pub fn new() -> io::Result<FolderNotices> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Never called, because there are none.
    pub fn add(&self, _folder: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Never called, because there are none.
    pub async fn changed(&mut self) -> io::Result<()> {
        std::future::pending().await
    }
}
