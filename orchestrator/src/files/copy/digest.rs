//! SHA-256 of what is copied.

use sha2::{Digest as _, Sha256};

use farstep_environments::Block;

/// Fed to a digest for zeros nobody holds.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A digest of everything so far, in order.
#[derive(Clone, Default)]
pub(super) struct Running(Sha256);

impl Running {
    pub(super) fn take(&mut self, block: &Block) {
        match block {
            Block::Bytes(bytes) => self.0.update(bytes),
            Block::Zeros(count) => {
                let mut left = *count;
                while left > 0 {
                    let piece = ZEROS.get(..left).unwrap_or(&ZEROS);
                    self.0.update(piece);
                    left -= piece.len();
                }
            }
        }
    }

    pub(super) fn take_bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hexadecimal digits.
    pub(super) fn shown(&self) -> String {
        let digest = self.0.clone().finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Running(..)")
    }
}

/// The digest of some bytes.
pub(super) fn of(bytes: &[u8]) -> String {
    let mut running = Running::default();
    running.take_bytes(bytes);
    running.shown()
}

/// Whether a text is a digest, so that nothing else is ever compared with one.
pub(super) fn is_one(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_count_as_the_bytes_they_are() {
        let mut zeros = Running::default();
        zeros.take(&Block::Zeros(200_000));
        zeros.take(&Block::Bytes(b"x".as_slice().into()));
        assert_eq!(
            zeros.shown(),
            of(&[vec![0; 200_000], b"x".to_vec()].concat())
        );
        assert!(is_one(&zeros.shown()) && !is_one("z") && !is_one(""));
    }
}
