//! A command line as one line of text.

/// The words as a POSIX shell would have to be given them, for people to read and copy.
pub fn shell_words<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word.as_ref())).collect();
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_quotes_gets_them() {
        assert_eq!(
            shell_words(&["/bin/bash", "-lc", "echo hi"]),
            "/bin/bash -lc 'echo hi'"
        );
        assert_eq!(
            shell_words(&["a=b", "", "it's", "$x", "é"]),
            r"a=b '' 'it'\''s' '$x' 'é'"
        );
        assert_eq!(shell_words::<&str>(&[]), "");
    }
}
