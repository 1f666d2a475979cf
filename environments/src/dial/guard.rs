//! From the `tls` table of an entry to a client: its files are read anew for each connection, so
//! that a renewed certificate needs no restart.

use std::path::Path;

use farstep_transport::tls::{Client, Identity, Pin, PinError, Settings, SettingsError};
use tokio::io::AsyncReadExt as _;

use super::secret::{self, SecretError};
use crate::config::{Tls, Trust};

/// Largest certificate file: a company's whole bundle, and not the wrong file.
const CERTIFICATES_MAX: u64 = 1 << 20;

/// Why a connection cannot be secured the way the entry asks for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuardError {
    #[error("the file `{path}` cannot be read: {source}")]
    File {
        path: String,
        source: std::io::Error,
    },
    #[error("the file `{0}` is larger than {CERTIFICATES_MAX} bytes")]
    TooLarge(String),
    #[error("client_key_file: {0}")]
    Key(SecretError),
    #[error("client_cert_file and client_key_file belong together, and one is missing")]
    Half,
    #[error("pin_sha256: {0}")]
    Pin(#[from] PinError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// A client that believes whom `wishes` says; without any, whom the system believes.
pub(crate) async fn client(wishes: Option<&Tls>) -> Result<Client, GuardError> {
    let Some(wishes) = wishes else {
        return Ok(Client::new(&Settings::default())?);
    };
    let authorities = match &wishes.ca_file {
        Some(path) => Some(certificates(path).await?),
        None => None,
    };
    let identity = match (&wishes.client_cert_file, &wishes.client_key_file) {
        (None, None) => None,
        (Some(chain), Some(key)) => {
            let key = secret::from_file(key).await.map_err(GuardError::Key)?;
            Some((certificates(chain).await?, key))
        }
        (Some(_), None) | (None, Some(_)) => return Err(GuardError::Half),
    };
    let pins = wishes.pin_sha256.iter().flatten();
    let pins: Result<Vec<Pin>, PinError> = pins.map(|text| text.parse()).collect();
    let anybody = is_first_use(wishes);
    Ok(Client::new(&Settings {
        anybody,
        authorities: authorities.as_deref(),
        pins: pins?,
        identity: identity
            .as_ref()
            .map(|(certificates, key)| Identity { certificates, key }),
        server_name: wishes.server_name.as_deref(),
    })?)
}

/// Whether the entry itself says whom to believe.
pub(super) fn is_anchored(wishes: Option<&Tls>) -> bool {
    wishes.is_some_and(|tls| tls.ca_file.is_some() || tls.pin_sha256.is_some())
}

/// Whether the first key is believed, whoever vouches for it.
pub(super) fn is_first_use(wishes: &Tls) -> bool {
    wishes.trust == Some(Trust::FirstUse) && !is_anchored(Some(wishes))
}

async fn certificates(path: &Path) -> Result<Vec<u8>, GuardError> {
    let shown = || path.display().to_string();
    let failed = |source| GuardError::File {
        path: shown(),
        source,
    };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut read = Vec::new();
    let mut bounded = file.take(CERTIFICATES_MAX + 1);
    bounded.read_to_end(&mut read).await.map_err(failed)?;
    if read.len() as u64 > CERTIFICATES_MAX {
        return Err(GuardError::TooLarge(shown()));
    }
    Ok(read)
}
