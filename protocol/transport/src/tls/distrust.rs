//! Why a connection could not be secured, in parts that whoever dialled can explain.

use std::io;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError};

use super::facts::plain;
use super::{Pin, SettingsError};

/// Why a certificate is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It vouches for itself, and nobody else does.
    #[error("its certificate signed itself, so nobody vouches for it")]
    SelfSigned,
    /// Nobody we believe has signed it.
    #[error("no authority we believe has signed its certificate")]
    UnknownIssuer,
    /// It is for somebody else.
    #[error("its certificate is for {}, not for `{expected}`", listed(.presented))]
    WrongName {
        /// Whom we wanted to speak to.
        expected: String,
        /// Whom it is for.
        presented: Vec<String>,
    },
    /// Its time is over.
    #[error("its certificate expired {days} days ago")]
    Expired {
        /// Whole days since.
        days: u64,
    },
    /// Its time has not come, or our clock is slow.
    #[error("its certificate is valid only {days} days from now; one of the clocks may be wrong")]
    NotYet {
        /// Whole days until.
        days: u64,
    },
    /// Its key is none of those that were pinned.
    #[error(
        "its key is not the one that is pinned; the server's key was changed, or somebody is in between"
    )]
    OtherKey,
    /// Anything else.
    #[error("its certificate is not acceptable: {0}")]
    Other(String),
}

/// Why a connection could not be secured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// We do not believe the other side.
    #[error("{distrust}")]
    Distrusted {
        /// Why.
        distrust: Distrust,
        /// What to pin, were it believed; none when its key cannot be read.
        pin: Option<Pin>,
    },
    /// The other side does not believe us, or wants to know who we are.
    #[error("the server refused our certificate, or wants one: {0:?}")]
    Refused(AlertDescription),
    /// What answered is no TLS.
    #[error("what answered does not speak TLS")]
    NotTls,
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The connection broke, or the library gave up.
    #[error("{0}")]
    Failed(io::Error),
}

impl TlsError {
    /// The same failure, sorted.
    pub(super) fn sorted(error: io::Error) -> TlsError {
        TlsError::of(&error).unwrap_or(TlsError::Failed(error))
    }

    /// What TLS says in an error of a stream, if it is TLS that failed. A server that wants to
    /// know who we are may say so only when the first bytes are read.
    pub fn of(error: &io::Error) -> Option<TlsError> {
        let cause = error.get_ref()?.downcast_ref::<Error>()?;
        Some(match cause {
            Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
                match other.downcast_ref::<Rejected>() {
                    Some(rejected) => TlsError::Distrusted {
                        distrust: rejected.distrust.clone(),
                        pin: rejected.pin,
                    },
                    None => TlsError::Failed(io::Error::other(cause.clone())),
                }
            }
            Error::AlertReceived(
                alert @ (AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnknownCA
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::AccessDenied
                | AlertDescription::UnsupportedCertificate),
            ) => TlsError::Refused(*alert),
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsError::NotTls,
            other => TlsError::Failed(io::Error::other(other.clone())),
        })
    }
}

/// A verdict on its way through the library.
#[derive(Debug, thiserror::Error)]
#[error("{distrust}")]
pub(super) struct Rejected {
    pub(super) distrust: Distrust,
    pub(super) pin: Option<Pin>,
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Error {
        let other = OtherError(Arc::new(rejected));
        Error::InvalidCertificate(CertificateError::Other(other))
    }
}

impl Distrust {
    pub(super) fn of(error: &Error) -> Distrust {
        let Error::InvalidCertificate(cause) = error else {
            return Distrust::Other(error.to_string());
        };
        match cause {
            // A bad signature is that of another authority of the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Distrust::UnknownIssuer
            }
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => Distrust::WrongName {
                expected: expected.to_str().into_owned(),
                presented: plain(presented),
            },
            CertificateError::ExpiredContext { time, not_after } => Distrust::Expired {
                days: days(*not_after, *time),
            },
            CertificateError::NotValidYetContext { time, not_before } => Distrust::NotYet {
                days: days(*time, *not_before),
            },
            other if is_its_own_authority(other) => Distrust::SelfSigned,
            other => Distrust::Other(other.to_string()),
        }
    }
}

/// Whether a certificate that may sign others was shown as a server's own. By then its dates were
/// found in order. The library has a name for it and keeps that to itself.
pub(super) fn is_its_own_authority(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity")
}

fn days(from: UnixTime, to: UnixTime) -> u64 {
    to.as_secs().saturating_sub(from.as_secs()) / (24 * 60 * 60)
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no name at all".to_owned(),
        names => {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        }
    }
}
