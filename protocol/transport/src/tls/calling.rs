//! A connection for whoever has no wishes of its own.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Secures a connection to `host`, a name or an address with or without brackets.
pub async fn connect(host: &str, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(config().map_err(io::Error::other)?);
    connector.connect(name(host)?, socket).await
}

pub(super) fn name(host: &str) -> io::Result<ServerName<'static>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned()).map_err(io::Error::other)
}

fn config() -> Result<Arc<ClientConfig>, rustls::Error> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous() // The verifier is the system's.
        .with_custom_certificate_verifier(system()?)
        .with_no_client_auth();
    Ok(Arc::clone(CONFIG.get_or_init(|| Arc::new(config))))
}

/// The judgement of the system's own store. Made with the first connection: reading the store
/// takes a while and memory.
pub(super) fn system() -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    static SYSTEM: OnceLock<Arc<dyn ServerCertVerifier>> = OnceLock::new();
    if let Some(system) = SYSTEM.get() {
        return Ok(Arc::clone(system));
    }
    let system = rustls_platform_verifier::Verifier::new(provider())?;
    Ok(Arc::clone(SYSTEM.get_or_init(|| Arc::new(system))))
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Arc::clone(PROVIDER.get_or_init(make))
}
