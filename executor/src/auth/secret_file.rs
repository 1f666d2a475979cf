//! Reading a secret from a file nobody else can read.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::os::{self, NotPrivate};

/// Longest secret file that is read. A key or token is far below; more is the wrong file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Why a secret could not be taken from its file. None of it says what is in there.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error("failed to open {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is not used as a secret: {reason}", path.display())]
    NotPrivate { path: PathBuf, reason: NotPrivate },
    #[error("{} holds no secret: it is empty", path.display())]
    Empty { path: PathBuf },
    #[error("{} is longer than {SECRET_BYTES_MAX} bytes, so it is no secret", path.display())]
    TooLong { path: PathBuf },
    #[error("the secret in {} has {bytes} bytes; {needed} are needed", path.display())]
    TooShort {
        path: PathBuf,
        bytes: usize,
        needed: usize,
    },
}

/// The whole file, checked through the descriptor it is read from.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let opened = os::open_secret(path).map_err(|source| SecretFileError::Open {
        path: path.to_owned(),
        source,
    })?;
    let file = opened.map_err(|reason| SecretFileError::NotPrivate {
        path: path.to_owned(),
        reason,
    })?;
    let mut secret = Zeroizing::new(Vec::new());
    file.take(SECRET_BYTES_MAX + 1)
        .read_to_end(&mut secret)
        .map_err(|source| SecretFileError::Open {
            path: path.to_owned(),
            source,
        })?;
    let path = || path.to_owned();
    if secret.len() as u64 > SECRET_BYTES_MAX {
        return Err(SecretFileError::TooLong { path: path() });
    }
    if secret.trim_ascii().is_empty() {
        return Err(SecretFileError::Empty { path: path() });
    }
    Ok(secret)
}
