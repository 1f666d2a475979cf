//! Websocket URLs that carry their own permission (`rendezvous` section C4).
//!
//! ```text
//!   BASE/cloud-agent/CLUSTER/ws/environment/ID?role=..&v=KEY&exp=..&t=TENANT&g=..|n=..&sig=..
//! ```
//!
//! `sig` is an HMAC over method, path and all other parameters as they stand. Exactly these
//! parameters: one more is refused. Nothing in there is a credential for anything else.

use std::fmt::Write as _;

use farstep_protocol::relay::registry::is_environment_id;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::store::{EnvironmentKey, UrlKey};

/// For how long an executor's URL is good, in seconds: it reuses it for ever, and its generation
/// ends it when that is wanted.
const EXECUTOR_SECONDS: i64 = 30 * 24 * 60 * 60;

/// For how long an orchestrator's URL is good, in seconds, once.
pub(crate) const HARNESS_SECONDS: i64 = 60;

/// What a node of a cluster is told by; one node is a cluster.
const CLUSTER: &str = "main";

/// Which end of a stream a websocket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `role=environment`
    Executor,
    /// `role=harness`
    Harness,
}

/// What a good URL permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// To be the executor of a generation.
    Executor {
        /// Which one.
        generation: u64,
    },
    /// To open one stream.
    Harness {
        /// Worth something once.
        nonce: String,
    },
}

/// A URL's content, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedUrl {
    /// For which environment.
    pub environment: EnvironmentKey,
    /// What it permits.
    pub access: Access,
}

/// Why a URL is refused, in the words that peers log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlRefused(pub &'static str);

/// Signs and checks URLs.
#[derive(Clone, Debug)]
pub struct Signer {
    keys: Vec<UrlKey>,
}

impl Signer {
    /// With the newest key first; all of them count.
    pub fn new(keys: Vec<UrlKey>) -> Signer {
        Signer { keys }
    }

    /// A URL below `base`. `None` without a key.
    pub fn sign(&self, base: &str, url: &SignedUrl, now: i64) -> Option<String> {
        let key = self.keys.first()?;
        let EnvironmentKey { tenant, id } = &url.environment;
        let (role, seconds) = match url.access {
            Access::Executor { .. } => ("environment", EXECUTOR_SECONDS),
            Access::Harness { .. } => ("harness", HARNESS_SECONDS),
        };
        let path = path(id);
        let mut query = format!(
            "role={role}&v={}&exp={}&t={tenant}",
            key.number,
            now + seconds
        );
        // Writing to a string cannot fail.
        let _ = match &url.access {
            Access::Executor { generation } => write!(query, "&g={generation}"),
            Access::Harness { nonce } => write!(query, "&n={nonce}"),
        };
        let sig = base64_simd::URL_SAFE_NO_PAD
            .encode_to_string(mac(key, &path, &query)?.finalize().into_bytes());
        Some(format!("{base}{path}?{query}&sig={sig}"))
    }

    /// Checks what an upgrade asks for. `path` is the one below the base.
    pub fn check(&self, id: &str, query: &str, now: i64) -> Result<SignedUrl, UrlRefused> {
        let (signed, sig) = query
            .rsplit_once("&sig=")
            .ok_or(UrlRefused("missing_signature"))?;
        let mut fields = signed.split('&').map(|field| field.split_once('='));
        let mut next = |name: &str, missing: &'static str| match fields.next() {
            Some(Some((found, value))) if found == name => Ok(value),
            Some(None) => Err(UrlRefused("malformed_query")),
            _ => Err(UrlRefused(missing)),
        };
        let role = match next("role", "missing_role")? {
            "environment" => Role::Executor,
            "harness" => Role::Harness,
            _ => return Err(UrlRefused("invalid_role")),
        };
        let version = next("v", "missing_version")?;
        let expiry = next("exp", "missing_expiry")?;
        let tenant = next("t", "malformed_query")?;
        let access = match role {
            Role::Executor => next("g", "malformed_query")?,
            Role::Harness => next("n", "malformed_query")?,
        };
        if fields.next().is_some() {
            return Err(UrlRefused("extra_query_param"));
        }
        let key = self
            .keys
            .iter()
            .find(|key| key.number.to_string() == version);
        let key = key.ok_or(UrlRefused("invalid_secret"))?;
        let sig = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(sig);
        let sig = sig.map_err(|_| UrlRefused("invalid_signature"))?;
        let mac = mac(key, &path(id), signed).ok_or(UrlRefused("invalid_secret"))?;
        // In constant time.
        mac.verify_slice(&sig)
            .map_err(|_| UrlRefused("invalid_signature"))?;
        let expiry: i64 = expiry.parse().map_err(|_| UrlRefused("invalid_expiry"))?;
        if now >= expiry {
            return Err(UrlRefused("invalid_expiry"));
        }
        if !is_environment_id(id) {
            return Err(UrlRefused("unknown_route"));
        }
        let access = match role {
            Role::Executor => Access::Executor {
                generation: access.parse().map_err(|_| UrlRefused("malformed_query"))?,
            },
            Role::Harness => Access::Harness {
                nonce: access.to_owned(),
            },
        };
        Ok(SignedUrl {
            environment: EnvironmentKey::new(tenant, id),
            access,
        })
    }
}

fn path(id: &str) -> String {
    format!("/cloud-agent/{CLUSTER}/ws/environment/{id}")
}

fn mac(key: &UrlKey, path: &str, query: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.secret).ok()?;
    for part in ["GET\n", path, "\n", query] {
        mac.update(part.as_bytes());
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        let key = |number: i64| UrlKey {
            number,
            secret: vec![number as u8; 32],
        };
        Signer::new(vec![key(2), key(1)])
    }

    fn signed(access: Access) -> (SignedUrl, String) {
        let url = SignedUrl {
            environment: EnvironmentKey::new("acme", "box"),
            access,
        };
        let text = signer().sign("wss://h", &url, 1000).unwrap();
        let query = text
            .strip_prefix("wss://h/cloud-agent/main/ws/environment/box?")
            .unwrap();
        (url, query.to_owned())
    }

    #[test]
    fn what_was_signed_is_permitted_until_it_expires() {
        for (access, until) in [
            (Access::Executor { generation: 3 }, 1000 + EXECUTOR_SECONDS),
            (
                Access::Harness {
                    nonce: "abc".to_owned(),
                },
                1000 + HARNESS_SECONDS,
            ),
        ] {
            let (url, query) = signed(access);
            assert_eq!(signer().check("box", &query, until - 1), Ok(url));
            assert_eq!(
                signer().check("box", &query, until),
                Err(UrlRefused("invalid_expiry"))
            );
        }
    }

    #[test]
    fn whatever_is_altered_is_refused() {
        let (_, query) = signed(Access::Executor { generation: 3 });
        let check = |query: &str| signer().check("box", query, 1000).unwrap_err().0;
        assert_eq!(
            signer().check("bax", &query, 1000),
            Err(UrlRefused("invalid_signature"))
        );
        let altered = |from: &str, to: &str| check(&query.replace(from, to));
        assert_eq!(altered("g=3", "g=4"), "invalid_signature");
        assert_eq!(altered("t=acme", "t=evil"), "invalid_signature");
        assert_eq!(altered("v=2", "v=1"), "invalid_signature");
        assert_eq!(altered("v=2", "v=3"), "invalid_secret");
        assert_eq!(altered("role=environment", "role=king"), "invalid_role");
        assert_eq!(
            altered("role=environment", "role=harness"),
            "malformed_query"
        );
        assert_eq!(altered("role=environment&", ""), "missing_role");
        assert_eq!(altered("&sig=", "&x=1&sig="), "extra_query_param");
        assert_eq!(altered("sig=", "gis="), "missing_signature");
        assert_eq!(check(&format!("{query}x")), "invalid_signature");
        assert_eq!(check(&format!("{query}&x=1")), "invalid_signature");
        assert_eq!(check(""), "missing_signature");
    }
}
