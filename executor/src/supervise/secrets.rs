//! What must not be printed, and taking it out of what a program prints.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

/// Credentials that are remembered. Beyond it the oldest, which was replaced as often, is forgotten.
const REMEMBERED_MAX: usize = 8;

/// A shorter text occurs in anything, and is no secret that anybody kept.
const SECRET_BYTES_MIN: usize = 8;

/// What stands where a credential stood.
const MASK: &[u8] = b"[credential]";

/// A line without an end is passed on in pieces of this size.
const HELD_MAX: usize = 64 * 1024;

/// The credentials that were handed over.
#[derive(Clone, Default)]
pub(super) struct Secrets(Arc<Mutex<VecDeque<Arc<Zeroizing<String>>>>>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

impl Secrets {
    /// From now on this is not to be seen.
    pub(super) fn add(&self, token: &Arc<Zeroizing<String>>) {
        if token.len() < SECRET_BYTES_MIN {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(token) {
            return;
        }
        known.push_back(Arc::clone(token));
        if known.len() > REMEMBERED_MAX {
            known.pop_front();
        }
    }

    /// The longest first, because another may be its beginning.
    fn known(&self) -> Vec<Arc<Zeroizing<String>>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known: Vec<_> = known.iter().cloned().collect();
        known.sort_by_key(|text| std::cmp::Reverse(text.len()));
        known
    }
}

/// One output on its way, line by line, so that no credential passes in two halves.
#[derive(Debug)]
pub(super) struct Masked {
    secrets: Secrets,
    held: Vec<u8>,
}

impl Masked {
    pub(super) fn new(secrets: Secrets) -> Masked {
        Masked {
            secrets,
            held: Vec::new(),
        }
    }

    /// What may be seen now that this has come too.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let before = self.held.len();
        self.held.extend_from_slice(bytes);
        let ends = bytes.iter().rposition(|byte| *byte == b'\n');
        let whole = match ends {
            Some(at) => before + at + 1,
            None if self.held.len() >= HELD_MAX => {
                self.mask();
                // What is left may be the beginning of one.
                let longest = self.secrets.known().first().map_or(0, |known| known.len());
                self.held.len().saturating_sub(longest)
            }
            None => return Vec::new(),
        };
        let rest = self.held.split_off(whole);
        self.mask();
        std::mem::replace(&mut self.held, rest)
    }

    /// The rest, when nothing more comes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.mask();
        self.held
    }

    fn mask(&mut self) {
        for secret in self.secrets.known() {
            let secret = secret.as_bytes();
            let mut from = 0;
            while let Some(at) = find(self.held.get(from..).unwrap_or_default(), secret) {
                let at = from + at;
                self.held
                    .splice(at..at + secret.len(), MASK.iter().copied());
                from = at + MASK.len();
            }
        }
    }
}

fn find(text: &[u8], secret: &[u8]) -> Option<usize> {
    text.windows(secret.len()).position(|part| part == secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Arc<Zeroizing<String>> {
        Arc::new(Zeroizing::new(text.to_owned()))
    }

    fn masked(secrets: &[&str]) -> Masked {
        let known = Secrets::default();
        for text in secrets {
            known.add(&secret(text));
        }
        Masked::new(known)
    }

    /// All that comes out when the text comes in pieces of this size.
    fn passed(mut masked: Masked, text: &[u8], piece: usize) -> Vec<u8> {
        let mut seen = Vec::new();
        for piece in text.chunks(piece) {
            seen.extend(masked.pass(piece));
        }
        seen.extend(masked.finish());
        seen
    }

    #[test]
    fn no_credential_passes_however_the_output_is_cut() {
        let text = b"with fstx_secret_1 and fstx_secret_2fstx_secret_1\nno end: fstx_secret_2";
        let expected: &[u8] =
            b"with [credential] and [credential][credential]\nno end: [credential]";
        for piece in 1..text.len() {
            let masked = masked(&["fstx_secret_1", "fstx_secret_2"]);
            assert_eq!(passed(masked, text, piece), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn a_line_that_never_ends_is_held_to_a_bound_and_masked_at_its_edges() {
        let mut text = vec![b'x'; 3 * HELD_MAX];
        let secret = b"fstx_secret_1";
        for at in [
            0,
            HELD_MAX - 5,
            2 * HELD_MAX - 1,
            3 * HELD_MAX - secret.len(),
        ] {
            text[at..at + secret.len()].copy_from_slice(secret);
        }
        for piece in [1, 1000, HELD_MAX, text.len()] {
            let seen = passed(masked(&["fstx_secret_1"]), &text, piece);
            assert_eq!(find(&seen, secret), None);
            let lost = 4 * (secret.len() - MASK.len());
            assert_eq!(seen.len(), text.len() - lost);
        }
        let mut masked = masked(&["fstx_secret_1"]);
        for _ in 0..100 {
            masked.pass(&[b'x'; 1000]);
            assert!(masked.held.len() < HELD_MAX);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_no_word_of_everyday() {
        let known = Secrets::default();
        known.add(&secret("a"));
        assert!(known.known().is_empty());
        for number in 0..20 {
            known.add(&secret(&format!("credential-{number}")));
            known.add(&secret(&format!("credential-{number}")));
        }
        let kept: Vec<_> = known.known().iter().map(|text| text.to_string()).collect();
        let newest: Vec<_> = (12..20)
            .map(|number| format!("credential-{number}"))
            .collect();
        assert_eq!(kept, newest);
    }
}
