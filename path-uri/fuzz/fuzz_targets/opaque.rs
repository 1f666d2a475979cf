//! The wrapper around bytes that no URI spells, from both of its sides.

#![no_main]

use farstep_path_uri::{Convention, PathUri};
use farstep_path_uri_fuzz::{check_pair, check_value};
use libfuzzer_sys::fuzz_target;

const NAMESPACE: &str = "file:///%00/bad/path/";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fuzz_target!(|data: &[u8]| {
    // As a payload that a peer spelled.
    if let Ok(spelled) = std::str::from_utf8(data) {
        let text = format!("{NAMESPACE}{spelled}");
        let parsed = PathUri::parse(&text);
        if let Ok(uri) = &parsed {
            check_value(uri);
        }
        if !spelled.is_empty() && spelled.bytes().all(|byte| ALPHABET.contains(&byte)) {
            assert_eq!(parsed.is_ok(), is_canonical(spelled), "{spelled}");
            assert!(parsed.is_err() || PathUri::parse_strict(&text).is_err());
        }
    }
    // As bytes that a peer wrapped.
    if !data.is_empty()
        && let Ok(uri) = PathUri::parse(&format!("{NAMESPACE}{}", encode(data)))
    {
        assert!(uri.is_opaque() && uri.parent().is_none() && uri.depth().is_none());
        check_value(&uri);
        // Whoever opens it opens these very bytes, or nothing.
        if let Ok(bytes) = uri.to_posix_bytes() {
            assert_eq!(bytes, data);
        }
        if let Ok(units) = uri.to_windows_wide() {
            assert_eq!(
                units
                    .iter()
                    .flat_map(|unit| unit.to_le_bytes())
                    .collect::<Vec<_>>(),
                data
            );
        }
    }
    // As host paths.
    if let Ok(uri) = PathUri::from_posix_bytes(data) {
        assert_eq!(uri.convention(), Some(Convention::Posix));
        check_value(&uri);
        check_pair(&uri, &uri);
        let bytes = uri.to_posix_bytes().expect("a host path is one again");
        let again = PathUri::from_posix_bytes(&bytes).expect("and its URI too");
        assert_eq!(again.as_str(), uri.as_str());
    }
    let units: Vec<u16> = data
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    if let Ok(uri) = PathUri::from_windows_wide(&units) {
        assert_eq!(uri.convention(), Some(Convention::Windows));
        check_value(&uri);
    }
});

fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0_u32, |bits, &byte| (bits << 8) | u32::from(byte))
            << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            out.push(char::from(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63]));
        }
    }
    out
}

/// Whether text of the alphabet is the one encoding of some bytes: no lone character at its end,
/// and no bits left over.
fn is_canonical(text: &str) -> bool {
    let last = text
        .bytes()
        .last()
        .and_then(|byte| ALPHABET.iter().position(|&letter| letter == byte));
    match (text.len() % 4, last) {
        (0, _) => true,
        (2, Some(value)) => value % 16 == 0,
        (3, Some(value)) => value % 4 == 0,
        _ => false,
    }
}
