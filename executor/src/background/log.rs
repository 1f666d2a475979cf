//! The log of the executors in the background: one file, which never grows beyond a bound.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::os;

/// Its name.
const LOG: &str = "executor.log";
/// The one before.
const OLDER: &str = "executor.log.1";
/// How long it may get. What came before is kept once.
const BYTES_MAX: u64 = 1 << 20;
/// What is written between two looks at it: others write to it as well.
const LOOK_EVERY: u64 = 16 << 10;

/// The log of a folder, open to be added to.
pub(crate) fn log_of(folder: &Path) -> io::Result<File> {
    os::open_private_file(&folder.join(LOG))
}

/// Standard error while it is that file.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    file: File,
    unseen: u64,
}

impl Log {
    /// Sends standard error to the log of this folder.
    pub fn open(folder: &Path) -> io::Result<Log> {
        let mut log = Log {
            folder: folder.to_owned(),
            file: log_of(folder)?,
            unseen: 0,
        };
        os::send_stderr_to(&log.file)?;
        log.look()?;
        Ok(log)
    }

    /// So much was written.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.unseen += bytes as u64;
        if self.unseen >= LOOK_EVERY {
            self.unseen = 0;
            // It goes on where it is, which is better than not at all.
            let _ = self.look();
        }
    }

    fn look(&mut self) -> io::Result<()> {
        let path = self.folder.join(LOG);
        let is_ours = os::is_at(&self.file, &path);
        if is_ours && self.file.metadata()?.len() < BYTES_MAX {
            return Ok(());
        }
        if is_ours {
            std::fs::rename(&path, self.folder.join(OLDER))?;
        }
        // Else another executor has begun a new one.
        self.file = log_of(&self.folder)?;
        os::send_stderr_to(&self.file)
    }
}
