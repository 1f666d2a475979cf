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
}
