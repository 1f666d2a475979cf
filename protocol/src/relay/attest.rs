//! What a tenant signs with a key that the service never sees (`rendezvous` section C5).
//!
//! ```text
//!   tenant, offline     signs: environment, fingerprint of the executor's key, not after
//!   executor            shows it when it registers
//!   service             passes it on, and could make none
//!   orchestrator        trusts one public key and with it every executor that was signed for
//! ```
//!
//! The key is Ed25519. Three texts: `fstk1:` and 43 characters is the public key, `fstk1-secret:`
//! and 43 characters the secret one, `fstc1.SECONDS.SIGNATURE` a statement. All are base64 for URLs
//! without padding. What is signed is a list of parts, each behind its length as 64 bits, so that
//! no two statements look alike.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64_simd::URL_SAFE_NO_PAD;

/// Bytes of a public key, and of the secret from which both are made.
pub const TENANT_KEY_BYTES: usize = 32;

/// A statement as it is carried, in bytes at most.
pub const ATTESTATION_BYTES_MAX: usize = 128;

const PUBLIC_PREFIX: &str = "fstk1:";
const SECRET_PREFIX: &str = "fstk1-secret:";
const STATEMENT_PREFIX: &str = "fstc1.";

/// What tells a statement about an executor's key from everything else the key signs.
const KEY_CONTEXT: &str = "farstep-key-attestation/v1";

/// A text that is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantKeyError {
    /// Not a public key.
    #[error("a tenant's public key begins with {PUBLIC_PREFIX} and has 43 characters behind it")]
    Public,
    /// Not a secret one.
    #[error("a tenant's secret key begins with {SECRET_PREFIX} and has 43 characters behind it")]
    Secret,
}

/// Why a statement is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// Not a statement at all.
    #[error("it is no attestation")]
    Malformed,
    /// Its time is over.
    #[error("it ended at {not_after} (Unix seconds)")]
    Expired {
        /// When.
        not_after: i64,
    },
    /// Signed by somebody else, or for another executor or environment.
    #[error("the trusted key did not sign it for this environment and this executor")]
    Signature,
}

/// The tenant's secret key. It signs.
pub struct TenantKey(Ed25519KeyPair);

/// The tenant's public key. It is trusted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TenantPublic([u8; TENANT_KEY_BYTES]);

/// An executor's key in an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attested<'a> {
    /// The environment's id.
    pub environment: &'a str,
    /// [`super::PublicKey::fingerprint`] of the executor's key.
    pub fingerprint: &'a str,
}

impl TenantKey {
    /// From random bytes.
    pub fn from_seed(seed: &[u8; TENANT_KEY_BYTES]) -> Result<TenantKey, TenantKeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        pair.map(TenantKey).map_err(|_| TenantKeyError::Secret)
    }

    /// From [`secret_text`], white space around it allowed.
    pub fn parse(text: &str) -> Result<TenantKey, TenantKeyError> {
        let seed = decoded(text.trim(), SECRET_PREFIX).ok_or(TenantKeyError::Secret)?;
        TenantKey::from_seed(&seed)
    }

    /// What others trust.
    pub fn public(&self) -> TenantPublic {
        let mut public = [0; TENANT_KEY_BYTES];
        // An Ed25519 key has exactly so many bytes.
        for (to, from) in public.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        TenantPublic(public)
    }

    /// The statement that this is the executor of the environment, until `not_after` in Unix
    /// seconds.
    pub fn attest(&self, attested: Attested<'_>, not_after: i64) -> String {
        let signature = self.sign(&attested.parts(&not_after.to_string()));
        format!("{STATEMENT_PREFIX}{not_after}.{signature}")
    }

    /// A signature over parts, as text. The first part is what kind of statement it is.
    pub(super) fn sign(&self, parts: &[&str]) -> String {
        let signature = self.0.sign(&joined(parts));
        URL_SAFE_NO_PAD.encode_to_string(signature.as_ref())
    }
}

/// How the secret key made of `seed` is kept.
pub fn secret_text(seed: &[u8; TENANT_KEY_BYTES]) -> String {
    format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode_to_string(seed))
}

impl fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of the secret.
        write!(f, "TenantKey({})", self.public())
    }
}

impl TenantPublic {
    /// From the text that [`fmt::Display`] makes.
    pub fn parse(text: &str) -> Result<TenantPublic, TenantKeyError> {
        let key = decoded(text, PUBLIC_PREFIX).ok_or(TenantKeyError::Public)?;
        Ok(TenantPublic(key))
    }

    /// Believes a statement, or says why not. `now` is in Unix seconds.
    pub fn verify(
        &self,
        attested: Attested<'_>,
        statement: &str,
        now: i64,
    ) -> Result<(), AttestationError> {
        let wrong = AttestationError::Malformed;
        if statement.len() > ATTESTATION_BYTES_MAX {
            return Err(wrong);
        }
        let rest = statement.strip_prefix(STATEMENT_PREFIX).ok_or(wrong)?;
        let (shown, signature) = rest.split_once('.').ok_or(wrong)?;
        let not_after: i64 = shown.parse().map_err(|_| wrong)?;
        // The time as it is written is what was signed.
        if !self.signed(&attested.parts(shown), signature) {
            return Err(AttestationError::Signature);
        }
        match now < not_after {
            true => Ok(()),
            false => Err(AttestationError::Expired { not_after }),
        }
    }

    /// Whether the signature over the parts is this key's.
    pub(super) fn signed(&self, parts: &[&str], signature: &str) -> bool {
        let Ok(signature) = URL_SAFE_NO_PAD.decode_to_vec(signature) else {
            return false;
        };
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(&joined(parts), &signature).is_ok()
    }
}

impl fmt::Display for TenantPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = URL_SAFE_NO_PAD.encode_to_string(self.0);
        write!(f, "{PUBLIC_PREFIX}{text}")
    }
}

impl fmt::Debug for TenantPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'a> Attested<'a> {
    fn parts(&self, not_after: &'a str) -> [&'a str; 4] {
        [KEY_CONTEXT, self.environment, self.fingerprint, not_after]
    }
}

fn joined(parts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

fn decoded(text: &str, prefix: &str) -> Option<[u8; TENANT_KEY_BYTES]> {
    let bytes = URL_SAFE_NO_PAD.decode_to_vec(text.strip_prefix(prefix)?);
    bytes.ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Attested<'_> = Attested {
        environment: "box",
        fingerprint: "fst1:ds2bl46fuoudkacllpcqgdbau3",
    };

    fn key() -> TenantKey {
        TenantKey::from_seed(&[7; TENANT_KEY_BYTES]).unwrap()
    }

    #[test]
    fn a_statement_is_believed_until_its_time_is_over() {
        let statement = key().attest(BOX, 1000);
        let trusted = TenantPublic::parse(&key().public().to_string()).unwrap();
        assert_eq!(trusted.verify(BOX, &statement, 999), Ok(()));
        let over = Err(AttestationError::Expired { not_after: 1000 });
        assert_eq!(trusted.verify(BOX, &statement, 1000), over);
    }

    #[test]
    fn the_texts_are_as_documented() {
        // From Python, cryptography's Ed25519PrivateKey.from_private_bytes(b"\7" * 32).
        let public = "fstk1:6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw";
        assert_eq!(key().public().to_string(), public);
        assert_eq!(
            key().attest(BOX, 1000),
            "fstc1.1000.-aw3fN0GDDgNgOKaUsLKqdBoDdXEsHWzijPXIKtVtwZCkXZfrANCeLIgkVcfB3hiTgl2dO8pV1KqeuV7Sj7BAg"
        );
        let secret = secret_text(&[7; TENANT_KEY_BYTES]);
        let again = TenantKey::parse(&format!("{secret}\n")).unwrap();
        assert_eq!(again.public(), key().public());
        assert_eq!(format!("{again:?}"), format!("TenantKey({public})"));
    }

    #[test]
    fn whatever_is_altered_is_not_believed() {
        let statement = key().attest(BOX, 1000);
        let trusted = key().public();
        let other = TenantKey::from_seed(&[8; TENANT_KEY_BYTES])
            .unwrap()
            .public();
        assert_eq!(
            other.verify(BOX, &statement, 0),
            Err(AttestationError::Signature)
        );
        for (environment, fingerprint) in [
            ("bax", BOX.fingerprint),
            ("box", "fst1:as2bl46fuoudkacllpcqgdbau3"),
            // Parts do not flow into each other.
            ("boxf", &BOX.fingerprint[1..]),
        ] {
            let altered = Attested {
                environment,
                fingerprint,
            };
            assert_eq!(
                trusted.verify(altered, &statement, 0),
                Err(AttestationError::Signature)
            );
        }
        let later = statement.replace(".1000.", ".2000.");
        let padded = statement.replace(".1000.", ".+1000.");
        for text in [&later, &padded, &statement[..statement.len() - 2]] {
            assert_eq!(
                trusted.verify(BOX, text, 0),
                Err(AttestationError::Signature),
                "{text}"
            );
        }
        let long = format!("{statement}{}", "A".repeat(200));
        for text in [
            "",
            "fstc1.",
            "fstc1.x.y",
            "fstc1.1000",
            &statement[1..],
            &long,
        ] {
            assert_eq!(
                trusted.verify(BOX, text, 0),
                Err(AttestationError::Malformed),
                "{text}"
            );
        }
    }

    #[test]
    fn one_kind_of_key_is_not_taken_for_the_other() {
        let secret = secret_text(&[7; TENANT_KEY_BYTES]);
        let public = key().public().to_string();
        assert_eq!(TenantPublic::parse(&secret), Err(TenantKeyError::Public));
        assert!(TenantKey::parse(&public).is_err());
        for wrong in [
            "",
            "fstk1:",
            "fstk1:AAAA",
            &public[1..],
            &format!("{public}A"),
        ] {
            assert_eq!(TenantPublic::parse(wrong), Err(TenantKeyError::Public));
        }
    }
}
