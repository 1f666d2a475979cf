//! `initialize` and `initialized`: the handshake (`exec-protocol` section 4).

use serde::{Deserialize, Serialize};

use super::environment::EnvironmentInfo;

/// Request: opens or resumes a session.
pub const INITIALIZE: &str = "initialize";
/// Notification: the client is ready.
pub const INITIALIZED: &str = "initialized";

/// Params of [`INITIALIZE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitializeParams {
    /// Who asks; may be empty.
    pub client_name: String,
    /// The session to take up again, if any.
    #[serde(default)]
    pub resume_session_id: Option<String>,
    /// What the session is to be beyond what the peer knows. Ours; the peer does not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub farstep: Option<SessionWish>,
    /// What we would do with the encrypted channel this comes through. Ours; the peer does not
    /// send it, and it means nothing on any other connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub farstep_channel: Option<ChannelTerms>,
}

/// What a caller wishes of a session. An executor that knows nothing of it ignores it, which its
/// answer tells: it has no [`SessionTerms`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionWish {
    /// Opens a *durable* session, kept for so many seconds after its last connection has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_seconds: Option<u64>,
    /// Resumes a durable session without starting its clock anew.
    #[serde(default, skip_serializing_if = "is_false")]
    pub peek: bool,
}

/// The terms of a durable session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionTerms {
    /// For how long it is kept after its last connection; at most what the executor allows.
    pub retention_seconds: u64,
    /// How much of that was left at this moment.
    pub left_seconds: u64,
}

/// What both ends do with the encrypted channel between them: what was asked for, and of that, in
/// the answer, what is agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelTerms {
    /// Keys change while the stream is open.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rekey: bool,
    /// Records are padded to a few sizes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub padding: bool,
}

/// Result of [`INITIALIZE`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitializeResult {
    /// Opaque, and the only secret of a session: never logged.
    pub session_id: String,
    /// What `environment/info` would say. Servers before 0.154 leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_info: Option<EnvironmentInfo>,
    /// Of a durable session. Ours; the peer does not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub farstep: Option<SessionTerms>,
    /// What is agreed of the encrypted channel. Ours; the peer does not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub farstep_channel: Option<ChannelTerms>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}
