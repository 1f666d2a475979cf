//! `admin attest`: a tenant signs, on a machine of its own choice. No node takes part.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use farstep_protocol::relay::attest::{
    Attested, TENANT_KEY_BYTES, TenantKey, TenantKeyError, secret_text,
};
use farstep_protocol::relay::registry::is_environment_id;
use farstep_protocol::relay::{is_fingerprint, welcome};

use crate::cli::Attest;
use crate::node::now;

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// A key file has less, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// Why nothing is signed.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not a key.
    #[error("{}: {source}", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: TenantKeyError,
    },
    /// Not a name or not a fingerprint.
    #[error(
        "environments have ASCII letters, digits, `-` and `_` in their ids, and fingerprints begin \
         with fst1: and have 26 characters behind it"
    )]
    Names,
    /// The system.
    #[error("no key could be made: the system has no randomness")]
    Randomness,
}

impl Attest {
    /// Does it. Returns what to print.
    pub fn run(self) -> Result<String, AttestError> {
        match self {
            Attest::Key { file } => make(&file),
            Attest::Executor {
                key,
                environment,
                executor_key,
                days,
            } => {
                if !is_environment_id(&environment) || !is_fingerprint(&executor_key) {
                    return Err(AttestError::Names);
                }
                let attested = Attested {
                    environment: &environment,
                    fingerprint: &executor_key,
                };
                let statement = take_up(&key)?.attest(attested, in_days(days));
                Ok(format!("{statement}\n"))
            }
            Attest::Harnesses {
                key,
                environment,
                days,
                keys,
            } => {
                let key = take_up(&key)?;
                let list = welcome::sign(&key, &environment, in_days(days), &keys);
                list.ok_or(AttestError::Names)
            }
        }
    }
}

fn in_days(days: u32) -> i64 {
    now() + i64::from(days) * DAY_SECONDS
}

fn make(path: &Path) -> Result<String, AttestError> {
    let mut seed = [0; TENANT_KEY_BYTES];
    rand::fill(&mut seed).map_err(|_| AttestError::Randomness)?;
    let key = TenantKey::from_seed(&seed).map_err(|_| AttestError::Randomness)?;
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let kept = file.and_then(|mut file| {
        writeln!(file, "{}", secret_text(&seed))?;
        file.sync_all()
    });
    kept.map_err(|source| AttestError::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(format!("{}\n", key.public()))
}

fn take_up(path: &Path) -> Result<TenantKey, AttestError> {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|source| AttestError::File {
        path: path.to_owned(),
        source,
    })?;
    TenantKey::parse(&text).map_err(|source| AttestError::Key {
        path: path.to_owned(),
        source,
    })
}
