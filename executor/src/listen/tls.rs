//! TLS for the listener: which certificates we show, and whose we want to see.

use std::io;
use std::path::{Path, PathBuf};

use farstep_transport::tls::server::{self, ConfigError, ServerConfig, TlsAcceptor, TlsStream};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;

use super::args::TlsSettings;
use crate::audit::Audit;
use crate::auth::{Principal, SecretFileError, Watched, read_secret};

/// Bytes of a certificate's SHA-256 that name its holder.
const NAMED_BYTES: usize = 16;

/// Why the listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("failed to read certificates from {}: {source}", path.display())]
    Certificates { path: PathBuf, source: io::Error },
    #[error(transparent)]
    KeyFile(SecretFileError),
    #[error("{} cannot be used: {source}", path.display())]
    Content { path: PathBuf, source: ConfigError },
}

/// What turns an accepted socket into a TLS stream.
#[derive(Debug)]
pub(super) struct Tls {
    config: Watched<ServerConfig>,
    wants_certificates: bool,
}

impl Tls {
    pub(super) fn load(settings: &TlsSettings) -> Result<Tls, TlsError> {
        let files = [&settings.certificates, &settings.key];
        let files = files.into_iter().chain(&settings.client_authorities);
        let wants_certificates = settings.client_authorities.is_some();
        let of = settings.clone();
        Ok(Tls {
            config: Watched::new(files.cloned().collect(), move || config(&of))?,
            wants_certificates,
        })
    }

    pub(super) fn report_to(&self, audit: &Audit) {
        self.config.report_to(audit);
    }

    /// Shakes hands. The principal is whom the peer's certificate names, if one is wanted.
    pub(super) async fn accept(
        &self,
        tcp: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Principal>)> {
        let (config, _) = self.config.current().await;
        let stream = TlsAcceptor::from(config).accept(tcp).await?;
        if !self.wants_certificates {
            return Ok((stream, None));
        }
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        // The verifier wanted one, so there is one.
        let certificate = certificate.ok_or(io::ErrorKind::InvalidData)?;
        let digest = Sha256::digest(certificate);
        let named = digest.iter().take(NAMED_BYTES);
        let name: String = named.map(|byte| format!("{byte:02x}")).collect();
        Ok((stream, Some(Principal::named(format!("cert:{name}")))))
    }
}

fn config(settings: &TlsSettings) -> Result<ServerConfig, TlsError> {
    let certificates = certificates(&settings.certificates)?;
    let key = read_secret(&settings.key).map_err(TlsError::KeyFile)?;
    let authorities = settings.client_authorities.as_deref();
    let authorities = authorities.map(self::certificates).transpose()?;
    let made = server::config(&certificates, &key, authorities.as_deref());
    made.map_err(|source| TlsError::Content {
        path: match &source {
            ConfigError::Key(_) => settings.key.clone(),
            ConfigError::Authorities(_) | ConfigError::AuthoritiesFile(_) => {
                settings.client_authorities.clone().unwrap_or_default()
            }
            _ => settings.certificates.clone(),
        },
        source,
    })
}

fn certificates(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Certificates {
        path: path.to_owned(),
        source,
    })
}
