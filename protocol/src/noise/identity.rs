//! A static key of one end, and how it is kept.

use clatter::KeyPair;
use clatter::bytearray::{ByteArray, HeapArray, SensitiveByteArray};
use clatter::crypto::rng::DefaultRng;
use clatter::traits::{Dh, Kem};

use super::suite::{MLKEM768_SECRET_BYTES, MlKem768, X25519};
use crate::relay::{MLKEM768_BYTES, PublicKey, X25519_BYTES};

/// What a kept identity begins with, so that nothing else is taken for one.
const MAGIC: &[u8] = b"farstep-identity-1\n";

/// Where the public key lies inside an ML-KEM-768 decapsulation key (FIPS 203, section 7.1).
const PUBLIC_AT: usize = 1152;

/// A static key pair: who one end is.
#[derive(Clone)]
pub struct Identity {
    pub(super) dh: KeyPair<[u8; X25519_BYTES], SensitiveByteArray<[u8; X25519_BYTES]>>,
    pub(super) kem:
        KeyPair<HeapArray<MLKEM768_BYTES>, SensitiveByteArray<HeapArray<MLKEM768_SECRET_BYTES>>>,
    public: PublicKey,
}

/// Why there is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The system has no randomness.
    #[error("no key could be made")]
    Generate,
    /// Not what [`Identity::to_bytes`] made.
    #[error("the content is no identity")]
    Content,
}

impl Identity {
    /// A new one.
    pub fn generate() -> Result<Identity, IdentityError> {
        let rng = &mut DefaultRng;
        let dh = X25519::genkey_rng(rng).map_err(|_| IdentityError::Generate)?;
        let kem = MlKem768::genkey_rng(rng).map_err(|_| IdentityError::Generate)?;
        Identity::of(dh.secret.clone(), kem.secret.clone())
    }

    /// What can be shown to everybody.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// How it is kept. Whoever has these bytes is this end.
    pub fn to_bytes(&self) -> Vec<u8> {
        [MAGIC, self.dh.secret.as_slice(), self.kem.secret.as_slice()].concat()
    }

    /// Takes up what was kept.
    pub fn from_bytes(bytes: &[u8]) -> Result<Identity, IdentityError> {
        let keys = bytes.strip_prefix(MAGIC).ok_or(IdentityError::Content)?;
        let split = keys.split_at_checked(X25519_BYTES);
        let (dh, kem) = split.ok_or(IdentityError::Content)?;
        if kem.len() != MLKEM768_SECRET_BYTES {
            return Err(IdentityError::Content);
        }
        Identity::of(
            SensitiveByteArray::from_slice(dh),
            SensitiveByteArray::from_slice(kem),
        )
    }

    fn of(
        dh: SensitiveByteArray<[u8; X25519_BYTES]>,
        kem: SensitiveByteArray<HeapArray<MLKEM768_SECRET_BYTES>>,
    ) -> Result<Identity, IdentityError> {
        let public = X25519::pubkey(&dh);
        let inside = kem.as_slice().get(PUBLIC_AT..PUBLIC_AT + MLKEM768_BYTES);
        let inside: [u8; MLKEM768_BYTES] = inside
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(IdentityError::Content)?;
        Ok(Identity {
            dh: KeyPair::new(public, dh),
            kem: KeyPair::new(HeapArray::from_slice(&inside), kem),
            public: PublicKey::new(public, Box::new(inside)),
        })
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Nothing of the secret.
        f.debug_tuple("Identity").field(&self.public).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_the_same_end_again() {
        let identity = Identity::generate().unwrap();
        let again = Identity::from_bytes(&identity.to_bytes()).unwrap();
        assert_eq!(again.public(), identity.public());
        assert_ne!(
            Identity::generate().unwrap().public(),
            identity.public(),
            "two keys are the same"
        );
        let shown = format!("{identity:?}");
        assert_eq!(
            shown,
            format!("Identity({})", identity.public().fingerprint())
        );
    }

    #[test]
    fn anything_else_is_no_identity() {
        let bytes = Identity::generate().unwrap().to_bytes();
        for wrong in [
            &bytes[1..],
            &bytes[..bytes.len() - 1],
            &[bytes.as_slice(), b"\n"].concat(),
            b"",
        ] {
            assert_eq!(
                Identity::from_bytes(wrong).unwrap_err(),
                IdentityError::Content
            );
        }
    }
}
