//! Orchestrators' tokens from a tenant's own identity provider (`rendezvous` section C6).
//!
//! Which algorithms count is the tenant's list, and never what a token says of itself: a token is
//! held to the key that the provider publishes under its name, in an algorithm of the list, for the
//! issuer and the audience of the tenant. Claims say for which environments; it connects, and does
//! nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64_simd::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily, Validation, decode, decode_header};
use serde::Deserialize;

use super::jwks::{Keys, Source};
use crate::node::now;
use crate::store::{Credential, CredentialKind, in_scope};

/// A token, in bytes. A header has room for twice that.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// How far clocks may be apart, in seconds.
const LEEWAY_SECONDS: u64 = 30;

/// A subject and a token's id, in bytes; they become parts of names.
const SUBJECT_BYTES_MAX: usize = 128;

/// Environments or labels of one token.
const CLAIM_ENTRIES_MAX: usize = 64;

/// Why providers cannot be trusted as they are written.
#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    /// The file.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not what it should be.
    #[error("{}: {source}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// No algorithm, or one with a shared secret.
    #[error(
        "provider {issuer:?}: `algorithms` names at least one with a public key (RS256, PS256, ES256, \
         EdDSA, ...)"
    )]
    Algorithms {
        /// Whose.
        issuer: String,
    },
    /// Not a place for keys.
    #[error("provider {issuer:?}: `jwks` is a path or an https URL, not {jwks:?}")]
    Jwks {
        /// Whose.
        issuer: String,
        /// What it says.
        jwks: String,
    },
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    provider: Vec<Written>,
}

/// One provider in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tenant: String,
    issuer: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    jwks: String,
}

/// Whom tenants trust with their orchestrators.
#[derive(Debug, Default)]
pub struct Providers(Vec<Provider>);

#[derive(Debug)]
struct Provider {
    tenant: String,
    issuer: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    keys: Keys,
}

/// What of a token is looked at before it is believed, to know whose it would be.
#[derive(Deserialize)]
struct Unproven {
    iss: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    jti: Option<String>,
    #[serde(default)]
    environments: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// What a token is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    environments: Vec<String>,
    labels: BTreeMap<String, String>,
}

impl Grant {
    /// Whether it is for an environment, whose executor says those labels of itself. One that names
    /// nothing is for nothing.
    pub(crate) fn covers(&self, id: &str, labels: &BTreeMap<String, String>) -> bool {
        let has = |(name, value): (&String, &String)| labels.get(name) == Some(value);
        self.environments.iter().any(|scope| in_scope(scope, id))
            || (!self.labels.is_empty() && self.labels.iter().all(has))
    }
}

/// Whether a bearer could be such a token.
pub(crate) fn is_jwt(bearer: &str) -> bool {
    bearer.starts_with("ey") && bearer.split('.').count() == 3
}

impl Providers {
    /// From a file in TOML: `[[provider]]` with `tenant`, `issuer`, `audience`, `algorithms`, `jwks`.
    pub fn read(path: &Path) -> Result<Providers, ProvidersError> {
        let path_buf = || path.to_owned();
        let text = std::fs::read_to_string(path).map_err(|source| ProvidersError::Read {
            path: path_buf(),
            source,
        })?;
        let file: File = toml::from_str(&text).map_err(|source| ProvidersError::Content {
            path: path_buf(),
            source: Box::new(source),
        })?;
        let providers = file.provider.into_iter().map(Provider::from_file);
        providers.collect::<Result<_, _>>().map(Providers)
    }

    /// Believes a token or says why not, for the log alone. Only providers of `tenant` count, if one
    /// is said.
    pub(crate) async fn verify(
        &self,
        token: &str,
        tenant: Option<&str>,
    ) -> Result<(Credential, Grant), &'static str> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err("too long");
        }
        let payload = token.split('.').nth(1).ok_or("no payload")?;
        let payload = URL_SAFE_NO_PAD.decode_to_vec(payload);
        let unproven: Unproven =
            serde_json::from_slice(&payload.map_err(|_| "payload")?).map_err(|_| "no issuer")?;
        let mut why = "nobody trusts its issuer";
        let is_of = |provider: &&Provider| {
            provider.issuer == unproven.iss && tenant.is_none_or(|tenant| tenant == provider.tenant)
        };
        for provider in self.0.iter().filter(is_of) {
            match provider.verify(token).await {
                Ok(granted) => return Ok(granted),
                Err(because) => why = because,
            }
        }
        Err(why)
    }
}

impl Provider {
    fn from_file(written: Written) -> Result<Provider, ProvidersError> {
        let is_shared = |algorithm: &Algorithm| algorithm.family() == AlgorithmFamily::Hmac;
        let Written {
            tenant,
            issuer,
            audience,
            algorithms,
            jwks,
        } = written;
        if algorithms.is_empty() || algorithms.iter().any(is_shared) {
            return Err(ProvidersError::Algorithms { issuer });
        }
        let Some(source) = Source::parse(&jwks) else {
            return Err(ProvidersError::Jwks { issuer, jwks });
        };
        Ok(Provider {
            tenant,
            issuer,
            audience,
            algorithms,
            keys: Keys::new(source),
        })
    }

    async fn verify(&self, token: &str) -> Result<(Credential, Grant), &'static str> {
        let header = decode_header(token).map_err(|_| "header")?;
        if !self.algorithms.contains(&header.alg) {
            return Err("an algorithm that is not on the list");
        }
        let key = self.keys.find(header.kid.as_deref()).await;
        let (jwk, key) = key.ok_or("no such key")?;
        // A key that says what it is for is for nothing else.
        let names = |algorithm: jsonwebtoken::jwk::KeyAlgorithm| algorithm.to_string();
        let of_key = jwk.common.key_algorithm.map(names);
        if of_key.is_some_and(|name| name != format!("{:?}", header.alg)) {
            return Err("a key for another algorithm");
        }
        let mut wanted = Validation::new(header.alg);
        wanted.set_issuer(&[&self.issuer]);
        wanted.set_audience(&[&self.audience]);
        wanted.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        wanted.validate_nbf = true;
        wanted.leeway = LEEWAY_SECONDS;
        let claims = decode::<Claims>(token, &key, &wanted).map_err(|error| {
            tracing::debug!(%error, "a token is not believed");
            "signature or claims"
        })?;
        let Claims {
            sub,
            exp,
            jti,
            environments,
            labels,
        } = claims.claims;
        let is_name = |name: &str| !name.is_empty() && name.len() <= SUBJECT_BYTES_MAX;
        if !is_name(&sub) {
            return Err("subject");
        }
        if jti.as_deref().is_some_and(|jti| !is_name(jti)) {
            return Err("token id");
        }
        // Its streams are closed then, so it opens none from then on, whatever clocks may be apart.
        if exp <= now() {
            return Err("expired");
        }
        if environments.len() > CLAIM_ENTRIES_MAX || labels.len() > CLAIM_ENTRIES_MAX {
            return Err("too many claims");
        }
        let credential = Credential {
            kid: format!("jwt:{}:{sub}", self.issuer),
            tenant: self.tenant.clone(),
            kind: CredentialKind::Harness,
            // What it covers is the grant's matter.
            scope: String::new(),
            digest: [0; 32],
            created_at: 0,
            expires_at: Some(exp),
            revoked_at: None,
            subject: String::new(),
            used_at: None,
            token_id: jti.map(|jti| format!("jti:{}:{jti}", self.issuer)),
            renews: false,
            former: None,
        };
        let grant = Grant {
            environments,
            labels,
        };
        Ok((credential, grant))
    }
}
