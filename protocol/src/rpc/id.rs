//! Request ids: a string or a signed 64-bit integer, echoed with its type.

use serde::{Serialize, Serializer};

/// The longest id that is text, in bytes: it is echoed, so a long one would be an answer as large
/// as the question. Beyond it the message is malformed. `security` section 5 asks for 256; peers
/// are known to be asked for more than that.
pub const ID_BYTES_MAX: usize = 1024;

/// The id of a request, chosen by its sender.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestId {
    /// What well-behaved clients send: increasing integers from 1.
    Number(i64),
    /// Any string, also the empty one.
    Text(Box<str>),
}

impl RequestId {
    /// What a malformed message is answered with, since its own id is unknown.
    pub const UNKNOWN: RequestId = RequestId::Number(-1);

    /// Reads the JSON text of an id; `None` for anything that is not allowed as one.
    pub(super) fn from_json(text: &str) -> Option<RequestId> {
        if text.starts_with('"') {
            let id: Option<Box<str>> = serde_json::from_str(text).ok();
            return id
                .filter(|id| id.len() <= ID_BYTES_MAX)
                .map(RequestId::Text);
        }
        // `1.0` and `1e3` are numbers but not integers, and `parse` refuses both. `-0` would be
        // echoed as `0`, which is not what its sender waits for: JSON readers make a double of it.
        let id = text.parse().ok().filter(|_| text != "-0");
        id.map(RequestId::Number)
    }

    /// Appends the id as JSON.
    pub fn write_json(&self, out: &mut String) {
        match self {
            RequestId::Number(number) => crate::frame::write_integer(out, *number),
            RequestId::Text(text) => crate::frame::write_string(out, text),
        }
    }
}

impl From<i64> for RequestId {
    fn from(number: i64) -> Self {
        RequestId::Number(number)
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RequestId::Number(number) => number.fmt(f),
            RequestId::Text(text) => text.fmt(f),
        }
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RequestId::Number(number) => serializer.serialize_i64(*number),
            RequestId::Text(text) => serializer.serialize_str(text),
        }
    }
}
