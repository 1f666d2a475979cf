//! What must not reach a terminal even when it is lent (`security` SR-45).
//!
//! A lent terminal is steered by the far side: that is what it is lent for. A few sequences reach
//! beyond it, though: they write the clipboard, or make the terminal type an answer that its owner
//! never typed. Those are taken out, and everything else passes byte for byte.

/// Sequences longer than this are passed on: none of those that matter are.
const DECIDED_BY: usize = 32;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
/// Asks for the answerback.
const ENQ: u8 = 0x05;
/// In front of a C1 control in UTF-8.
const C1: u8 = 0xc2;

/// Takes out of a stream what reaches beyond a lent terminal. It may be cut anywhere.
#[derive(Debug, Default)]
pub struct AttachFilter {
    state: State,
    /// The beginning of a sequence about which nothing is decided yet.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// Behind what may introduce a sequence.
    Introducer,
    /// In a sequence of this kind, at its beginning.
    Begun(Kind),
    /// In a string that is passed on until it ends.
    String,
    /// In one that is taken out.
    Taken,
    /// In one that is taken out, behind what may be the first half of its end.
    TakenEnd,
    /// In one that is passed on, the same.
    StringEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Control sequences: `ESC [`.
    Control,
    /// Commands to the system: `ESC ]`.
    System,
    /// Strings for the device: `ESC P`.
    Device,
}

impl AttachFilter {
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.step(byte, &mut out);
        }
        out
    }

    /// What was held back because more might have followed.
    pub fn finish(&mut self) -> Vec<u8> {
        self.state = State::Text;
        std::mem::take(&mut self.held)
    }

    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            State::Text => match byte {
                ENQ => {}
                ESC | C1 => {
                    self.held.push(byte);
                    self.state = State::Introducer;
                }
                _ => out.push(byte),
            },
            State::Introducer => self.introduced(byte, out),
            State::Begun(kind) => self.begun(kind, byte, out),
            State::String | State::StringEnd => {
                out.push(byte);
                self.state = after(
                    byte,
                    self.state == State::StringEnd,
                    State::StringEnd,
                    State::String,
                );
            }
            State::Taken | State::TakenEnd => {
                self.state = after(
                    byte,
                    self.state == State::TakenEnd,
                    State::TakenEnd,
                    State::Taken,
                );
            }
        }
    }

    fn introduced(&mut self, byte: u8, out: &mut Vec<u8>) {
        let is_c1 = self.held.first() == Some(&C1);
        let kind = match (is_c1, byte) {
            (false, b'[') | (true, 0x9b) => Some(Kind::Control),
            (false, b']') | (true, 0x9d) => Some(Kind::System),
            (false, b'P') | (true, 0x90) => Some(Kind::Device),
            _ => None,
        };
        if let Some(kind) = kind {
            self.held.push(byte);
            self.state = State::Begun(kind);
        } else {
            // Perhaps the introducer of another one.
            out.append(&mut self.held);
            self.state = State::Text;
            self.step(byte, out);
        }
    }

    fn begun(&mut self, kind: Kind, byte: u8, out: &mut Vec<u8>) {
        self.held.push(byte);
        // Both kinds of introducer have two bytes.
        let (_, said) = self.held.split_at(2);
        let verdict = match kind {
            Kind::Control => control(said),
            Kind::System => system(said),
            Kind::Device => device(said),
        };
        match verdict {
            Verdict::Open if self.held.len() < DECIDED_BY => {}
            Verdict::Take => {
                self.held.clear();
                self.state = match (kind, byte) {
                    (Kind::Control, _) | (_, BEL) => State::Text,
                    (_, ESC | C1) => State::TakenEnd,
                    _ => State::Taken,
                };
            }
            Verdict::Open | Verdict::Pass => {
                out.append(&mut self.held);
                self.state = match (kind, byte) {
                    (Kind::Control, _) | (_, BEL) => State::Text,
                    (_, ESC | C1) => State::StringEnd,
                    _ => State::String,
                };
            }
        }
    }
}

/// The state behind a byte of a string.
fn after(byte: u8, was_end: bool, end: State, inside: State) -> State {
    match byte {
        BEL => State::Text,
        // The second half of the end, in seven bits and in eight.
        b'\\' | 0x9c if was_end => State::Text,
        ESC | C1 => end,
        _ => inside,
    }
}

enum Verdict {
    Open,
    Take,
    Pass,
}

/// Reports of the title and of the icon's name: `CSI 20 t`, `CSI 21 t`.
fn control(said: &[u8]) -> Verdict {
    match said {
        [.., b't'] if matches!(first_number(said), Some(20 | 21)) => Verdict::Take,
        [.., last] if (0x20..0x40).contains(last) => Verdict::Open,
        _ => Verdict::Pass,
    }
}

/// The clipboard: `OSC 52 ;`.
fn system(said: &[u8]) -> Verdict {
    match said {
        [digits @ .., b';' | BEL | ESC | C1] => match first_number(digits) {
            Some(52) => Verdict::Take,
            _ => Verdict::Pass,
        },
        [.., last] if last.is_ascii_digit() => Verdict::Open,
        _ => Verdict::Pass,
    }
}

/// Questions for settings: `DCS $ q`.
fn device(said: &[u8]) -> Verdict {
    match said {
        [.., b'$', b'q'] => Verdict::Take,
        [.., b'$' | b'0'..=b'9' | b';'] => Verdict::Open,
        _ => Verdict::Pass,
    }
}

/// The number in front, leading zeros or not.
fn first_number(said: &[u8]) -> Option<u32> {
    let digits = said.iter().take_while(|byte| byte.is_ascii_digit());
    let digits: String = digits.map(|byte| char::from(*byte)).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passed(pieces: &[&[u8]]) -> Vec<u8> {
        let mut filter = AttachFilter::default();
        let mut out = Vec::new();
        for piece in pieces {
            out.extend(filter.pass(piece));
        }
        out.extend(filter.finish());
        out
    }

    #[test]
    fn what_reaches_beyond_the_terminal_is_taken_out_wherever_it_is_cut() {
        let attacks: [&[u8]; 14] = [
            b"\x1b]52;c;ZXZpbA==\x07",
            b"\x1b]52;c;ZXZpbA==\x1b\\",
            b"\x1b]52;p;?\x07",
            b"\x1b]052;c;ZXZpbA==\x07",
            b"\x1b]52\x07",
            b"\xc2\x9d52;c;ZXZpbA==\xc2\x9c",
            b"\x1b]52;c;a\x1bb\x1b\\",
            b"\x05",
            b"\x1b[21t",
            b"\x1b[20t",
            b"\x1b[021t",
            b"\xc2\x9b21t",
            b"\x1bP$qm\x1b\\",
            b"\xc2\x90$q\"p\x1b\\",
        ];
        for attack in attacks {
            let text = [b"before\xc3\xa4", attack, b"behind"].concat();
            for cut in 0..text.len() {
                let (one, other) = text.split_at(cut);
                let out = passed(&[one, other]);
                assert_eq!(out, b"before\xc3\xa4behind", "{attack:x?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_a_screen_program_needs_passes_byte_for_byte() {
        let harmless: [&[u8]; 12] = [
            b"\x1b[31mred\x1b[0m \x1b[2J\x1b[1;1H\x1b[?1049h\x1b[?25l",
            b"\x1b]0;title\x07\x1b]2;title\x1b\\",
            b"\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\",
            b"\x1b]11;?\x07\x1b[c\x1b[6n",
            b"\x1b[8;24;80t\x1b[22;0t\x1b[23;0t\x1b[2100t",
            b"\x1bP+q544e\x1b\\\x1bPq#0;2;0;0;0\x1b\\",
            b"\x1b]520;x\x07\x1b]5;52;x\x07",
            b"\x1b\x1b[A\x1bOA\x1b=",
            b"\xc2\xa0\xc2\xc2\xff\xc3\xa4",
            b"\x1b]52x;no number\x07",
            b"\x1b[",
            b"\x1b]1337;File=inline=1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\x07",
        ];
        for bytes in harmless {
            assert_eq!(passed(&[bytes]), bytes);
        }
    }

    proptest! {
        #[test]
        fn where_it_is_cut_changes_nothing(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "\x1b]52;", "\x1b", "\\", "\x07", "P$q", "[21t", "]0;", "text", "\u{9d}52;",
                    "\u{9c}",
                ]),
                0..12,
            ),
        ) {
            let whole = pieces.concat().into_bytes();
            let single: Vec<&[u8]> = whole.chunks(1).collect();
            prop_assert_eq!(passed(&single), passed(&[&whole]));
        }

        #[test]
        fn plain_bytes_pass(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes: Vec<u8> = bytes.into_iter().filter(|byte| ![ESC, ENQ, C1].contains(byte)).collect();
            prop_assert_eq!(passed(&[&bytes]), bytes);
        }
    }
}
