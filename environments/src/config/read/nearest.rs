//! Which known name somebody probably meant.

/// The candidate that takes the fewest single-letter edits, if those are few for its length.
pub(super) fn nearest<'n>(typed: &str, candidates: &[&'n str]) -> Option<&'n str> {
    // What is far longer than any name resembles none, and the table below stays small.
    if typed.len() > 64 {
        return None;
    }
    candidates
        .iter()
        .map(|candidate| (edits(typed, candidate), *candidate))
        .min()
        .filter(|(edits, candidate)| *edits <= candidate.len().div_ceil(3))
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`,
/// regardless of letter case.
fn edits(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const NAMES: &[&str] = &["id", "url", "program", "args", "labels"];

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        assert_eq!(nearest("lables", NAMES), Some("labels"));
        assert_eq!(nearest("porgram", NAMES), Some("program"));
        assert_eq!(nearest("URL", NAMES), Some("url"));
        assert_eq!(nearest("arg", NAMES), Some("args"));
    }

    #[test]
    fn an_unrelated_word_suggests_nothing() {
        assert_eq!(nearest("zzz", NAMES), None);
        assert_eq!(nearest("", NAMES), None);
        assert_eq!(nearest(&"program".repeat(100), NAMES), None);
    }
}
