//! Which orchestrators may come in, whatever the registry says (`rendezvous` section C5).
//!
//! Keys are named on the command line, or in a file that the tenant signed. The file is read for
//! each that knocks, so a new one counts at once; one that is not believed lets nobody in.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use farstep_protocol::relay::attest::{TenantKeyError, TenantPublic};
use farstep_protocol::relay::welcome::{HarnessKeys, LIST_BYTES_MAX, ListError};

use super::Settings;

/// Why a list is not believed.
#[derive(Debug, thiserror::Error)]
pub enum WelcomeError {
    /// The key that signs it.
    #[error("--harness-keys-signer: {0}")]
    Signer(#[from] TenantKeyError),
    /// The file.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What is in it.
    #[error("{}: {source}", path.display())]
    List {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: ListError,
    },
}

/// Who may come in.
#[derive(Debug)]
pub(super) struct Welcome {
    named: Vec<String>,
    list: Option<Signed>,
    environment: String,
}

#[derive(Debug)]
struct Signed {
    path: PathBuf,
    signer: TenantPublic,
}

impl Welcome {
    /// As the settings say. A list that is not believed is told at once.
    pub(super) fn take_up(settings: &Settings) -> Result<Welcome, WelcomeError> {
        let list = match &settings.harness_keys {
            Some((path, signer)) => Some(Signed {
                path: path.clone(),
                signer: TenantPublic::parse(signer)?,
            }),
            None => None,
        };
        let welcome = Welcome {
            named: settings.allowed.clone(),
            list,
            environment: settings.environment.clone(),
        };
        if let Some(list) = &welcome.list {
            list.read(&welcome.environment, now())?;
        }
        Ok(welcome)
    }

    /// Whether everybody whom the registry lets in may come in.
    pub(super) fn is_open(&self) -> bool {
        self.named.is_empty() && self.list.is_none()
    }

    /// Whether an orchestrator may come in as far as this is concerned.
    pub(super) async fn admits(&self, fingerprint: &str) -> bool {
        if self.is_open() || self.named.iter().any(|named| named == fingerprint) {
            return true;
        }
        let Some(Signed { path, signer }) = &self.list else {
            return false;
        };
        let list = Signed {
            path: path.clone(),
            signer: *signer,
        };
        let environment = self.environment.clone();
        // Handshakes are few, and files may be far away.
        let read = tokio::task::spawn_blocking(move || list.read(&environment, now())).await;
        match read {
            Ok(Ok(keys)) => keys.admits(fingerprint, now()),
            Ok(Err(error)) => {
                tracing::error!(%error, "the list of orchestrators is not believed");
                false
            }
            Err(_) => false,
        }
    }
}

impl Signed {
    fn read(&self, environment: &str, now: i64) -> Result<HarnessKeys, WelcomeError> {
        let text = bounded(&self.path).map_err(|source| WelcomeError::Read {
            path: self.path.clone(),
            source,
        })?;
        let keys = HarnessKeys::read(&text, &self.signer, environment, now);
        keys.map_err(|source| WelcomeError::List {
            path: self.path.clone(),
            source,
        })
    }
}

/// A text with one byte more than a list may have, at most.
fn bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(LIST_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Unix seconds.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use farstep_protocol::relay::attest::TenantKey;
    use farstep_protocol::relay::welcome::sign;

    use super::*;
    use crate::remote::CredentialSource;

    const ONE: &str = "fst1:ds2bl46fuoudkacllpcqgdbau3";
    const TWO: &str = "fst1:as2bl46fuoudkacllpcqgdbau3";

    fn settings(allowed: &[&str], list: Option<(PathBuf, String)>) -> Settings {
        Settings {
            base: String::new(),
            environment: "box".to_owned(),
            name: None,
            credential: CredentialSource::Variable,
            identity_file: None,
            allowed: allowed.iter().map(|key| (*key).to_owned()).collect(),
            harness_keys: list,
            key_attestation: None,
            padding: Default::default(),
            labels: Default::default(),
        }
    }

    #[tokio::test]
    async fn a_list_counts_as_it_is_now_and_only_if_it_is_believed() {
        let key = TenantKey::from_seed(&[7; 32]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let write = |keys: &[&str], scope: &str| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            let text = sign(&key, scope, i64::MAX, &keys).unwrap();
            std::fs::write(&path, text).unwrap();
        };
        write(&[ONE], "box");
        let signer = key.public().to_string();
        let signed = settings(&[], Some((path.clone(), signer.clone())));
        let welcome = Welcome::take_up(&signed).unwrap();
        assert!(!welcome.is_open());
        assert!(welcome.admits(ONE).await && !welcome.admits(TWO).await);
        write(&[TWO], "box");
        assert!(!welcome.admits(ONE).await && welcome.admits(TWO).await);
        write(&[TWO], "bax");
        assert!(!welcome.admits(TWO).await);
        std::fs::remove_file(&path).unwrap();
        assert!(!welcome.admits(TWO).await);
        assert!(Welcome::take_up(&signed).is_err());
        // A key that is named needs no list.
        write(&[TWO], "box");
        let both = settings(&[ONE], Some((path.clone(), signer)));
        let both = Welcome::take_up(&both).unwrap();
        assert!(both.admits(ONE).await && both.admits(TWO).await);
        let open = Welcome::take_up(&settings(&[], None)).unwrap();
        assert!(open.is_open() && open.admits(ONE).await);
    }
}
