//! One name as deny rules compare it: reduced to what file systems tell apart.

/// A name, reduced to what file systems tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Exactly(Vec<u8>),
    /// Text beyond ASCII where composed and decomposed spellings are one name.
    Composed,
    /// It may stand for any name: a short alias, or nothing but dots.
    Any,
}

impl Name {
    pub(super) fn may_be(&self, other: &Name) -> bool {
        self == other || *self == Name::Any || *other == Name::Any
    }

    pub(super) fn posix(bytes: &[u8], ignores_case: bool) -> Name {
        if !ignores_case {
            return Name::Exactly(bytes.to_vec());
        }
        let text = String::from_utf8_lossy(bytes);
        let folded: String = text
            .chars()
            .filter(|&c| !is_ignorable(c))
            .map(fold)
            .collect();
        if folded.is_ascii() {
            Name::Exactly(folded.into_bytes())
        } else {
            Name::Composed
        }
    }

    pub(super) fn windows(text: &str) -> Name {
        // A stream is opened through its file, and dots and blanks at the end are dropped.
        let name = text
            .split(':')
            .next()
            .unwrap_or_default()
            .trim_end_matches(['.', ' ']);
        if name.is_empty() || is_short_alias(name) {
            return Name::Any;
        }
        Name::Exactly(name.chars().map(fold).collect::<String>().into_bytes())
    }
}

/// Whether a name looks like the `LONGNA~1.TXT` that Windows makes up for another name.
fn is_short_alias(name: &str) -> bool {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let numbered = base.rsplit_once('~').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    numbered && base.chars().count() <= 8 && extension.chars().count() <= 3
}

/// Simple case folding: both ways through the one-to-one mappings, so that characters with one
/// capital meet. The three pairs have no such mapping and are listed by Unicode.
fn fold(c: char) -> char {
    fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
        mapped.next().filter(|_| mapped.next().is_none())
    }
    let upper = single(c.to_uppercase()).unwrap_or(c);
    match single(upper.to_lowercase()).unwrap_or(upper) {
        '\u{1fd3}' => '\u{390}',
        '\u{1fe3}' => '\u{3b0}',
        '\u{fb05}' => '\u{fb06}',
        folded => folded,
    }
}

/// Characters that some file systems leave out of a comparison.
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}
