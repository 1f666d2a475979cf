//! Where something is, as a person types it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use farstep_environments::config::Selector;

/// A place, not looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file of this machine, which we open ourselves.
    Here(PathBuf),
    /// A path of an environment, in that machine's own spelling; none names the environment's
    /// working folder.
    There { environment: String, path: String },
}

impl Place {
    /// Reads `ENV:PATH`, as scp does: a colon before any separator ends the name of an environment.
    ///
    /// `./a:b` and `/a:b` are paths therefore. What follows the colon is not looked at, so that
    /// `win:C:\x` names a drive of `win`. Where this machine has drives itself, one letter and a
    /// separator are one of its own.
    pub(crate) fn parse(text: &OsStr) -> Place {
        let here = || Place::Here(PathBuf::from(OsString::from(text)));
        match text.to_str().and_then(split) {
            Some((environment, path)) if !(cfg!(windows) && is_drive(environment, path)) => {
                Place::There {
                    environment: environment.to_owned(),
                    path: path.to_owned(),
                }
            }
            _ => here(),
        }
    }
}

/// An environment's name and what follows its colon.
pub(crate) fn split(text: &str) -> Option<(&str, &str)> {
    if let Some(labelled) = Selector::split(text) {
        return Some(labelled);
    }
    let (environment, path) = text.split_once(':')?;
    let is_name = !environment.is_empty() && !environment.contains(['/', '\\']);
    // A path that is spelled as on the wire is one, too.
    let is_uri = environment == "file" && path.starts_with('/');
    (is_name && !is_uri).then_some((environment, path))
}

fn is_drive(letter: &str, rest: &str) -> bool {
    letter.len() == 1
        && letter.starts_with(|c: char| c.is_ascii_alphabetic())
        && rest.starts_with(['/', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_before_any_separator_ends_the_name_of_an_environment() {
        let there = |text: &str| match Place::parse(text.as_ref()) {
            Place::There { environment, path } => Some((environment, path)),
            Place::Here(path) => {
                assert_eq!(path, PathBuf::from(text));
                None
            }
        };
        let named = |environment: &str, path: &str| Some((environment.into(), path.into()));
        assert_eq!(there("box:/srv/a"), named("box", "/srv/a"));
        assert_eq!(there("box:"), named("box", ""));
        assert_eq!(there("box:a:b"), named("box", "a:b"));
        assert_eq!(there("win:C:\\x"), named("win", "C:\\x"));
        assert_eq!(there("box:~/x"), named("box", "~/x"));
        for local in ["a", "./a:b", "/a:b", "a/b:c", ":a", "", "..", "file:///a:b"] {
            assert_eq!(there(local), None, "{local}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_no_text_is_here() {
        use std::os::unix::ffi::OsStrExt as _;
        let name = OsStr::from_bytes(b"a\xff:b");
        assert_eq!(Place::parse(name), Place::Here(PathBuf::from(name)));
    }
}
