//! The primitives of the suite, as the handshake wants them.
//!
//! `clatter` brings its own, of RustCrypto. These hand the same ones over to the library that does
//! our TLS: it is in every program already, and several times as fast.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use clatter::KeyPair;
use clatter::bytearray::{ByteArray, HeapArray, SensitiveByteArray};
use clatter::error::{CipherError, CipherResult, DhError, DhResult, KemError, KemResult};
use clatter::traits::{Cipher, CryptoComponent, Dh, Hash, Kem, Rng};

use crate::relay::{MLKEM768_BYTES, X25519_BYTES};

/// The bytes behind each ciphertext.
pub(super) const TAG_BYTES: usize = 16;

/// An ML-KEM-768 decapsulation key.
pub(super) const MLKEM768_SECRET_BYTES: usize = 2400;

const MLKEM768_CIPHERTEXT_BYTES: usize = 1088;

#[derive(Clone)]
pub(super) struct X25519;

impl CryptoComponent for X25519 {
    fn name() -> &'static str {
        "25519"
    }
}

impl Dh for X25519 {
    type PrivateKey = SensitiveByteArray<[u8; X25519_BYTES]>;
    type PubKey = [u8; X25519_BYTES];
    type Output = SensitiveByteArray<[u8; 32]>;

    fn genkey_rng<R: Rng>(_: &mut R) -> DhResult<KeyPair<Self::PubKey, Self::PrivateKey>> {
        generate().ok_or(DhError::KeyGeneration)
    }

    fn pubkey(secret: &Self::PrivateKey) -> Self::PubKey {
        let key = PrivateKey::from_private_key(&agreement::X25519, secret.as_slice());
        let public = key.ok().and_then(|key| public(&key));
        // Any 32 bytes are a private key, so there always is one.
        public.unwrap_or_default()
    }

    fn dh(secret: &Self::PrivateKey, public: &Self::PubKey) -> DhResult<Self::Output> {
        let key = PrivateKey::from_private_key(&agreement::X25519, secret.as_slice())
            .map_err(|_| DhError::KeyGeneration)?;
        let peer = UnparsedPublicKey::new(&agreement::X25519, public);
        agreement::agree(&key, peer, DhError::KeyGeneration, |shared| {
            Ok(Self::Output::from_slice(shared))
        })
    }
}

fn generate() -> Option<KeyPair<[u8; X25519_BYTES], SensitiveByteArray<[u8; X25519_BYTES]>>> {
    let key = PrivateKey::generate(&agreement::X25519).ok()?;
    let secret: Curve25519SeedBin<'_> = key.as_be_bytes().ok()?;
    let secret = SensitiveByteArray::from_slice(secret.as_ref());
    Some(KeyPair::new(public(&key)?, secret))
}

fn public(key: &PrivateKey) -> Option<[u8; X25519_BYTES]> {
    key.compute_public_key().ok()?.as_ref().try_into().ok()
}

#[derive(Clone)]
pub(super) struct MlKem768;

impl CryptoComponent for MlKem768 {
    fn name() -> &'static str {
        "MLKEM768"
    }
}

impl Kem for MlKem768 {
    type SecretKey = SensitiveByteArray<HeapArray<MLKEM768_SECRET_BYTES>>;
    type PubKey = HeapArray<MLKEM768_BYTES>;
    type Ct = HeapArray<MLKEM768_CIPHERTEXT_BYTES>;
    type Ss = SensitiveByteArray<[u8; 32]>;

    fn genkey_rng<R: Rng>(_: &mut R) -> KemResult<KeyPair<Self::PubKey, Self::SecretKey>> {
        let failed = |_| KemError::KeyGeneration;
        let key = DecapsulationKey::generate(&ML_KEM_768).map_err(failed)?;
        let public = key.encapsulation_key().map_err(failed)?;
        let public = public.key_bytes().map_err(failed)?;
        let secret = key.key_bytes().map_err(failed)?;
        Ok(KeyPair::new(
            Self::PubKey::from_slice(public.as_ref()),
            Self::SecretKey::from_slice(secret.as_ref()),
        ))
    }

    fn encapsulate<R: Rng>(public: &[u8], _: &mut R) -> KemResult<(Self::Ct, Self::Ss)> {
        let key = EncapsulationKey::new(&ML_KEM_768, public).map_err(|_| KemError::Input)?;
        let (ciphertext, shared) = key.encapsulate().map_err(|_| KemError::Encapsulation)?;
        Ok((
            Self::Ct::from_slice(ciphertext.as_ref()),
            Self::Ss::from_slice(shared.as_ref()),
        ))
    }

    fn decapsulate(ciphertext: &[u8], secret: &[u8]) -> KemResult<Self::Ss> {
        let key = DecapsulationKey::new(&ML_KEM_768, secret).map_err(|_| KemError::Input)?;
        let shared = key.decapsulate(Ciphertext::from(ciphertext));
        let shared = shared.map_err(|_| KemError::Decapsulation)?;
        Ok(Self::Ss::from_slice(shared.as_ref()))
    }
}

#[derive(Clone)]
pub(super) struct AesGcm;

impl CryptoComponent for AesGcm {
    fn name() -> &'static str {
        "AESGCM"
    }
}

/// Four zero bytes and the counter, the most significant byte first.
fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

impl AesGcm {
    fn key(key: &<Self as Cipher>::Key, failed: CipherError) -> CipherResult<LessSafeKey> {
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice());
        key.map(LessSafeKey::new).map_err(|_| failed)
    }
}

/// The callers are `clatter`'s, which keep to the lengths; what does not fit is an error all the same.
impl Cipher for AesGcm {
    type Key = SensitiveByteArray<[u8; 32]>;

    fn tag_len() -> usize {
        TAG_BYTES
    }

    fn encrypt(
        key: &Self::Key,
        counter: u64,
        ad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> CipherResult<()> {
        let text = out.get_mut(..plaintext.len());
        text.ok_or(CipherError::Encrypt)?.copy_from_slice(plaintext);
        Self::encrypt_in_place(key, counter, ad, out, plaintext.len()).map(|_| ())
    }

    fn encrypt_in_place(
        key: &Self::Key,
        counter: u64,
        ad: &[u8],
        in_out: &mut [u8],
        length: usize,
    ) -> CipherResult<usize> {
        let failed = CipherError::Encrypt;
        let (text, rest) = in_out.split_at_mut_checked(length).ok_or(failed)?;
        let room = rest.get_mut(..TAG_BYTES).ok_or(CipherError::Encrypt)?;
        let tag = Self::key(key, CipherError::Encrypt)?
            .seal_in_place_separate_tag(nonce(counter), Aad::from(ad), text)
            .map_err(|_| CipherError::Encrypt)?;
        room.copy_from_slice(tag.as_ref());
        Ok(length + TAG_BYTES)
    }

    fn decrypt(
        key: &Self::Key,
        counter: u64,
        ad: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> CipherResult<()> {
        let failed = CipherError::Decrypt;
        let length = ciphertext.len().checked_sub(TAG_BYTES).ok_or(failed)?;
        let (text, tag) = ciphertext.split_at(length);
        let out = out.get_mut(..length).ok_or(CipherError::Decrypt)?;
        Self::key(key, CipherError::Decrypt)?
            .open_separate_gather(nonce(counter), Aad::from(ad), text, tag, out)
            .map_err(|_| CipherError::Decrypt)
    }

    fn decrypt_in_place(
        key: &Self::Key,
        counter: u64,
        ad: &[u8],
        in_out: &mut [u8],
        length: usize,
    ) -> CipherResult<usize> {
        let sealed = in_out.get_mut(..length).ok_or(CipherError::Decrypt)?;
        let text = Self::key(key, CipherError::Decrypt)?
            .open_in_place(nonce(counter), Aad::from(ad), sealed)
            .map_err(|_| CipherError::Decrypt)?;
        Ok(text.len())
    }
}

#[derive(Clone)]
pub(super) struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Sha256 {
        Sha256(digest::Context::new(&digest::SHA256))
    }
}

impl CryptoComponent for Sha256 {
    fn name() -> &'static str {
        "SHA256"
    }
}

impl Hash for Sha256 {
    type Block = [u8; 64];
    type Output = SensitiveByteArray<[u8; 32]>;

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(self) -> Self::Output {
        Self::Output::from_slice(self.0.finish().as_ref())
    }
}
