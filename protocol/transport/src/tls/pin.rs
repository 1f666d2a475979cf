//! The fingerprint of a server's key.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use sha2::{Digest as _, Sha256};

/// Bytes of a SHA-256.
const BYTES: usize = 32;

/// The SHA-256 of a certificate's public key (its SubjectPublicKeyInfo). It stays the same when a
/// certificate is renewed for the same key.
///
/// Shown in base64, as other programs show it. Read from that or from hexadecimal digits, with or
/// without `sha256/` or `sha256//` in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin([u8; BYTES]);

/// A text that is no [`Pin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pin is the SHA-256 of a public key, as 44 characters of base64 or 64 of hexadecimal")]
pub struct PinError;

impl Pin {
    /// Of the key in `certificate`; none when that cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Pin> {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        let key = parsed.subject_public_key_info();
        Some(Pin(Sha256::digest(&key).into()))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64_simd::STANDARD.encode_to_string(self.0))
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Pin, PinError> {
        let digest = text.strip_prefix("sha256/").unwrap_or(text);
        let digest = digest.strip_prefix('/').unwrap_or(digest);
        let bytes = match digest.len() {
            64 => from_hex(digest),
            _ => base64_simd::STANDARD.decode_to_vec(digest).ok(),
        };
        let bytes = bytes.ok_or(PinError)?;
        bytes.try_into().map(Pin).map_err(|_| PinError)
    }
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pairs = digits.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_from_each_of_its_spellings_and_shown_in_one() {
        let base64 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            base64.to_owned(),
            hex.to_owned(),
            hex.to_uppercase(),
            format!("sha256/{base64}"),
            format!("sha256//{base64}"),
        ] {
            let pin: Pin = text.parse().unwrap();
            assert_eq!(pin.to_string(), base64, "{text}");
        }
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let long = "A".repeat(64);
        for text in [
            "",
            "abc",
            "sha1/47DEQpj8",
            "é",
            &"g".repeat(64),
            &long[..60],
        ] {
            assert_eq!(text.parse::<Pin>(), Err(PinError), "{text}");
        }
    }
}
