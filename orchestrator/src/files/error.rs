//! Why something could not be done with a file.

use std::io;

use farstep_environments::CallError;
use farstep_protocol::rpc::ErrorCode;

/// What was tried, on what, and why it came to nothing. Reads after "failed to ...".
#[derive(Debug, thiserror::Error)]
#[error("{operation} `{place}`: {cause}")]
pub struct FileError {
    pub operation: &'static str,
    /// As a person would type it.
    pub place: String,
    pub cause: FileCause,
}

/// Why, without where.
#[derive(Debug, thiserror::Error)]
pub enum FileCause {
    #[error("no such file or directory")]
    Missing,
    #[error("it is a directory")]
    IsDirectory,
    #[error("it is not a directory")]
    NotDirectory,
    #[error("it is neither a file nor a directory")]
    Special,
    #[error("it exists already")]
    Exists,
    #[error("a file of that name is in the way")]
    InTheWay,
    /// Nobody means to remove this.
    #[error("it is {0}")]
    Precious(&'static str),
    /// The text cannot be a path there.
    #[error("{0}")]
    Unusable(String),
    /// The executor's own words.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Here(io::Error),
    /// A symbolic link is where a file or directory of ours is to be.
    #[error("a symbolic link is in the way")]
    Link,
    /// Another copy writes there.
    #[error("another copy to it is under way")]
    Busy,
    /// It would be read while it is written.
    #[error("source and destination are the same")]
    Same,
    /// What a listing names is no name of a file.
    #[error("a name that cannot be used there: {0}")]
    NoName(&'static str),
    #[error("the executor lists a path outside of the directory it was asked for")]
    Outside,
    #[error("it holds more than {0} entries")]
    TooMany(usize),
    #[error("more than {0} directories are inside each other in it")]
    TooDeep(usize),
    #[error("its executor cannot set when a file was changed")]
    NoTimes,
    /// What was written is not what was read.
    #[error("what arrived is not what was read: SHA-256 {arrived} instead of {read}")]
    Differs { read: String, arrived: String },
    /// The connection ended, or the executor did not answer.
    #[error("{0}")]
    Lost(String),
}

impl FileCause {
    pub(crate) fn of(self, operation: &'static str, place: impl Into<String>) -> FileError {
        FileError {
            operation,
            place: place.into(),
            cause: self,
        }
    }

    /// Whether it is the connection's fault and not the file's.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, FileCause::Lost(_))
    }
}

impl From<CallError> for FileCause {
    fn from(error: CallError) -> FileCause {
        match error {
            CallError::Refused(error) if error.is(ErrorCode::NotFound) => FileCause::Missing,
            CallError::Refused(error) => FileCause::Refused(reason(&error.message).to_owned()),
            error => FileCause::Lost(error.to_string()),
        }
    }
}

impl From<io::Error> for FileCause {
    fn from(error: io::Error) -> FileCause {
        match error.kind() {
            io::ErrorKind::NotFound => FileCause::Missing,
            io::ErrorKind::IsADirectory => FileCause::IsDirectory,
            io::ErrorKind::NotADirectory => FileCause::NotDirectory,
            io::ErrorKind::AlreadyExists => FileCause::Exists,
            _ => FileCause::Here(error),
        }
    }
}

/// Executors of ours say "operation path: reason"; operation and path were said already.
fn reason(message: &str) -> &str {
    match message.split_once(": ") {
        Some((head, reason)) if head.contains('/') || head.contains('\\') => reason,
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_executor_says_twice_is_said_once() {
        assert_eq!(
            reason("list /srv/a: Not a directory (os error 20)"),
            "Not a directory (os error 20)"
        );
        assert_eq!(
            reason("Permission denied: really"),
            "Permission denied: really"
        );
        assert_eq!(reason("no"), "no");
    }
}
