//! What a secured connection says about the other side.

use std::net::Ipv4Addr;
use std::time::Duration;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, ProtocolVersion, RootCertStore};

use super::{Pin, TlsStream, provider};

/// Names of a certificate that are told, and letters of each.
const NAMES_MAX: usize = 8;
const NAME_MAX: usize = 255;

/// What is known of a secured connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Such as `TLS 1.3`.
    pub version: &'static str,
    /// The cipher suite, as it is registered.
    pub cipher: String,
    /// Of the key the other side showed.
    pub pin: Option<Pin>,
    /// The names its certificate is for.
    pub names: Vec<String>,
    /// When its certificate expires, in seconds since 1970.
    pub not_after: Option<u64>,
}

impl Facts {
    /// What `stream` knows.
    pub fn of<S>(stream: &TlsStream<S>) -> Facts {
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let suite = session.negotiated_cipher_suite();
        Facts {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
                _ => "TLS",
            },
            cipher: suite.map_or_else(String::new, |suite| format!("{:?}", suite.suite())),
            pin: certificate.and_then(Pin::of),
            names: certificate.map(names).unwrap_or_default(),
            not_after: certificate.and_then(not_after),
        }
    }
}

/// The names a certificate is for: the library tells them when asked for another one.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
        return Vec::new();
    };
    // An address nobody has, in a block for documentation.
    let other = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 255).into()));
    match verify_server_name(&parsed, &other) {
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        })) => plain(&presented),
        _ => Vec::new(),
    }
}

/// The names alone: the library wraps each in its kind, and what a stranger wrote there may be
/// meant for a terminal.
pub(super) fn plain(presented: &[String]) -> Vec<String> {
    let name = |text: &String| {
        let inner = text.split_once('(').map_or(text.as_str(), |(_, rest)| rest);
        let inner = inner.strip_suffix(')').unwrap_or(inner).trim_matches('"');
        let shown = inner.chars().take(NAME_MAX);
        shown
            .map(|letter| {
                if letter.is_ascii_graphic() {
                    letter
                } else {
                    '\u{fffd}'
                }
            })
            .collect()
    };
    presented.iter().take(NAMES_MAX).map(name).collect()
}

/// When a certificate expires: the library tells it when asked long after.
fn not_after(certificate: &CertificateDer<'_>) -> Option<u64> {
    /// The year 9999 and then some; X.509 knows no later one.
    const LONG_AFTER: Duration = Duration::from_secs(400_000_000_000);
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let mut roots = RootCertStore::empty();
    // Some anchor is needed; dates are looked at before it.
    roots.add(certificate.clone().into_owned()).ok()?;
    let algorithms = provider().signature_verification_algorithms.all;
    let verdict = verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &roots,
        &[],
        UnixTime::since_unix_epoch(LONG_AFTER),
        algorithms,
    );
    match verdict {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Some(not_after.as_secs())
        }
        _ => None,
    }
}
