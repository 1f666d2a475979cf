//! A client with wishes of its own: whom to believe, who we are, and what the server is called.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::distrust::{Distrust, Rejected, TlsError, is_its_own_authority};
use super::{Pin, TlsStream, name, provider, system};

/// What a [`Client`] is made of. Without any of it, the system's store decides.
#[derive(Clone, Debug, Default)]
pub struct Settings<'a> {
    /// Certificates in PEM form: the only authorities believed. A server that shows one of them
    /// as its own is believed too.
    pub authorities: Option<&'a [u8]>,
    /// The keys of which the server must have one. Without `authorities` nothing else is asked:
    /// neither who signed its certificate, nor what name and dates stand in it.
    pub pins: Vec<Pin>,
    /// Whether a server is believed whatever its certificate says, when nothing else is asked. It
    /// has proved that the key is its own; whoever dialled must compare that key before a byte is
    /// sent.
    pub anybody: bool,
    /// What we show when the server asks who we are.
    pub identity: Option<Identity<'a>>,
    /// What the server is called, where that is not the host that is dialled.
    pub server_name: Option<&'a str>,
}

/// A certificate with its chain, and its key; both in PEM form.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate, then those that vouch for it.
    pub certificates: &'a [u8],
    /// The key; not shown.
    pub key: &'a [u8],
}

/// Keys do not show.
impl fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// There is no certificate in the file of authorities, or it cannot be read.
    #[error("the authorities cannot be used: {0}")]
    Authorities(String),
    /// Our own certificate cannot be read.
    #[error("the client certificate cannot be used: {0}")]
    Certificates(String),
    /// Our own key cannot be read. Nothing of it is told.
    #[error("the client key is no private key in PEM form, without a password")]
    Key,
    /// They do not belong together, or are of a kind the library does not know.
    #[error("the client certificate and its key cannot be used together: {0}")]
    Pair(Error),
    /// The server cannot be called so.
    #[error("`{0}` is neither a host name nor an address")]
    Name(String),
    /// The system's store could not be read.
    #[error("the system's certificates cannot be used: {0}")]
    System(Error),
}

/// Secures connections.
pub struct Client {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client with these settings.
    pub fn new(settings: &Settings<'_>) -> Result<Client, SettingsError> {
        let named = settings
            .server_name
            .map(|text| name(text).map_err(|_| SettingsError::Name(text.to_owned())));
        let server_name = named.transpose()?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(SettingsError::System)?
            .dangerous() // `Judge` asks for at least as much as was wished for.
            .with_custom_certificate_verifier(Arc::new(Judge::new(settings)?));
        let config = match settings.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain =
                    certificates(identity.certificates).map_err(SettingsError::Certificates)?;
                let key =
                    PrivateKeyDer::from_pem_slice(identity.key).map_err(|_| SettingsError::Key)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(SettingsError::Pair)?
            }
        };
        Ok(Client {
            config: Arc::new(config),
            server_name,
        })
    }

    /// Secures a connection to `host`, a name or an address with or without brackets.
    pub async fn connect<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => name(host).map_err(|_| SettingsError::Name(host.to_owned()))?,
        };
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let connected = connector.connect(name, stream).await;
        connected.map_err(TlsError::sorted)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(read) if read.is_empty() => Err("there is no certificate in PEM form".to_owned()),
        Ok(read) => Ok(read),
        Err(error) => Err(error.to_string()),
    }
}

/// Decides whether a server is believed, and says why not.
#[derive(Debug)]
struct Judge {
    chain: Option<Arc<dyn ServerCertVerifier>>,
    authorities: Vec<CertificateDer<'static>>,
    pins: Vec<Pin>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Judge {
    fn new(settings: &Settings<'_>) -> Result<Judge, SettingsError> {
        let authorities = settings
            .authorities
            .map(certificates)
            .transpose()
            .map_err(SettingsError::Authorities)?
            .unwrap_or_default();
        let chain = if !authorities.is_empty() {
            Some(among(&authorities)?)
        } else if settings.pins.is_empty() && !settings.anybody {
            Some(system().map_err(SettingsError::System)?)
        } else {
            None
        };
        Ok(Judge {
            chain,
            authorities,
            pins: settings.pins.clone(),
            algorithms: provider().signature_verification_algorithms,
        })
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Distrust> {
        let pin = Pin::of(certificate);
        if !self.pins.is_empty() && !pin.is_some_and(|pin| self.pins.contains(&pin)) {
            return Err(Distrust::OtherKey);
        }
        let Some(chain) = &self.chain else {
            return Ok(());
        };
        let Err(error) = chain.verify_server_cert(certificate, others, name, ocsp, now) else {
            return Ok(());
        };
        let named = self.authorities.iter().any(|known| known == certificate);
        match &error {
            Error::InvalidCertificate(cause) if named && is_its_own_authority(cause) => {
                let parsed = ParsedCertificate::try_from(certificate);
                let verdict = parsed.and_then(|parsed| verify_server_name(&parsed, name));
                verdict.map_err(|error| Distrust::of(&error))
            }
            error => Err(Distrust::of(error)),
        }
    }
}

fn among(
    authorities: &[CertificateDer<'static>],
) -> Result<Arc<dyn ServerCertVerifier>, SettingsError> {
    let unusable = |error: &dyn fmt::Display| SettingsError::Authorities(error.to_string());
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority.clone())
            .map_err(|error| unusable(&error))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| unusable(&error))?;
    Ok(verifier)
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.judge(end_entity, intermediates, server_name, ocsp_response, now);
        verdict.map_err(|distrust| Rejected {
            distrust,
            pin: Pin::of(end_entity),
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
