//! How failures inside become errors on the wire: the one place that chooses codes.
//!
//! Clients decide by the code alone (`exec-protocol` section 3); the text is for people.

use farstep_path_uri::PathUriError;
use farstep_protocol::rpc::{ErrorCode, Malformed, RpcError};

use crate::audit::Unrecorded;
use crate::dispatch::RequestError;
use crate::fs::{FsError, FsErrorKind, HandleError};
use crate::pool::Lost;
use crate::process::{ReserveError, StartError};
use crate::server::DurableRefused;
use crate::session::ResumeError;

/// A message nobody could read. It is answered all the same, and the connection goes on.
pub(crate) fn malformed(error: &Malformed) -> RpcError {
    RpcError::new(ErrorCode::InvalidRequest, error.to_string())
}

/// A message that was no text.
pub(crate) fn not_text() -> RpcError {
    RpcError::new(ErrorCode::InvalidRequest, "message is not UTF-8 text")
}

pub(crate) fn unknown_method(method: &str) -> RpcError {
    // Long names are cut: an error is no way to make us send back what was sent.
    let shown: String = method.chars().take(SHOWN_CHARACTERS_MAX).collect();
    RpcError::new(
        ErrorCode::MethodNotFound,
        format!("no such method: {shown}"),
    )
}

const SHOWN_CHARACTERS_MAX: usize = 128;

/// A request to somewhere else that came to nothing.
pub(crate) fn http(error: &RequestError) -> RpcError {
    RpcError::new(ErrorCode::Internal, format!("http/request failed: {error}"))
}

/// As much as there may be of something is there already.
pub(crate) fn overloaded(what: &str) -> RpcError {
    RpcError {
        data: Some(serde_json::json!({"retryAfterMs": RETRY_AFTER_MS})),
        ..RpcError::new(ErrorCode::Overloaded, what)
    }
}

/// When it is worth asking again.
const RETRY_AFTER_MS: u64 = 1000;

/// A request before its turn in the handshake.
pub(crate) fn out_of_turn(what: &'static str) -> RpcError {
    RpcError::new(ErrorCode::InvalidRequest, what)
}

/// An orchestrator that would show how much it says.
pub(crate) fn unpadded() -> RpcError {
    // Not what a session is refused with, so nobody takes it for that.
    invalid_params(
        "this executor talks in padded records only (--padding always); write `padding = true` into \
         the `farstep` table of its entry",
    )
}

pub(crate) fn invalid_params(why: impl std::fmt::Display) -> RpcError {
    RpcError::new(ErrorCode::InvalidParams, format!("invalid params: {why}"))
}

pub(crate) fn resume(error: ResumeError) -> RpcError {
    let code = match error {
        ResumeError::Unknown => ErrorCode::InvalidRequest,
        ResumeError::Attached => ErrorCode::SessionAttached,
    };
    RpcError::new(code, error.to_string())
}

pub(crate) fn durable(error: &DurableRefused) -> RpcError {
    RpcError::new(ErrorCode::InvalidRequest, error.to_string())
}

pub(crate) fn unknown_process(id: &str) -> RpcError {
    RpcError::new(ErrorCode::InvalidRequest, format!("no such process: {id}"))
}

pub(crate) fn reserve(error: &ReserveError) -> RpcError {
    RpcError::new(ErrorCode::InvalidRequest, error.to_string())
}

pub(crate) fn start(error: &StartError) -> RpcError {
    let code = match error {
        StartError::EmptyArgv => ErrorCode::InvalidParams,
        StartError::Spawn(_) | StartError::SessionGone => ErrorCode::Internal,
    };
    RpcError::new(code, error.to_string())
}

/// What must be recorded and cannot be. It is this machine's trouble, and passes.
pub(crate) fn unrecorded(error: Unrecorded) -> RpcError {
    RpcError::new(ErrorCode::Internal, error.to_string())
        .with_data(serde_json::json!({ "reason": "auditUnavailable" }))
}

/// A path of a file call that this machine does not have.
pub(crate) fn path(error: &PathUriError) -> RpcError {
    RpcError::new(ErrorCode::InvalidRequest, error.to_string())
}

pub(crate) fn file(error: &FsError) -> RpcError {
    let code = match error.kind() {
        FsErrorKind::NotFound => ErrorCode::NotFound,
        FsErrorKind::Invalid => ErrorCode::InvalidRequest,
        FsErrorKind::Other => ErrorCode::Internal,
    };
    RpcError::new(code, error.to_string())
}

pub(crate) fn handle(error: &HandleError) -> RpcError {
    let code = match error {
        HandleError::File(error) => return file(error),
        HandleError::Unknown(_) => ErrorCode::NotFound,
        HandleError::WrongMode(_) => ErrorCode::Internal,
        HandleError::IdTooLong
        | HandleError::InUse(_)
        | HandleError::NoSlot
        | HandleError::BlockLength
        | HandleError::BeyondRange => ErrorCode::InvalidRequest,
    };
    RpcError::new(code, error.to_string())
}

/// Base64 in a member that is typed as bytes.
pub(crate) fn base64(member: &str) -> RpcError {
    invalid_params(format_args!("{member} is not padded standard base64"))
}

/// Base64 in a call on a whole file. It counts as a refused operation there, not as a wrong shape.
pub(crate) fn file_base64(member: &str) -> RpcError {
    RpcError::new(
        ErrorCode::InvalidRequest,
        format!("{member} is not padded standard base64"),
    )
}

/// A request to be confined, which this executor cannot do yet and so must not ignore.
pub(crate) fn unenforceable(member: &'static str) -> RpcError {
    let text = format!("refused: {member} asks for restrictions that this executor cannot enforce");
    RpcError::new(ErrorCode::InvalidRequest, text)
        .with_data(serde_json::json!({ "reason": "sandboxUnavailable", "member": member }))
}

/// Which member asked for what cannot be enforced, if that is why a call was refused.
pub(crate) fn refused_sandbox(error: &RpcError) -> Option<&str> {
    let data = error.data.as_ref()?;
    (data["reason"] == "sandboxUnavailable").then(|| data["member"].as_str().unwrap_or_default())
}

/// An answer of ours that came out wrong: a bug, but the caller's connection goes on.
pub(crate) fn not_json() -> RpcError {
    RpcError::new(ErrorCode::Internal, "the answer could not be written")
}

pub(crate) fn lost(error: Lost) -> RpcError {
    RpcError::new(ErrorCode::Internal, error.to_string())
}
