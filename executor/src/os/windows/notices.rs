//! Hearing that something in a folder was made, moved or removed. Nobody is told yet, and whoever
//! waits looks again by itself.

use std::io;
use std::path::Path;

/// There are none.
#[derive(Debug)]
pub struct FolderNotices(());

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
