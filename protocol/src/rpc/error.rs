//! Errors as they travel: a code, a text for people, and nothing a program should parse.

use serde::{Deserialize, Serialize};

/// The codes of `exec-protocol` section 3, and our own for overload (`security` SR-26).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum ErrorCode {
    /// The message or the request is not acceptable now; also refused file operations.
    InvalidRequest = -32600,
    /// No such method.
    MethodNotFound = -32601,
    /// The params have the wrong shape.
    InvalidParams = -32602,
    /// The operating system failed.
    Internal = -32603,
    /// A budget over all connections is used up; try again later.
    Overloaded = -32001,
    /// The path or handle does not exist.
    NotFound = -32004,
    /// The session is held by another connection.
    SessionAttached = -32010,
}

/// The `error` member of a reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RpcError {
    /// What kind of error; see [`ErrorCode`]. A newer peer may send others.
    pub code: i64,
    /// For people. Never parsed.
    #[serde(default)]
    pub message: String,
    /// Details for programs. The peer we are compatible with never sends any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

impl RpcError {
    /// An error of `code` that says `message`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        RpcError {
            code: code as i64,
            message: message.into(),
            data: None,
        }
    }

    /// The same error with details for programs.
    #[must_use]
    pub fn with_data(mut self, data: serde_json::Value) -> Self {
        self.data = Some(data);
        self
    }

    /// Whether the error carries this code.
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code == code as i64
    }
}

impl std::fmt::Display for RpcError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for RpcError {}
