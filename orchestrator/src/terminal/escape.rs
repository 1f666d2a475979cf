//! The keys that are for us and not for the far side: `~.` at the beginning of a line, as in `ssh`.
//!
//! In raw mode every key belongs to the other program, so without them nobody could leave one that
//! hangs, or a link that does.

/// What was typed, after the keys that were for us.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// For the far side.
    Keys(Vec<u8>),
    /// Somebody wants to leave; what was typed before is of no interest to anybody.
    Leave,
}

/// Looks for the keys that are for us.
#[derive(Debug)]
pub struct Escape {
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    /// Behind a `~` that began a line and was not passed on yet.
    Tilde,
    Line,
}

impl Default for Escape {
    fn default() -> Escape {
        Escape { at: At::LineStart }
    }
}

impl Escape {
    /// `~.` leaves, `~~` is one `~`; anything else behind a `~` is passed on together with it.
    pub fn pass(&mut self, keys: &[u8]) -> Typed {
        let mut passed = Vec::with_capacity(keys.len() + 1);
        for &key in keys {
            let is_tilde = key == b'~';
            match (self.at, key) {
                (At::Tilde, b'.') => return Typed::Leave,
                (At::LineStart, b'~') => {
                    self.at = At::Tilde;
                    continue;
                }
                (At::Tilde, _) if !is_tilde => passed.extend([b'~', key]),
                _ => passed.push(key),
            }
            self.at = match key {
                b'\r' | b'\n' => At::LineStart,
                _ => At::Line,
            };
        }
        Typed::Keys(passed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn typed(pieces: &[&str]) -> Option<String> {
        let mut escape = Escape::default();
        let mut all = Vec::new();
        for piece in pieces {
            match escape.pass(piece.as_bytes()) {
                Typed::Keys(keys) => all.extend(keys),
                Typed::Leave => return None,
            }
        }
        Some(String::from_utf8(all).unwrap())
    }

    #[test]
    fn a_tilde_and_a_point_at_the_beginning_of_a_line_leave() {
        for pieces in [&["~."][..], &["ls\r~."], &["ls\r", "~", "."], &["~~\n~."]] {
            assert_eq!(typed(pieces), None, "{pieces:?}");
        }
    }

    #[test]
    fn anything_else_is_passed_on() {
        for (pieces, passed) in [
            (&["echo ~."][..], "echo ~."),
            (&["~~."], "~."),
            (&["~", "x"], "~x"),
            (&["~\r", "~"], "~\r"),
            (&[" ~.\r"], " ~.\r"),
            (&["\u{3}\u{4}\u{1b}[A"], "\u{3}\u{4}\u{1b}[A"),
        ] {
            assert_eq!(typed(pieces).as_deref(), Some(passed), "{pieces:?}");
        }
    }

    proptest! {
        #[test]
        fn what_has_no_tilde_is_unchanged(keys in proptest::collection::vec(any::<u8>(), 0..64)) {
            let keys: Vec<u8> = keys.into_iter().filter(|key| *key != b'~').collect();
            prop_assert_eq!(Escape::default().pass(&keys), Typed::Keys(keys));
        }
    }
}
