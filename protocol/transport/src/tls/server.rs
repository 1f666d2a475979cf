//! The listening side of TLS: what every program of ours shows, and whom it wants to see.
//!
//! Files are read by others; here are only their contents.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};

pub use rustls::ServerConfig;
pub use tokio_rustls::TlsAcceptor;
pub use tokio_rustls::server::TlsStream;

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The chain cannot be read.
    #[error("the certificates cannot be read: {0}")]
    Certificates(pem::Error),
    /// There is no chain.
    #[error("there is no certificate in PEM form")]
    NoCertificate,
    /// The key cannot be read. Nothing of it is told.
    #[error("there is no private key in PEM form: {0}")]
    Key(pem::Error),
    /// They do not belong together, or are of a kind the library does not know.
    #[error("the certificate and its key cannot be used: {0}")]
    Pair(rustls::Error),
    /// The authorities of those who may connect.
    #[error("the authorities cannot be used: {0}")]
    Authorities(VerifierBuilderError),
    /// The authorities cannot be read.
    #[error("the authorities cannot be read: {0}")]
    AuthoritiesFile(pem::Error),
}

/// TLS 1.3, and 1.2 with AEAD suites only, which is all that rustls has (`security` SR-16). With
/// `authorities` only peers with a certificate of one of them come in. All of it in PEM form.
pub fn config(
    certificates: &[u8],
    key: &[u8],
    authorities: Option<&[u8]>,
) -> Result<ServerConfig, ConfigError> {
    let chain = chain(certificates).map_err(ConfigError::Certificates)?;
    if chain.is_empty() {
        return Err(ConfigError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(ConfigError::Key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(ConfigError::Pair)?;
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            let known = self::chain(authorities).map_err(ConfigError::AuthoritiesFile)?;
            roots.add_parsable_certificates(known);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(ConfigError::Authorities)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder
        .with_single_cert(chain, key)
        .map_err(ConfigError::Pair)
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}
