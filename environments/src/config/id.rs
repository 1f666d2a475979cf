//! The name of an environment. Knows the alphabet and the length; not which names a file may use.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Longest id in bytes. Ids are ASCII, so these are letters too.
const MAX_LEN: usize = 64;

/// The valid id of an environment, cheap to clone.
///
/// Ids are case-sensitive: `box` and `Box` are two environments.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvironmentId(Arc<str>);

impl EnvironmentId {
    /// The id of the orchestrator's own machine.
    pub const LOCAL: &str = "local";

    /// Accepts `local`, which names a real environment although no entry may claim it.
    pub fn new(text: &str) -> Result<EnvironmentId, IdProblem> {
        if text.is_empty() {
            return Err(IdProblem::Empty);
        }
        if text.trim().len() != text.len() {
            return Err(IdProblem::Whitespace);
        }
        // `default = "none"` means "no default", in any letter case, so it can name nothing.
        if text.eq_ignore_ascii_case("none") {
            return Err(IdProblem::Reserved);
        }
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !text.bytes().all(legal) {
            return Err(IdProblem::Charset);
        }
        if text.len() > MAX_LEN {
            return Err(IdProblem::TooLong);
        }
        Ok(EnvironmentId(text.into()))
    }

    pub fn local() -> EnvironmentId {
        EnvironmentId(EnvironmentId::LOCAL.into())
    }

    pub fn is_local(&self) -> bool {
        self.as_str() == EnvironmentId::LOCAL
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not the id of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdProblem {
    #[error("an environment id cannot be empty")]
    Empty,
    #[error("an environment id cannot begin or end with blanks")]
    Whitespace,
    #[error("this environment id is reserved")]
    Reserved,
    #[error("an environment id consists of ASCII letters, digits, `-` and `_`")]
    Charset,
    #[error("an environment id has at most {MAX_LEN} letters")]
    TooLong,
}

impl fmt::Display for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Serialize for EnvironmentId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl AsRef<str> for EnvironmentId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Sound because equality, order and hash are those of the text.
impl Borrow<str> for EnvironmentId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl std::str::FromStr for EnvironmentId {
    type Err = IdProblem;

    fn from_str(text: &str) -> Result<EnvironmentId, IdProblem> {
        EnvironmentId::new(text)
    }
}
