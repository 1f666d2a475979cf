//! The executors in the background whose sockets lie below a folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;

/// Ends those that are left when it is dropped: they would stay for minutes.
#[derive(Debug)]
pub struct Backgrounds {
    folder: PathBuf,
}

impl Backgrounds {
    /// Those of this folder, which is a state folder or one above it.
    pub fn below(folder: &Path) -> Backgrounds {
        Backgrounds {
            folder: folder.to_owned(),
        }
    }

    /// Their process ids.
    pub fn pids(&self) -> Vec<Pid> {
        let lead = format!("--background\0{}/", self.folder.display());
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_one = |number: &i32| {
            let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&lead)
        };
        numbers.filter(is_one).filter_map(Pid::from_raw).collect()
    }

    /// Waits until there are so many.
    pub async fn settle_at(&self, count: usize) -> Result<()> {
        let settled = async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            while self.pids().len() != count {
                look.tick().await;
            }
        };
        if tokio::time::timeout(PATIENCE, settled).await.is_err() {
            bail!("{:?} stay in the background", self.pids());
        }
        Ok(())
    }
}

impl Drop for Backgrounds {
    fn drop(&mut self) {
        for pid in self.pids() {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}
