//! TLS for the listener: which certificates we show, and whose we want to see.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::args::TlsSettings;
use crate::audit::Audit;
use crate::auth::{Principal, SecretFileError, Watched, read_secret};

/// Bytes of a certificate's SHA-256 that name its holder.
const NAMED_BYTES: usize = 16;

/// Why the listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("failed to read certificates from {}: {source}", path.display())]
    Certificates { path: PathBuf, source: pem::Error },
    #[error("{} holds no certificate", path.display())]
    NoCertificate { path: PathBuf },
    #[error(transparent)]
    KeyFile(SecretFileError),
    #[error("{} holds no private key in PEM form: {source}", path.display())]
    Key { path: PathBuf, source: pem::Error },
    #[error("the certificate and its key cannot be used: {0}")]
    Pair(rustls::Error),
    #[error("the authorities in {} cannot be used: {source}", path.display())]
    Authorities {
        path: PathBuf,
        source: VerifierBuilderError,
    },
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
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|source| TlsError::Key {
        path: settings.key.clone(),
        source,
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // TLS 1.2 with rustls means AEAD suites only (`security` SR-16).
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?;
    let builder = match &settings.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(self::certificates(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|source| TlsError::Authorities {
                    path: path.clone(),
                    source,
                })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder
        .with_single_cert(certificates, key)
        .map_err(TlsError::Pair)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Certificates {
        path: path.to_owned(),
        source,
    };
    let read = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let certificates: Vec<_> = read.collect::<Result<_, _>>().map_err(failed)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}
