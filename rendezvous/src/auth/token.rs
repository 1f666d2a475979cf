//! Tokens: `fstx_KID_SECRET_CRC` for executors, `fsth_...` for orchestrators, `fsta_...`
//! to administer, `fste_...` to enrol.
//!
//! 256 random bits need no slow hash: the store keeps SHA-256 of the whole token. The last part
//! is a checksum, by which a scanner for secrets tells a token from something that looks alike.

use aws_lc_rs::rand;
use sha2::{Digest as _, Sha256};

use crate::store::{CredentialKind, Digest};

/// Random bytes of a key id and of a secret.
const KID_BYTES: usize = 6;
const SECRET_BYTES: usize = 32;

/// Digits of the checksum.
const CHECK_DIGITS: usize = 8;

/// A token above it is none, in bytes.
const TOKEN_BYTES_MAX: usize = 256;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A credential.
    Credential(CredentialKind),
    /// A code that is exchanged for an executor's credential, once.
    Enrolment,
}

impl TokenKind {
    fn prefix(self) -> &'static str {
        match self {
            TokenKind::Credential(CredentialKind::Executor) => "fstx",
            TokenKind::Credential(CredentialKind::Harness) => "fsth",
            TokenKind::Credential(CredentialKind::Admin) => "fsta",
            TokenKind::Enrolment => "fste",
        }
    }
}

/// A token that was just made, the only time its text is known.
pub struct NewToken {
    /// What to hand over.
    pub text: String,
    /// Names it.
    pub kid: String,
    /// What to keep.
    pub digest: Digest,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewToken({})", self.kid)
    }
}

/// The system has no randomness.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system has no randomness")]
pub struct NoRandomness;

/// Random bytes as hexadecimal digits.
pub fn random_hex<const N: usize>() -> Result<String, NoRandomness> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(hex(&bytes))
}

/// What the store keeps of a secret.
pub fn digest(secret: &str) -> Digest {
    Sha256::digest(secret.as_bytes()).into()
}

impl NewToken {
    /// Makes one.
    pub fn make(kind: TokenKind) -> Result<NewToken, NoRandomness> {
        let kid = random_hex::<KID_BYTES>()?;
        let secret = random_hex::<SECRET_BYTES>()?;
        let body = format!("{}_{kid}_{secret}", kind.prefix());
        let text = format!("{body}_{}", check(&body));
        Ok(NewToken {
            digest: digest(&text),
            text,
            kid,
        })
    }
}

/// The key id in a token, if it is one of ours.
pub(crate) fn kid(token: &str) -> Option<&str> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (body, checksum) = token.rsplit_once('_')?;
    if checksum != check(body) {
        return None;
    }
    body.split('_').nth(1)
}

fn check(body: &str) -> String {
    let mut check = hex(&digest(body));
    check.truncate(CHECK_DIGITS);
    check
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_key_and_nothing_else_does() {
        let made = NewToken::make(TokenKind::Credential(CredentialKind::Executor)).unwrap();
        assert!(made.text.starts_with("fstx_"));
        assert_eq!(kid(&made.text), Some(made.kid.as_str()));
        assert_eq!(digest(&made.text), made.digest);
        let mut wrong = made.text.clone();
        wrong.pop();
        assert_eq!(kid(&wrong), None);
        for wrong in ["", "fstx", "_", "fstx_1_2_3", &"x_".repeat(1000)] {
            assert_eq!(kid(wrong), None);
        }
    }
}
