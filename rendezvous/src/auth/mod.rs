//! Who may do what: credentials, signed URLs.

mod guard;
mod jwks;
mod jwt;
mod token;
mod url;

pub(crate) use guard::{Guard, authenticate, refuse};
pub(crate) use jwt::{Grant, is_jwt};
pub use jwt::{Providers, ProvidersError};
pub(crate) use token::kid;
pub use token::{NewToken, TokenKind, digest, random_hex};
pub(crate) use url::HARNESS_SECONDS;
pub use url::{Access, Role, SignedUrl, Signer, UrlRefused};
