//! Signed bearer tokens: JWT with HS256 and nothing else.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use tokio::time::Instant;

use super::args::SignedSettings;
use super::secret_file::{self, SecretFileError};
use super::watched::Watched;
use super::{Denied, Principal};
use crate::audit::Audit;

/// Shortest shared secret: as long as what HMAC-SHA-256 yields (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// Longest part of a claim that goes into a principal's name.
const NAME_BYTES_MAX: usize = 128;

/// What it takes to believe a signed token.
pub(crate) struct Verifier {
    settings: SignedSettings,
    validation: Validation,
    file: Watched<DecodingKey>,
    former: Mutex<Former>,
}

/// The key in force, and the one before it for a while.
struct Former {
    current: Arc<DecodingKey>,
    former: Option<(Arc<DecodingKey>, Instant)>,
}

/// The claims that tell whose token it is; the others are the library's business.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    sub: Option<String>,
    /// Has to be an integer (`exec-protocol` section 1.2).
    #[expect(
        dead_code,
        reason = "parsed for its type; the library judges its value"
    )]
    exp: i64,
}

impl Verifier {
    pub(super) fn report_to(&self, audit: &Audit) {
        self.file.report_to(audit);
    }

    pub(super) fn load(settings: &SignedSettings) -> Result<Verifier, SecretFileError> {
        let path = settings.secret.clone();
        let file = Watched::new(vec![path.clone()], move || key_of_file(&path))?;
        let current = Arc::new(key_of_file(&settings.secret)?);
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = settings.skew.as_secs();
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        match &settings.issuer {
            Some(issuer) => {
                validation.set_issuer(&[issuer]);
                required.push("iss");
            }
            None => validation.iss = None,
        }
        match &settings.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        validation.set_required_spec_claims(&required);
        Ok(Verifier {
            settings: settings.clone(),
            validation,
            file,
            former: Mutex::new(Former {
                current,
                former: None,
            }),
        })
    }

    pub(super) async fn check(&self, token: &str) -> Result<Principal, Denied> {
        let (key, is_new) = self.file.current().await;
        let former = {
            let mut keys = self.former.lock().unwrap_or_else(PoisonError::into_inner);
            if is_new {
                let before = std::mem::replace(&mut keys.current, Arc::clone(&key));
                keys.former = Some((before, Instant::now() + self.settings.overlap));
            }
            let in_force = |(_, until): &(_, Instant)| Instant::now() < *until;
            keys.former.take_if(|former| !in_force(former));
            keys.former.as_ref().map(|(former, _)| Arc::clone(former))
        };
        let claims = self.claims(token, &key);
        match (claims, former) {
            (Ok(claims), _) => Ok(claims.principal()),
            (Err(_), Some(former)) => Ok(self.claims(token, &former)?.principal()),
            (Err(denied), None) => Err(denied),
        }
    }

    fn claims(&self, token: &str, key: &DecodingKey) -> Result<Claims, Denied> {
        use jsonwebtoken::errors::ErrorKind;
        match decode::<Claims>(token, key, &self.validation) {
            Ok(token) => Ok(token.claims),
            Err(error) => Err(Denied(match error.kind() {
                ErrorKind::ExpiredSignature => "the signed token has expired",
                ErrorKind::ImmatureSignature => "the signed token is not valid yet",
                ErrorKind::InvalidIssuer => "the signed token is by another issuer",
                ErrorKind::InvalidAudience => "the signed token is for somebody else",
                ErrorKind::InvalidSignature => "the signature is wrong",
                ErrorKind::InvalidAlgorithm => "the signed token is not signed with HS256",
                _ => "not a signed token with the claims that are needed",
            })),
        }
    }
}

impl Claims {
    /// Issuer and subject: tokens are renewed, and their sessions stay theirs.
    fn principal(self) -> Principal {
        let part = |claim: Option<String>| {
            let mut claim = claim.unwrap_or_default();
            claim.truncate(claim.floor_char_boundary(NAME_BYTES_MAX));
            claim
        };
        Principal::named(format!("jwt:{}:{}", part(self.iss), part(self.sub)))
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn key_of_file(path: &Path) -> Result<DecodingKey, SecretFileError> {
    let secret = secret_file::read(path)?;
    // A line end is what an editor leaves behind, not part of a secret.
    let secret = secret
        .strip_suffix(b"\r\n")
        .or_else(|| secret.strip_suffix(b"\n"))
        .unwrap_or(&secret);
    if secret.len() < SECRET_BYTES_MIN {
        return Err(SecretFileError::TooShort {
            path: path.to_owned(),
            bytes: secret.len(),
            needed: SECRET_BYTES_MIN,
        });
    }
    Ok(DecodingKey::from_secret(secret))
}
