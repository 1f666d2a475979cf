//! Whom an environment led to the first time (`security` SR-17).
//!
//! A key that nothing else vouches for is believed when it is the first, and kept; another one in
//! its place is refused from then on. What the entry itself says (`pin_sha256`, `ca_file`,
//! `executor_key`) needs no memory and never comes here.
//!
//! The memory is one file of the state folder, which is read and written as a whole: under a lock,
//! because several programs of ours may meet somebody at once, and replaced in one step. A file
//! that cannot be understood is never taken for an empty one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::config::EnvironmentId;

/// The file in the state folder.
pub const KNOWN_HOSTS: &str = "known_hosts.json";

const VERSION: u32 = 1;

/// Hosts that are kept. Nobody has so many; a file that says so is not ours.
const HOSTS_MAX: usize = 4096;
const FILE_BYTES_MAX: u64 = 4 << 20;

/// How long another program may take over the file. It needs milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// What kind of key somebody was known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// The SHA-256 of the public key in a TLS certificate.
    Tls,
    /// The fingerprint of an executor behind a rendezvous.
    Noise,
}

/// Somebody who was met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KnownHost {
    pub environment: String,
    pub kind: KeyKind,
    /// Where: an environment that leads elsewhere now leads to somebody else.
    pub place: String,
    pub key: String,
    /// When it was met first, in milliseconds since 1970.
    pub since_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    hosts: Vec<KnownHost>,
}

/// Why the memory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct KnownError {
    path: String,
    reason: String,
}

/// All who were met, by whatever program of ours.
#[derive(Debug, Default)]
pub struct KnownHosts {
    path: Option<PathBuf>,
    /// Stands in for the file where there is none.
    memory: Mutex<Vec<KnownHost>>,
}

/// What is known of a key that was just shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// It was met before, or it is the first and is kept now.
    Same,
    New,
    /// Somebody else was met there.
    Other(KnownHost),
}

impl KnownHosts {
    /// In this file, which need not exist yet.
    pub fn at(path: PathBuf) -> KnownHosts {
        KnownHosts {
            path: Some(path),
            memory: Mutex::default(),
        }
    }

    /// Everybody.
    pub fn all(&self) -> Result<Vec<KnownHost>, KnownError> {
        let Some(path) = &self.path else {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(memory.clone());
        };
        read(path)
    }

    /// Forgets whom `environment` led to. Gives what was forgotten.
    pub fn forget(&self, environment: &str) -> Result<Vec<KnownHost>, KnownError> {
        self.change(|hosts| {
            let (gone, kept) = hosts
                .drain(..)
                .partition(|host| host.environment == environment);
            *hosts = kept;
            gone
        })
    }

    /// Compares with what is known, and keeps what is new. What is `vouched` for by others takes the
    /// place of what was known.
    fn meet(&self, new: KnownHost, vouched: bool) -> Result<Met, KnownError> {
        self.change(|hosts| {
            let is_there = |host: &&mut KnownHost| {
                (&host.environment, host.kind, &host.place)
                    == (&new.environment, new.kind, &new.place)
            };
            match hosts.iter_mut().find(is_there) {
                Some(known) if known.key == new.key => Met::Same,
                Some(known) if vouched => Met::Other(std::mem::replace(known, new)),
                Some(known) => Met::Other(known.clone()),
                None => {
                    hosts.push(new);
                    Met::New
                }
            }
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<KnownHost>) -> T) -> Result<T, KnownError> {
        let Some(path) = &self.path else {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(change(&mut memory));
        };
        let cannot = |reason: String| KnownError {
            path: path.display().to_string(),
            reason,
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        make_folder(folder).map_err(|error| cannot(format!("cannot be written: {error}")))?;
        let _lock = lock(path).map_err(|error| cannot(format!("cannot be locked: {error}")))?;
        let before = read(path)?;
        let mut hosts = before.clone();
        let done = change(&mut hosts);
        if hosts.len() > HOSTS_MAX {
            return Err(cannot(format!("it holds {HOSTS_MAX} already")));
        }
        if hosts != before {
            write(path, folder, hosts)
                .map_err(|error| cannot(format!("cannot be written: {error}")))?;
        }
        Ok(done)
    }
}

fn read(path: &Path) -> Result<Vec<KnownHost>, KnownError> {
    let cannot = |reason: String| KnownError {
        path: path.display().to_string(),
        reason,
    };
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot(format!("cannot be read: {error}"))),
    }
    let kept: Kept = serde_json::from_slice(&text)
        .map_err(|error| cannot(format!("cannot be understood: {error}")))?;
    match kept.version {
        VERSION => Ok(kept.hosts),
        other => Err(cannot(format!("version {other} is not known"))),
    }
}

fn write(path: &Path, folder: &Path, hosts: Vec<KnownHost>) -> io::Result<()> {
    let version = VERSION;
    let text = serde_json::to_vec_pretty(&Kept { version, hosts })?;
    // Made readable for its owner alone.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&text)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Beside the file, which is replaced and so cannot be locked itself.
fn lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path.with_extension("lock"))?;
    for _ in 0..LOCK_WAIT.as_millis() / LOCK_RETRY.as_millis() {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::other(format!(
        "another program has held it for {LOCK_WAIT:?}"
    )))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// What one environment knows of whom it leads to.
#[derive(Clone, Debug)]
pub(crate) struct Acquaintance {
    hosts: Arc<KnownHosts>,
    environment: EnvironmentId,
}

impl Acquaintance {
    pub(crate) fn of(hosts: &Arc<KnownHosts>, environment: &EnvironmentId) -> Acquaintance {
        Acquaintance {
            hosts: Arc::clone(hosts),
            environment: environment.clone(),
        }
    }

    /// Compares `key` with the first one that was shown at `place`, or keeps it as the first.
    pub(crate) async fn meet(
        &self,
        kind: KeyKind,
        place: String,
        key: String,
    ) -> Result<Met, KnownError> {
        self.compare(kind, place, key, false).await
    }

    /// The same for a key that an authority vouches for: it takes the place of the one before it.
    pub(crate) async fn note(
        &self,
        kind: KeyKind,
        place: String,
        key: String,
    ) -> Result<Met, KnownError> {
        self.compare(kind, place, key, true).await
    }

    async fn compare(
        &self,
        kind: KeyKind,
        place: String,
        key: String,
        vouched: bool,
    ) -> Result<Met, KnownError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = now.unwrap_or_default().as_millis();
        let new = KnownHost {
            environment: self.environment.to_string(),
            kind,
            place,
            key,
            since_ms: u64::try_from(since).unwrap_or(u64::MAX),
        };
        let hosts = Arc::clone(&self.hosts);
        // It waits for a disk, and perhaps for another program.
        let met = tokio::task::spawn_blocking(move || hosts.meet(new, vouched)).await;
        met.unwrap_or_else(|error| {
            Err(KnownError {
                path: KNOWN_HOSTS.to_owned(),
                reason: error.to_string(),
            })
        })
    }

    /// What to do about somebody else.
    pub(crate) fn remedy(&self) -> String {
        format!(
            "ask whoever runs it; if its key was changed, `farstep env forget {}` and connect again",
            self.environment
        )
    }
}

#[cfg(test)]
mod tests;
