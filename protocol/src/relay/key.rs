//! The public key of one end, as the registry's JSON carries it.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// How the JSON names the primitives. The handshake's own name for itself differs.
pub const SUITE: &str = "Noise_hybridIK_X25519+MLKEM768_AESGCM_SHA256";

/// An X25519 public key, in bytes.
pub const X25519_BYTES: usize = 32;

/// An ML-KEM-768 encapsulation key, in bytes.
pub const MLKEM768_BYTES: usize = 1184;

/// What a fingerprint begins with.
const FINGERPRINT_PREFIX: &str = "fst1:";

/// Characters of a fingerprint behind its prefix: 130 bits.
const FINGERPRINT_CHARACTERS: usize = 26;

/// The alphabet of RFC 4648, in lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The static public key of an executor or an orchestrator.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    x25519: [u8; X25519_BYTES],
    mlkem768: Box<[u8; MLKEM768_BYTES]>,
}

/// Why something is no public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Another suite.
    #[error("suite {0:?} is not supported; the only one is {SUITE}")]
    Suite(String),
    /// Not base64 of the right length.
    #[error("`{field}` must be {bytes} bytes in padded base64")]
    Field {
        /// Which of the two.
        field: &'static str,
        /// How many it must have.
        bytes: usize,
    },
}

/// Whether a text could be a [`PublicKey::fingerprint`].
pub fn is_fingerprint(text: &str) -> bool {
    let digits = text.strip_prefix(FINGERPRINT_PREFIX).unwrap_or_default();
    digits.len() == FINGERPRINT_CHARACTERS && digits.bytes().all(|byte| BASE32.contains(&byte))
}

impl PublicKey {
    /// From its two parts.
    pub fn new(x25519: [u8; X25519_BYTES], mlkem768: Box<[u8; MLKEM768_BYTES]>) -> PublicKey {
        PublicKey { x25519, mlkem768 }
    }

    /// The X25519 part.
    pub fn x25519(&self) -> &[u8; X25519_BYTES] {
        &self.x25519
    }

    /// The ML-KEM-768 part.
    pub fn mlkem768(&self) -> &[u8; MLKEM768_BYTES] {
        &self.mlkem768
    }

    /// What people compare and configurations pin: `fst1:` and 26 characters of base32.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::new()
            .chain_update(SUITE)
            .chain_update(self.x25519)
            .chain_update(self.mlkem768.as_slice())
            .finalize();
        let mut text = FINGERPRINT_PREFIX.to_owned();
        for bit in (0..FINGERPRINT_CHARACTERS).map(|index| 5 * index) {
            let word = u16::from_be_bytes([digest[bit / 8], digest[bit / 8 + 1]]);
            let five = usize::from(word >> (11 - bit % 8) & 31);
            text.push(char::from(BASE32[five]));
        }
        text
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

/// Exactly three fields: peers refuse any other.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    suite: String,
    x25519_public_key: String,
    mlkem768_public_key: String,
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let encode = |bytes: &[u8]| base64_simd::STANDARD.encode_to_string(bytes);
        Json {
            suite: SUITE.to_owned(),
            x25519_public_key: encode(&self.x25519),
            mlkem768_public_key: encode(self.mlkem768.as_slice()),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        let json = Json::deserialize(deserializer)?;
        PublicKey::try_from(json).map_err(D::Error::custom)
    }
}

impl TryFrom<Json> for PublicKey {
    type Error = KeyError;

    fn try_from(json: Json) -> Result<PublicKey, KeyError> {
        if json.suite != SUITE {
            let suite = json.suite.chars().take(64).collect();
            return Err(KeyError::Suite(suite));
        }
        Ok(PublicKey {
            x25519: decoded("x25519_public_key", &json.x25519_public_key)?,
            mlkem768: Box::new(decoded("mlkem768_public_key", &json.mlkem768_public_key)?),
        })
    }
}

fn decoded<const N: usize>(field: &'static str, text: &str) -> Result<[u8; N], KeyError> {
    let wrong = KeyError::Field { field, bytes: N };
    let bytes = base64_simd::STANDARD.decode_to_vec(text);
    let bytes = bytes.map_err(|_| wrong.clone())?;
    bytes.try_into().map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key() -> PublicKey {
        PublicKey::new([7; X25519_BYTES], Box::new([9; MLKEM768_BYTES]))
    }

    #[test]
    fn the_json_has_three_fields_and_takes_no_other() {
        let json = serde_json::to_value(key()).unwrap();
        assert_eq!(json["suite"], SUITE);
        assert_eq!(json.as_object().unwrap().len(), 3);
        assert_eq!(
            serde_json::from_value::<PublicKey>(json.clone()).unwrap(),
            key()
        );
        let refused = |change: fn(&mut serde_json::Value)| {
            let mut json = json.clone();
            change(&mut json);
            serde_json::from_value::<PublicKey>(json)
                .unwrap_err()
                .to_string()
        };
        let suite = refused(|json| json["suite"] = json!("Noise_IK"));
        assert!(suite.contains("Noise_IK"), "{suite}");
        let short = refused(|json| json["x25519_public_key"] = json!("AAAA"));
        assert!(short.contains("x25519_public_key"), "{short}");
        let surplus = refused(|json| json["more"] = json!(1));
        assert!(surplus.contains("more"), "{surplus}");
    }

    #[test]
    fn a_fingerprint_is_half_of_a_sha_256_in_base32() {
        assert!(is_fingerprint(&key().fingerprint()));
        for wrong in [
            "",
            "fst1:",
            "fst1:A",
            &"a".repeat(31),
            &key().fingerprint()[1..],
        ] {
            assert!(!is_fingerprint(wrong), "{wrong}");
        }
        // From Python: base64.b32encode(sha256(suite + x25519 + mlkem768)).lower()[:26]
        assert_eq!(key().fingerprint(), "fst1:ds2bl46fuoudkacllpcqgdbau3");
    }
}
