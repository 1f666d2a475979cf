//! The folder of this machine that remembers jobs, one file each.
//!
//! A file appears whole or not at all, and nobody else may read it: with what it holds anybody who
//! reaches the executor could take the job over. Two commands that write about the same job at the
//! same time both tell the truth, so the later one wins.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::cli::state_dir;

use super::JobError;
use super::record::{Record, VERSION};

/// Jobs that are remembered at once. Beyond it the oldest that is over is forgotten.
const JOBS_MAX: usize = 1000;

/// A file above this is none of ours.
const FILE_BYTES_MAX: u64 = 4 << 20;

const SUFFIX: &str = ".json";

/// Why the folder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("find a folder for jobs: neither XDG_STATE_HOME, FARSTEP_HOME nor HOME is set")]
    NoFolder,
    #[error("use {path}: {error}")]
    Folder {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("write {path}: {error}")]
    Write {
        path: PathBuf,
        error: std::io::Error,
    },
}

/// The jobs this machine remembers.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    pub fn open(variable: fn(&str) -> Option<OsString>) -> Result<Store, StoreError> {
        let folder = state_dir(variable).ok_or(StoreError::NoFolder)?;
        Store::at(&folder.join("jobs"))
    }

    fn at(folder: &Path) -> Result<Store, StoreError> {
        make_private(folder).map_err(|error| StoreError::Folder {
            path: folder.to_owned(),
            error,
        })?;
        Ok(Store {
            folder: folder.to_owned(),
        })
    }

    /// Every job, the oldest first. A file that cannot be read as one is left alone.
    pub fn all(&self) -> Result<Vec<Record>, StoreError> {
        let cannot = |error| StoreError::Folder {
            path: self.folder.clone(),
            error,
        };
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            let is_ours = path.to_string_lossy().ends_with(SUFFIX);
            match read(&path) {
                Some(record) if is_ours => records.push(record),
                None if is_ours => {
                    tracing::warn!(path = %path.display(), "a file about a job cannot be read");
                }
                _ => {}
            }
        }
        records.sort_by(|a, b| (a.started_at_ms, &a.job).cmp(&(b.started_at_ms, &b.job)));
        Ok(records)
    }

    /// The one job whose id begins so.
    pub fn find(&self, text: &str) -> Result<Record, JobError> {
        let mut matching = self.all()?;
        matching.retain(|record| record.job.starts_with(text));
        match matching.len() {
            1 if !text.is_empty() => Ok(matching.remove(0)),
            0 | 1 => Err(JobError::Unknown {
                text: text.to_owned(),
            }),
            _ => Err(JobError::Ambiguous {
                text: text.to_owned(),
                matching: matching.into_iter().map(|record| record.job).collect(),
            }),
        }
    }

    /// Remembers a new job, and forgets one when there are too many.
    pub fn add(&self, record: &Record) -> Result<(), StoreError> {
        let all = self.all()?;
        if all.len() >= JOBS_MAX
            && let Some(over) = all.iter().find(|record| record.is_over())
        {
            self.remove(over)?;
        }
        self.put(record)
    }

    /// Writes what is known of a job now.
    pub fn put(&self, record: &Record) -> Result<(), StoreError> {
        let path = self.path(record);
        let write = || -> std::io::Result<()> {
            let text = serde_json::to_vec_pretty(record)?;
            // Made readable for its owner alone.
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(&text)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|error| StoreError::Write {
            path: path.clone(),
            error,
        })
    }

    /// Forgets a job.
    pub fn remove(&self, record: &Record) -> Result<(), StoreError> {
        let path = self.path(record);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::Write { path, error })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn path(&self, record: &Record) -> PathBuf {
        self.folder.join(format!("{}{SUFFIX}", record.job))
    }
}

fn read(path: &Path) -> Option<Record> {
    if std::fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let record: Record = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    // The name of the file is what is written to, so the two must not differ.
    let is_its_own = path.file_stem()?.to_str()? == record.job;
    (record.version == VERSION && is_its_own).then_some(record)
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::super::record::{new_id, now_ms};
    use super::*;

    fn record(job: &str, exit_code: Option<i64>) -> Record {
        Record {
            version: VERSION,
            job: job.to_owned(),
            environment: "far".to_owned(),
            session: "secret".to_owned(),
            process: format!("job-{job}"),
            command: vec!["make".to_owned()],
            cwd: "/srv".to_owned(),
            tty: false,
            started_at_ms: now_ms(),
            retention_seconds: 60,
            seen_at_ms: now_ms(),
            exit_code,
            lost: None,
        }
    }

    #[test]
    fn a_job_is_found_by_the_beginning_of_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(&folder.path().join("a/b")).unwrap();
        let job = record("3f9c2a71b0de", None);
        store.add(&job).unwrap();
        store.add(&record("3f0000000000", None)).unwrap();
        assert_eq!(store.find("3f9").unwrap(), job);
        for text in ["", "4", "3f9c2a71b0dee"] {
            let unknown = store.find(text);
            assert!(unknown.is_err(), "{text}");
        }
        assert!(matches!(
            store.find("3f"),
            Err(JobError::Ambiguous { matching, .. }) if matching.len() == 2
        ));
        store.remove(&job).unwrap();
        store.remove(&job).unwrap();
        assert_eq!(store.all().unwrap().len(), 1);
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path()).unwrap();
        let newer = Record {
            version: VERSION + 1,
            ..record("aaaaaaaaaaaa", None)
        };
        let text = serde_json::to_vec(&newer).unwrap();
        std::fs::write(folder.path().join("aaaaaaaaaaaa.json"), &text).unwrap();
        std::fs::write(folder.path().join("elsewhere.json"), "{").unwrap();
        std::fs::write(folder.path().join("note.txt"), "x").unwrap();
        assert_eq!(store.all().unwrap(), []);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("jobs");
        let store = Store::at(&place).unwrap();
        store.add(&record("3f9c2a71b0de", None)).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place), 0o700);
        assert_eq!(mode(&place.join("3f9c2a71b0de.json")), 0o600);
    }

    #[test]
    fn one_too_many_forgets_the_oldest_that_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path()).unwrap();
        for number in 0..JOBS_MAX {
            let over = (number == 500).then_some(0);
            store.put(&record(&format!("{number:012x}"), over)).unwrap();
        }
        store.add(&record(&new_id(), None)).unwrap();
        let all = store.all().unwrap();
        assert_eq!(all.len(), JOBS_MAX);
        assert!(all.iter().all(|record| !record.is_over()));
    }

    #[test]
    fn ids_differ_and_are_short() {
        let ids: std::collections::BTreeSet<_> = (0..100).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 12));
    }
}
