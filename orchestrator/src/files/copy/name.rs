//! Names from a listing. Whoever listed them may be hostile, so each is checked before it becomes a
//! part of a path of ours, and again against the rules of the machine it is used on.

use farstep_path_uri::{Convention, Devices, PathUri};

use crate::files::error::FileCause;

/// The longest name of a file anywhere we know, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// One component of a path: neither empty nor `.` nor `..`, without separator and NUL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name(Box<[u8]>);

impl Name {
    pub(super) fn new(bytes: &[u8]) -> Result<Name, FileCause> {
        let fault = match bytes {
            b"" => "it is empty",
            b"." | b".." => "it leads elsewhere",
            _ if bytes.len() > NAME_BYTES_MAX => "it is longer than 255 bytes",
            _ if bytes.contains(&b'/') => "it holds a separator",
            _ if bytes.contains(&0) => "it holds a NUL",
            _ => return Ok(Name(bytes.into())),
        };
        Err(FileCause::NoName(fault))
    }

    /// The last component of a path an executor names.
    pub(super) fn last_of(path: &PathUri) -> Result<Name, FileCause> {
        let last = path
            .segments()
            .rfind(|segment| !segment.encoded().is_empty());
        let last = last.ok_or(FileCause::NoName("it is empty"))?;
        let name = Name::new(&last.decoded())?;
        let is_windows = path.convention() == Some(Convention::Windows);
        match is_windows && name.0.contains(&b'\\') {
            true => Err(FileCause::NoName("it holds a separator")),
            false => Ok(name),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path of this name in a directory of an environment.
    pub(super) fn below(&self, folder: &PathUri) -> Result<PathUri, FileCause> {
        let unusable =
            |error: farstep_path_uri::PathUriError| FileCause::Unusable(error.to_string());
        let child = match folder.convention() {
            Some(Convention::Windows) => {
                let text = std::str::from_utf8(&self.0);
                let text = text.map_err(|_| FileCause::NoName("it is not text"))?;
                if text.contains('\\') {
                    return Err(FileCause::NoName("it holds a separator"));
                }
                if text.contains(':') {
                    return Err(FileCause::NoName("it holds a colon"));
                }
                let child = folder.join_descendant(text).map_err(unusable)?;
                child
                    .to_windows_openable(&Devices::NONE)
                    .map_err(unusable)?;
                child
            }
            _ => {
                let mut bytes = folder.to_posix_openable().map_err(unusable)?;
                if !bytes.ends_with(b"/") {
                    bytes.push(b'/');
                }
                bytes.extend_from_slice(&self.0);
                PathUri::from_posix_bytes(&bytes).map_err(unusable)?
            }
        };
        // One level below and nowhere else, whatever the name was.
        match child.parent() {
            Some(parent) if parent.same_location(folder) => Ok(child),
            _ => Err(FileCause::NoName("it leads elsewhere")),
        }
    }

    /// The name of what is written before it takes this one.
    pub(super) fn partial(&self) -> Name {
        self.beside(".farstep-partial")
    }

    /// The same, of one upload among several.
    pub(super) fn partial_of(&self, upload: &str) -> Name {
        self.beside(&format!(".{upload}.farstep-partial"))
    }

    /// The name of what follows such a file when it cannot be appended to.
    pub(super) fn more_of(&self, upload: &str) -> Name {
        self.beside(&format!(".{upload}.farstep-more"))
    }

    fn beside(&self, suffix: &str) -> Name {
        let long = [b".", &*self.0, suffix.as_bytes()].concat();
        if long.len() <= NAME_BYTES_MAX {
            return Name(long.into());
        }
        // Two long names may have one beginning, but not one digest.
        let digest = crate::files::copy::digest::of(&self.0);
        Name(format!(".{digest}{suffix}").into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_lead_elsewhere_is_no_name() {
        for bad in ["", ".", "..", "a/b", "/", "a\0", &"x".repeat(256)] {
            assert!(Name::new(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for good in [
            "...",
            "..a",
            " ",
            "a\\b",
            "C:",
            "-rf",
            "\u{1b}",
            &"x".repeat(255),
        ] {
            assert!(Name::new(good.as_bytes()).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_name_is_one_level_below_by_the_rules_of_where_it_goes() {
        let name = |text: &str| Name::new(text.as_bytes()).unwrap();
        let at = |folder: &str, text: &str| {
            let folder = PathUri::parse(folder).unwrap();
            name(text).below(&folder).map(|path| path.to_string()).ok()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(at("file:///srv", "a b%"), some("file:///srv/a%20b%25"));
        assert_eq!(at("file:///srv/", "a\\b"), some("file:///srv/a%5Cb"));
        assert_eq!(at("file:///", "x"), some("file:///x"));
        assert_eq!(at("file:///C:/srv", "a"), some("file:///C:/srv/a"));
        for bad in [
            "a\\b", "..\\x", "x:y", "C:", "CON", "nul.txt", "a.", "a ", "a*", "a\tb",
        ] {
            assert_eq!(at("file:///C:/srv", bad), None, "{bad}");
        }
        let bytes = Name::new(b"a\xff").unwrap();
        let posix = bytes
            .below(&PathUri::parse("file:///srv").unwrap())
            .unwrap();
        assert_eq!(posix.as_str(), "file:///srv/a%FF");
        assert_eq!(Name::last_of(&posix).unwrap(), bytes);
        assert!(
            bytes
                .below(&PathUri::parse("file:///C:/srv").unwrap())
                .is_err()
        );
    }

    #[test]
    fn a_partial_file_has_a_name_of_its_own_however_long_the_other_is() {
        let partial = |text: &str| {
            let name = Name::new(text.as_bytes()).unwrap().partial();
            String::from_utf8(name.as_bytes().to_vec()).unwrap()
        };
        assert_eq!(partial("a"), ".a.farstep-partial");
        let (long, other) = (
            format!("{}a", "x".repeat(254)),
            format!("{}b", "x".repeat(254)),
        );
        assert_ne!(partial(&long), partial(&other));
        assert!(partial(&long).len() <= 255);
    }
}
