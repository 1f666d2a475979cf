//! The beginning and the end of an output of any length.

use std::collections::VecDeque;

/// How much of the beginning is kept.
pub const HEAD_BYTES: usize = 512 * 1024;
/// How much of the end is kept. What lies between is counted and let go.
pub const TAIL_BYTES: usize = 512 * 1024;

/// Collects output and never holds more than [`HEAD_BYTES`] and [`TAIL_BYTES`] of it. What is
/// dropped is dropped from the middle; the counts stay exact.
#[derive(Clone, Default)]
pub struct HeadTail {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
    line_feeds: u64,
}

impl HeadTail {
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        self.line_feeds += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        let room = HEAD_BYTES - self.head.len();
        let (head, rest) = bytes.split_at(bytes.len().min(room));
        self.head.extend_from_slice(head);
        let rest = &rest[rest.len().saturating_sub(TAIL_BYTES)..];
        let surplus = (self.tail.len() + rest.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
        self.tail.extend(rest);
    }

    /// All bytes ever pushed.
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    /// Bytes that were let go.
    pub fn omitted_bytes(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len()) as u64
    }

    /// Lines of the whole output; a last one without a line feed counts.
    pub fn lines(&self) -> u64 {
        let last = self.tail.back().or(self.head.last());
        let open = last.is_some_and(|&byte| byte != b'\n');
        self.line_feeds + u64::from(open)
    }

    /// What is kept, with a line that says what is not.
    pub fn to_text(&self) -> String {
        if self.omitted_bytes() == 0 {
            return String::from_utf8_lossy(&self.kept()).into_owned();
        }
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let head = String::from_utf8_lossy(whole_chars_before(&self.head));
        let tail = String::from_utf8_lossy(whole_chars_after(&tail));
        format!("{head}\n{}{tail}", self.omission())
    }

    /// The line that tells of omitted bytes.
    pub(super) fn omission(&self) -> String {
        match self.omitted_bytes() {
            0 => String::new(),
            omitted => format!("... {omitted} bytes omitted ...\n"),
        }
    }

    /// The kept bytes, one after the other.
    pub(super) fn kept(&self) -> Vec<u8> {
        let mut kept = Vec::with_capacity(self.head.len() + self.tail.len());
        kept.extend_from_slice(&self.head);
        let (front, back) = self.tail.as_slices();
        kept.extend_from_slice(front);
        kept.extend_from_slice(back);
        kept
    }
}

// Output can be a megabyte and private; a log wants neither.
impl std::fmt::Debug for HeadTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "HeadTail({} bytes, {} omitted)",
            self.total,
            self.omitted_bytes()
        )
    }
}

/// `bytes` without a character at its end that was cut apart.
pub(super) fn whole_chars_before(bytes: &[u8]) -> &[u8] {
    // A character has at most four bytes, so its first one is among the last three or it is whole.
    for back in 1..=bytes.len().min(3) {
        let index = bytes.len() - back;
        let length = match bytes[index] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if length > back {
            &bytes[..index]
        } else {
            bytes
        };
    }
    bytes
}

/// `bytes` without the rest of a character at its beginning.
pub(super) fn whole_chars_after(bytes: &[u8]) -> &[u8] {
    let rest = bytes
        .iter()
        .take(3)
        .take_while(|&&byte| matches!(byte, 0x80..=0xbf))
        .count();
    &bytes[rest..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pushed<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> HeadTail {
        let mut output = HeadTail::default();
        chunks.into_iter().for_each(|chunk| output.push(chunk));
        output
    }

    #[test]
    fn a_short_output_is_kept_whole() {
        let output = pushed([&b"one\ntw"[..], b"o\n\xff", b"\xc3", b"\xa9"]);
        assert_eq!(output.to_text(), "one\ntwo\n\u{fffd}é");
        assert_eq!(
            (output.total_bytes(), output.omitted_bytes(), output.lines()),
            (11, 0, 3)
        );
        assert_eq!(pushed([]).lines(), 0);
        assert_eq!(pushed([&b"x\n"[..]]).lines(), 1);
    }

    #[test]
    fn an_output_that_just_fits_is_not_cut_between_its_halves() {
        let text = "é".repeat((HEAD_BYTES + TAIL_BYTES) / 2);
        let shifted = format!("x{}", &text[2..]);
        assert_eq!(pushed([text.as_bytes()]).to_text(), text);
        assert_eq!(pushed(shifted.as_bytes().chunks(1000)).to_text(), shifted);
    }

    #[test]
    fn a_long_output_keeps_both_ends_and_says_what_is_gone() {
        let lines: String = (0..1_000_000).map(|n| format!("{n:07}\n")).collect();
        for size in [7, 65_536, 3_000_000] {
            let output = pushed(lines.as_bytes().chunks(size));
            assert_eq!(
                (output.total_bytes(), output.lines()),
                (8_000_000, 1_000_000)
            );
            assert_eq!(output.omitted_bytes(), 8_000_000 - 1024 * 1024);
            let text = output.to_text();
            let (head, tail) = text
                .split_once("\n... 6951424 bytes omitted ...\n")
                .unwrap();
            assert_eq!(head, &lines[..HEAD_BYTES]);
            assert_eq!(tail, &lines[lines.len() - TAIL_BYTES..]);
        }
    }

    #[test]
    fn characters_cut_at_the_omission_are_left_out() {
        let text = format!("x{}", "é".repeat(HEAD_BYTES + TAIL_BYTES));
        let shown = pushed([text.as_bytes()]).to_text();
        assert!(!shown.contains('\u{fffd}'));
        let (head, tail) = shown.split_once('\n').unwrap();
        assert_eq!(head.len(), HEAD_BYTES - 1);
        assert!(tail.ends_with('é'));
    }

    proptest! {
        #[test]
        fn cutting_whole_text_leaves_whole_text(text in "[a\u{e9}\u{20ac}\u{1f600}]{0,12}", at in 0usize..48) {
            let at = at.min(text.len());
            let before = whole_chars_before(&text.as_bytes()[..at]);
            let after = whole_chars_after(&text.as_bytes()[at..]);
            let before = std::str::from_utf8(before).unwrap();
            let after = std::str::from_utf8(after).unwrap();
            prop_assert!(text.starts_with(before) && text.ends_with(after));
            prop_assert!(at - before.len() < 4 && text.len() - at - after.len() < 4);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn nothing_is_lost_but_what_is_counted(sizes in prop::collection::vec(0usize..400_000, 0..8)) {
            let total: usize = sizes.iter().sum();
            let all: Vec<u8> = (0..total).map(|n| (n % 251) as u8).collect();
            let mut output = HeadTail::default();
            let mut rest = &all[..];
            for size in sizes {
                let (chunk, after) = rest.split_at(size);
                output.push(chunk);
                rest = after;
            }
            let kept = output.kept();
            prop_assert_eq!(kept.len() as u64 + output.omitted_bytes(), total as u64);
            let head = kept.len().min(HEAD_BYTES);
            prop_assert_eq!(&kept[..head], &all[..head]);
            prop_assert_eq!(&kept[head..], &all[total - (kept.len() - head)..]);
        }
    }
}
