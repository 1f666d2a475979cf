//! Who may connect: the proof a peer brings in its upgrade request, and what it proves.
//!
//! ```text
//!   Authorization: Bearer ... ──▶ Authentication ──▶ Principal: whose session is whose
//!                                      │
//!                                      └─ Denied: one answer for missing, malformed and wrong
//! ```
//!
//! Knows nothing of HTTP beyond the value of one header and nothing of sessions. Secrets are
//! compared as digests in constant time (`security` SR-6), never shown and never copied further.

mod args;
mod secret_file;
mod signed;
mod token;
mod watched;

use std::fmt;
use std::sync::Arc;

pub use args::{AuthArgs, Refused, Settings, SignedSettings, TokenSource};
pub use secret_file::SecretFileError;
pub use token::{NewToken, TokenArgs, TokenError};

pub(crate) use secret_file::read as read_secret;
pub(crate) use watched::Watched;

use crate::audit::Audit;
use signed::Verifier;
use token::Tokens;

/// Whom a credential proves. Sessions belong to one, and only it finds them again.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Principal(Arc<str>);

impl Principal {
    /// Whoever can reach a listener without authentication, or our standard input.
    pub(crate) fn anybody() -> Principal {
        Principal("anybody".into())
    }

    pub(crate) fn named(name: impl Into<Arc<str>>) -> Principal {
        Principal(name.into())
    }

    /// Its name, which is no secret.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({})", self.0)
    }
}

/// The credential does not prove anything, for a reason that is for our log alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(pub(crate) &'static str);

/// How peers prove who they are.
#[derive(Debug)]
pub(crate) enum Authentication {
    /// They do not: reaching the listener is enough.
    None,
    /// They know the token.
    Capability(Box<Tokens>),
    /// They bring a token that was signed with the shared secret.
    Signed(Box<Verifier>),
}

impl Authentication {
    /// Reads what the settings name. Everything that is wrong shows now and not with the first
    /// peer.
    pub(crate) fn load(settings: &Settings) -> Result<Authentication, SecretFileError> {
        Ok(match settings {
            Settings::None => Authentication::None,
            Settings::Capability(source) => {
                Authentication::Capability(Box::new(Tokens::load(source)?))
            }
            Settings::Signed(settings) => {
                Authentication::Signed(Box::new(Verifier::load(settings)?))
            }
        })
    }

    /// Has a change of the secret recorded from now on.
    pub(crate) fn report_to(&self, audit: &Audit) {
        match self {
            Authentication::None => {}
            Authentication::Capability(tokens) => tokens.report_to(audit),
            Authentication::Signed(verifier) => verifier.report_to(audit),
        }
    }

    /// The name of the mode, for logs.
    pub(crate) fn mode(&self) -> &'static str {
        match self {
            Authentication::None => "none",
            Authentication::Capability(_) => "capability-token",
            Authentication::Signed(_) => "signed-bearer-token",
        }
    }

    /// Whether peers have to prove anything.
    pub(crate) fn is_required(&self) -> bool {
        !matches!(self, Authentication::None)
    }

    /// Judges the value of an `Authorization` header.
    pub(crate) async fn check(&self, header: Option<&[u8]>) -> Result<Principal, Denied> {
        match self {
            Authentication::None => Ok(Principal::anybody()),
            Authentication::Capability(tokens) => tokens.check(bearer(header)?).await,
            Authentication::Signed(verifier) => verifier.check(bearer(header)?).await,
        }
    }
}

/// The credential of a bearer header.
fn bearer(header: Option<&[u8]>) -> Result<&str, Denied> {
    farstep_transport::listen::bearer(header).map_err(Denied)
}

#[cfg(test)]
mod tests;
