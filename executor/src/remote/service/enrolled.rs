//! A credential that came of an enrolment code: kept in the state folder, and replaced by its successor
//! when that is due.
//!
//! The file is there whole or not at all, and readable by its user alone. A credential is shown only to
//! the rendezvous it came from.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Settings;
use super::credential::{CredentialError, checked};
use crate::auth::{SecretFileError, read_secret};
use crate::os;

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Content {
    /// The base URL of whoever gave it.
    registry: String,
    credential: String,
}

/// The credential in force, and where it is kept.
pub(super) struct Enrolled {
    path: PathBuf,
    registry: String,
    current: Mutex<Zeroizing<String>>,
}

/// Where the credential of an environment is kept.
pub(super) fn place(settings: &Settings, state: Option<&Path>) -> Result<PathBuf, CredentialError> {
    let state = state.ok_or(CredentialError::NoFolder)?;
    let name = format!("{}.json", settings.environment);
    Ok(state.join("credentials").join(name))
}

impl Enrolled {
    /// The one that is kept; `None` when there is none.
    pub(super) fn kept(
        settings: &Settings,
        path: PathBuf,
    ) -> Result<Option<Enrolled>, CredentialError> {
        let bytes = match read_secret(&path) {
            Ok(bytes) => bytes,
            Err(SecretFileError::Open { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let content: Option<Content> = serde_json::from_slice(&bytes).ok();
        let Some(content) = content else {
            return Err(CredentialError::Content { path });
        };
        if content.registry != settings.base {
            return Err(CredentialError::Elsewhere {
                path,
                registry: content.registry,
            });
        }
        Ok(Some(Enrolled {
            path,
            registry: content.registry,
            current: Mutex::new(checked(Zeroizing::new(content.credential))?),
        }))
    }

    /// Keeps the first one.
    pub(super) fn begin(
        settings: &Settings,
        path: PathBuf,
        credential: Zeroizing<String>,
    ) -> Result<Enrolled, CredentialError> {
        let enrolled = Enrolled {
            path,
            registry: settings.base.clone(),
            current: Mutex::new(Zeroizing::default()),
        };
        enrolled.replace(credential)?;
        Ok(enrolled)
    }

    /// The credential as of now.
    pub(super) fn current(&self) -> Zeroizing<String> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// Keeps a new one, which is shown from then on.
    pub(super) fn replace(&self, credential: Zeroizing<String>) -> Result<(), CredentialError> {
        let credential = checked(credential)?;
        let content = Content {
            registry: self.registry.clone(),
            credential: credential.to_string(),
        };
        let written = serde_json::to_vec(&content).map_err(io::Error::from);
        let written = written.and_then(|bytes| put(&self.path, &Zeroizing::new(bytes)));
        written.map_err(|source| CredentialError::Keep {
            path: self.path.clone(),
            source,
        })?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = credential;
        Ok(())
    }
}

/// A file beside takes the place of the one there is, when it is on the disk.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        // It was left by somebody who was killed.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = os::create_secret(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&fresh, path)?;
    // Where a folder cannot be opened like a file, its names are safe without that.
    let _: io::Result<()> = path
        .parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all());
    Ok(())
}

#[cfg(test)]
mod tests {
    use farstep_transport::PaddingWish;

    use super::*;
    use crate::remote::CredentialSource;

    fn settings(base: &str) -> Settings {
        Settings {
            base: base.to_owned(),
            environment: "box".to_owned(),
            name: None,
            credential: CredentialSource::Variable,
            identity_file: None,
            allowed: Vec::new(),
            harness_keys: None,
            key_attestation: None,
            padding: PaddingWish::default(),
            labels: Default::default(),
        }
    }

    #[test]
    fn what_is_kept_is_the_last_and_is_for_one_rendezvous() {
        let folder = tempfile::tempdir().unwrap();
        let here = settings("https://here");
        let path = place(&here, Some(folder.path())).unwrap();
        assert!(Enrolled::kept(&here, path.clone()).unwrap().is_none());
        let one = Zeroizing::new("one".to_owned());
        let enrolled = Enrolled::begin(&here, path.clone(), one).unwrap();
        // Somebody was killed in the middle.
        std::fs::write(path.with_extension("new"), "half").unwrap();
        enrolled.replace(Zeroizing::new("two".to_owned())).unwrap();
        assert_eq!(enrolled.current().as_str(), "two");
        let again = Enrolled::kept(&here, path.clone()).unwrap().unwrap();
        assert_eq!(again.current().as_str(), "two");
        assert!(!path.with_extension("new").exists());
        let there = Enrolled::kept(&settings("https://there"), path.clone());
        assert!(matches!(there, Err(CredentialError::Elsewhere { .. })));
        let odd = enrolled.replace(Zeroizing::new("a\nb".to_owned()));
        assert!(odd.is_err() && enrolled.current().as_str() == "two");
        std::fs::write(&path, "nonsense").unwrap();
        let wrong = Enrolled::kept(&here, path);
        assert!(matches!(wrong, Err(CredentialError::Content { .. })));
    }
}
