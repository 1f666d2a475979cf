//! Finding a run of lines in a file, ever less exactly.
//!
//! Files are bytes, so that a file in another encoding can be patched around its odd lines.

/// How much two lines may differ. Each step allows what the one before did.
#[derive(Clone, Copy)]
enum Likeness {
    Exact,
    TrailingSpace,
    SurroundingSpace,
    Typography,
}

const STEPS: [Likeness; 4] = [
    Likeness::Exact,
    Likeness::TrailingSpace,
    Likeness::SurroundingSpace,
    Likeness::Typography,
];

/// Where `pattern` stands in `file`, at `from` or later. An exact place further down is preferred to
/// a merely similar one; with `at_end`, the end of the file to everything else.
pub(super) fn find<F, P>(file: &[F], pattern: &[P], from: usize, at_end: bool) -> Option<usize>
where
    F: AsRef<[u8]>,
    P: AsRef<str>,
{
    let last = file
        .len()
        .checked_sub(pattern.len())
        .filter(|&last| last >= from)?;
    let stands_at = |start: usize, likeness: Likeness| {
        let lines = &file[start..start + pattern.len()];
        lines
            .iter()
            .zip(pattern)
            .all(|(line, wanted)| likeness.holds(line.as_ref(), wanted.as_ref()))
    };
    if at_end && STEPS.iter().any(|&likeness| stands_at(last, likeness)) {
        return Some(last);
    }
    STEPS
        .iter()
        .find_map(|&likeness| (from..=last).find(|&start| stands_at(start, likeness)))
}

impl Likeness {
    fn holds(self, line: &[u8], wanted: &str) -> bool {
        let bytes = wanted.as_bytes();
        match self {
            Likeness::Exact => line == bytes,
            Likeness::TrailingSpace => line.trim_ascii_end() == bytes.trim_ascii_end(),
            Likeness::SurroundingSpace => line.trim_ascii() == bytes.trim_ascii(),
            Likeness::Typography => match std::str::from_utf8(line) {
                Ok(line) => folded(line).eq(folded(wanted)),
                Err(_) => false,
            },
        }
    }
}

/// The text as one would type it on a plain keyboard, without surrounding space.
fn folded(text: &str) -> impl Iterator<Item = char> {
    text.trim().chars().map(|c| match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{2018}'..='\u{201b}' => '\'',
        '\u{201c}'..='\u{201f}' => '"',
        '\u{00a0}' | '\u{2002}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        c => c,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: &[&str], pattern: &[&str]) -> Option<usize> {
        find(file, pattern, 0, false)
    }

    #[test]
    fn the_most_exact_place_wins_even_when_it_comes_later() {
        assert_eq!(place(&["a ", "a"], &["a"]), Some(1));
        assert_eq!(place(&[" a", "a ", "b"], &["a"]), Some(1));
        assert_eq!(place(&["x", "\t a \r"], &["a"]), Some(1));
    }

    #[test]
    fn typographic_characters_match_their_plain_ones() {
        let file = ["say “hello” – it’s\u{a0}me"];
        assert_eq!(place(&file, &["say \"hello\" - it's me"]), Some(0));
        assert_eq!(place(&["say \"hello\" - it's me"], &file), Some(0));
    }

    #[test]
    fn what_stands_nowhere_is_not_found() {
        assert_eq!(place(&["a", "b"], &["b", "a"]), None);
        assert_eq!(place(&["a"], &["a", "a"]), None);
        assert_eq!(place(&[], &["a"]), None);
        assert_eq!(find(&["a", "b"], &["a"], 1, false), None);
        assert_eq!(find(&["a"], &["a"], 7, false), None);
        assert_eq!(find(&[b"\xff"], &["ÿ"], 0, false), None);
    }

    #[test]
    fn the_end_is_preferred_on_request() {
        assert_eq!(find(&["a", "b", "a"], &["a"], 0, true), Some(2));
        assert_eq!(find(&["a", "a "], &["a"], 0, true), Some(1));
        assert_eq!(find(&["a", "b"], &["a"], 0, true), Some(0));
    }
}
