//! Recognising a patch inside a shell command.
//!
//! Models sometimes write `apply_patch <<'EOF'` into a shell although nothing of that name is
//! installed. Only a command that is that and nothing else is taken for a patch: whatever a shell
//! would have done besides is left to the shell.

/// The patch text, if `command` is exactly one `apply_patch` here-document.
pub fn patch_in_command(command: &str) -> Option<&str> {
    let (first, rest) = command.trim_start().split_once('\n')?;
    let word = first
        .trim_end()
        .strip_prefix("apply_patch")?
        .trim_start()
        .strip_prefix("<<")?;
    let delimiter = Delimiter::read(word.trim_start())?;
    let (body, after) = delimiter.split(rest)?;
    let verbatim = delimiter.quoted || !body.contains(['$', '`', '\\']);
    (verbatim && after.trim().is_empty()).then_some(body)
}

struct Delimiter<'a> {
    word: &'a str,
    /// Without quotes the shell would have replaced variables in the text.
    quoted: bool,
}

impl<'a> Delimiter<'a> {
    fn read(text: &'a str) -> Option<Delimiter<'a>> {
        let unquoted = |quote| {
            text.strip_prefix(quote)
                .and_then(|text: &str| text.strip_suffix(quote))
        };
        let (word, quoted) = match unquoted('\'').or_else(|| unquoted('"')) {
            Some(word) => (word, true),
            None => (text, false),
        };
        let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        plain.then_some(Delimiter { word, quoted })
    }

    /// The text before and after the first line that is the delimiter.
    fn split(&self, text: &'a str) -> Option<(&'a str, &'a str)> {
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let end = start + line.len();
            if line.trim_end_matches(['\n', '\r']) == self.word {
                return Some((&text[..start], &text[end..]));
            }
            start = end;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "*** Begin Patch\n*** Delete File: a\n*** End Patch\n";

    #[test]
    fn a_command_that_is_only_a_here_document_is_a_patch() {
        for first in [
            "apply_patch <<'EOF'",
            "apply_patch <<EOF",
            "apply_patch << \"EOF\"",
            "apply_patch<<'EOF'  ",
            "\n  apply_patch <<'EOF'",
        ] {
            for end in ["EOF", "EOF\n", "EOF\n\n  \n"] {
                let command = format!("{first}\n{BODY}{end}");
                assert_eq!(patch_in_command(&command), Some(BODY), "{command}");
            }
        }
    }

    #[test]
    fn a_command_that_does_anything_else_stays_a_command() {
        for (first, last) in [
            ("cd dir && apply_patch <<'EOF'", "EOF"),
            ("apply_patch <<'EOF' && ls", "EOF"),
            ("apply_patch <<'EOF' > out", "EOF"),
            ("apply_patch --check <<'EOF'", "EOF"),
            ("apply_patch <<'EOF'", "EOF\nls"),
            ("apply_patch <<-'EOF'", "EOF"),
            ("apply_patch <<'EOF", "EOF"),
            ("apply_patch <<'E F'", "E F"),
            ("apply_patch <<''", ""),
            ("apply_patch <<'EOF'", "EOF2"),
            ("apply_patches <<'EOF'", "EOF"),
            ("cat <<'EOF'", "EOF"),
        ] {
            let command = format!("{first}\n{BODY}{last}");
            assert_eq!(patch_in_command(&command), None, "{command}");
        }
        assert_eq!(patch_in_command("apply_patch"), None);
        assert_eq!(patch_in_command(""), None);
    }

    #[test]
    fn a_text_the_shell_would_have_changed_stays_with_the_shell() {
        let body = "*** Begin Patch\n*** Add File: a\n+$HOME\n*** End Patch\n";
        assert_eq!(
            patch_in_command(&format!("apply_patch <<EOF\n{body}EOF")),
            None
        );
        assert_eq!(
            patch_in_command(&format!("apply_patch <<'EOF'\n{body}EOF")),
            Some(body)
        );
    }
}
