//! A stream of bytes on its way to a terminal.

use crate::text::for_terminal;

/// Makes output harmless piece by piece; a character may be cut between two pieces.
#[derive(Debug, Default)]
pub struct TerminalFilter {
    /// The beginning of a character: at most three bytes.
    cut: Vec<u8>,
}

impl TerminalFilter {
    pub fn pass(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.cut);
        all.extend_from_slice(bytes);
        if let Err(error) = std::str::from_utf8(&all) {
            // No length means that more bytes may still make it a character.
            let open = all
                .utf8_chunks()
                .last()
                .map_or(0, |chunk| chunk.invalid().len());
            let ends_open = error.error_len().is_none()
                || all.utf8_chunks().last().is_some_and(|chunk| {
                    std::str::from_utf8(chunk.invalid())
                        .is_err_and(|error| error.error_len().is_none())
                });
            if ends_open {
                self.cut = all.split_off(all.len() - open);
            }
        }
        for_terminal(&String::from_utf8_lossy(&all)).into_owned()
    }

    /// What was left waiting for its end.
    pub fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.cut);
        for_terminal(&String::from_utf8_lossy(&rest)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_cut_between_two_pieces_is_put_together() {
        let mut filter = TerminalFilter::default();
        let [a, b, c] = "€".as_bytes() else {
            unreachable!()
        };
        let shown = [
            filter.pass(&[b'x', *a]),
            filter.pass(&[*b]),
            filter.pass(&[*c, b'y']),
        ];
        assert_eq!(shown.concat(), "x€y");
        assert_eq!(filter.finish(), "");
    }

    #[test]
    fn bytes_that_never_become_a_character_are_replaced() {
        let mut filter = TerminalFilter::default();
        assert_eq!(filter.pass(b"a\xffb\xe2\x82"), "a\u{fffd}b");
        assert_eq!(filter.finish(), "\u{fffd}");
    }

    #[test]
    fn sequences_that_steer_a_terminal_do_not_pass() {
        let mut filter = TerminalFilter::default();
        let shown = filter.pass(b"a\x1b]52;c;eA==\x07\n");
        assert!(
            !shown.contains(['\u{1b}', '\u{7}']) && shown.ends_with('\n'),
            "{shown:?}"
        );
    }
}
