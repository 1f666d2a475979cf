//! The executor's key, kept across its starts so that it can be pinned.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use farstep_protocol::noise::{Identity, IdentityError};

use super::Settings;
use crate::auth::{SecretFileError, read_secret};
use crate::os;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    #[error("there is no state folder for the executor's key; name a file with --identity-file")]
    NoFolder,
    #[error(transparent)]
    Read(#[from] SecretFileError),
    #[error("{} holds no key of an executor; move it away, and a new one is made", path.display())]
    Content { path: PathBuf },
    #[error("failed to keep a new key in {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Make(#[from] IdentityError),
    #[error(
        "another executor runs with the key in {}; give this one another environment, or a key of \
         its own with --identity-file", path.display()
    )]
    InUse { path: PathBuf },
}

/// A key in use. Nobody else on this machine may use it: the two would displace each other.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) identity: Identity,
    _lock: File,
}

/// Reads the key, or makes it.
pub(super) fn take_up(
    settings: &Settings,
    state: Option<&Path>,
) -> Result<Kept, IdentityFileError> {
    let path = match (&settings.identity_file, state) {
        (Some(path), _) => path.clone(),
        (None, Some(state)) => state
            .join("identities")
            .join(format!("{}.key", settings.environment)),
        (None, None) => return Err(IdentityFileError::NoFolder),
    };
    let identity = match read_secret(&path) {
        Ok(bytes) => parsed(&bytes, &path)?,
        Err(SecretFileError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            made(&path)?
        }
        Err(error) => return Err(error.into()),
    };
    let failed = |source| IdentityFileError::Write {
        path: path.clone(),
        source,
    };
    let lock = File::open(&path).map_err(failed)?;
    match os::try_lock(&lock).map_err(failed)? {
        true => Ok(Kept {
            identity,
            _lock: lock,
        }),
        false => Err(IdentityFileError::InUse { path }),
    }
}

fn parsed(bytes: &[u8], path: &Path) -> Result<Identity, IdentityFileError> {
    Identity::from_bytes(bytes).map_err(|_| IdentityFileError::Content {
        path: path.to_owned(),
    })
}

fn made(path: &Path) -> Result<Identity, IdentityFileError> {
    let identity = Identity::generate()?;
    let kept = os::create_secret(path).and_then(|mut file| {
        file.write_all(&zeroize::Zeroizing::new(identity.to_bytes()))?;
        file.sync_all()
    });
    match kept {
        Ok(()) => Ok(identity),
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            parsed(&read_secret(path)?, path)
        }
        Err(source) => Err(IdentityFileError::Write {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::CredentialSource;

    #[test]
    fn a_key_is_made_once_and_used_by_one_executor_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            base: String::new(),
            environment: "box".to_owned(),
            name: None,
            credential: CredentialSource::Variable,
            identity_file: None,
            allowed: Vec::new(),
            harness_keys: None,
            key_attestation: None,
            padding: Default::default(),
            labels: Default::default(),
        };
        let take_up = || take_up(&settings, Some(folder.path()));
        let first = take_up().unwrap();
        let fingerprint = first.identity.public().fingerprint();
        assert!(matches!(take_up(), Err(IdentityFileError::InUse { .. })));
        drop(first);
        let again = take_up().unwrap();
        assert_eq!(again.identity.public().fingerprint(), fingerprint);
        drop(again);
        let path = folder.path().join("identities/box.key");
        std::fs::write(&path, "something else").unwrap();
        assert!(matches!(take_up(), Err(IdentityFileError::Content { .. })));
    }
}
