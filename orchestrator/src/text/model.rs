//! Output within a model's budget.

use super::head_tail::{HeadTail, whole_chars_after, whole_chars_before};

/// Bytes that are taken for one token. An estimate, but everybody's estimate.
const BYTES_PER_TOKEN: u64 = 4;

/// Output as a model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForModel {
    pub text: String,
    /// What the whole output would have cost.
    pub original_tokens: u64,
}

/// The tokens so many bytes are taken for.
pub fn token_estimate(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// The output if it fits into `budget` tokens, else its two ends and what is missing between them.
pub fn for_model(output: &HeadTail, budget: usize) -> ForModel {
    let original_tokens = token_estimate(output.total_bytes());
    let text = if original_tokens <= budget as u64 && output.omitted_bytes() == 0 {
        output.to_text()
    } else {
        truncated(output, budget, original_tokens)
    };
    ForModel {
        text,
        original_tokens,
    }
}

fn truncated(output: &HeadTail, budget: usize, original_tokens: u64) -> String {
    let kept = output.kept();
    let half = (budget / 2)
        .saturating_mul(BYTES_PER_TOKEN as usize)
        .min(kept.len() / 2);
    let head = whole_chars_before(&kept[..half]);
    let tail = whole_chars_after(&kept[kept.len() - half..]);
    let missing = token_estimate(output.total_bytes() - (head.len() + tail.len()) as u64);
    format!(
        "Warning: truncated output (original token count: {original_tokens})\n\
         Total output lines: {}\n\n{}{}…{missing} tokens truncated…{}",
        output.lines(),
        output.omission(),
        String::from_utf8_lossy(head),
        String::from_utf8_lossy(tail),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8], budget: usize) -> ForModel {
        let mut output = HeadTail::default();
        output.push(text);
        for_model(&output, budget)
    }

    #[test]
    fn tokens_are_bytes_over_four_rounded_up() {
        assert_eq!([0, 1, 4, 5, 8].map(token_estimate), [0, 1, 1, 2, 2]);
    }

    #[test]
    fn an_output_within_the_budget_is_unchanged() {
        let read = read(b"\x1b[1mtick\xff 1\r\n", 4);
        let expected = ForModel {
            text: "\x1b[1mtick\u{fffd} 1\r\n".into(),
            original_tokens: 4,
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn an_output_above_the_budget_keeps_its_ends() {
        let lines: String = (1..=100).map(|n| format!("line {n}\n")).collect();
        insta::assert_snapshot!(read(lines.as_bytes(), 20).text);
    }

    #[test]
    fn a_budget_of_nothing_leaves_the_counts() {
        let expected = "Warning: truncated output (original token count: 2)\n\
            Total output lines: 1\n\n…2 tokens truncated…";
        assert_eq!(read(b"hello", 0).text, expected);
    }

    #[test]
    fn eight_megabytes_are_counted_exactly() {
        let read = read("0123456\n".repeat(1_000_000).as_bytes(), 10_000);
        assert_eq!(read.original_tokens, 2_000_000);
        let start = "Warning: truncated output (original token count: 2000000)\n\
            Total output lines: 1000000\n\n... 6951424 bytes omitted ...\n0123456\n";
        assert!(read.text.starts_with(start), "{}", &read.text[..200]);
        assert!(read.text.contains("…1990000 tokens truncated…"));
        assert!(read.text.ends_with("0123456\n"));
        assert!(read.text.len() < 40_300, "{}", read.text.len());
    }

    #[test]
    fn what_was_let_go_is_told_even_within_a_huge_budget() {
        let read = read(&vec![b'x'; 2 * 1024 * 1024], usize::MAX);
        assert!(read.text.contains("... 1048576 bytes omitted ...\n"));
        assert!(read.text.contains("…262144 tokens truncated…"));
    }

    proptest! {
        #[test]
        fn the_text_is_never_much_longer_than_its_budget(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            budget in 0usize..300,
        ) {
            let read = read(&bytes, budget);
            // A byte that is no text becomes a character of three.
            prop_assert!(read.text.len() <= budget * 4 * 3 + 200);
        }
    }
}
