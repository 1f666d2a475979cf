//! The JSON of the registry (`rendezvous` section A2). Unknown fields of answers are passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::PublicKey;

/// What an orchestrator's authorization may have at most, in bytes.
pub const AUTHORIZATION_BYTES_MAX: usize = 4096;

/// The header in which `validate` names its stream, when that is a UUID.
pub const STREAM_HEADER: &str = "x-codex-noise-stream-id";

/// The header in which an executor names its upgrade: `req_` and 32 hexadecimal digits.
pub const REQUEST_HEADER: &str = "x-request-id";

/// Below the base URL, for an environment: `register`, `connect` and `validate`.
pub fn route(environment: &str, action: &str) -> String {
    format!("/cloud/environment/{environment}/{action}")
}

/// Whether an id can stand in a registry's path as it is: at most 256 of ASCII letters, digits,
/// `-` and `_`.
pub fn is_environment_id(id: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=256).contains(&id.len()) && id.bytes().all(legal)
}

/// An executor announces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// [`super::SECURITY_PROFILE`].
    pub security_profile: String,
    /// Who it is.
    pub executor_public_key: PublicKey,
    /// What the tenant signed about that key; passed on as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_attestation: Option<String>,
    /// What it says of itself. Only services like ours ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor_info: Option<ExecutorInfo>,
    /// The registration it had before, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_registration_id: Option<String>,
    /// What it can beyond the contract.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// What an executor says of itself, for people and for policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecutorInfo {
    /// Of its program.
    pub version: String,
    /// Which system it runs on.
    pub os: String,
    /// Whatever whoever runs it chose.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The feature of a service that asks for [`ExecutorInfo`]. An executor tells none that does not.
pub const INFO_FEATURE: &str = "executor_info_v1";

/// Labels of an executor.
pub const LABELS_MAX: usize = 16;

/// A version, a system, a label's name or its value, in bytes.
pub const LABEL_BYTES_MAX: usize = 64;

impl ExecutorInfo {
    /// Whether it is short and says nothing that a terminal would act on.
    pub fn is_modest(&self) -> bool {
        let labels = self.labels.iter().flat_map(|(name, value)| [name, value]);
        let mut texts = labels.chain([&self.version, &self.os]);
        self.labels.len() <= LABELS_MAX
            && texts
                .all(|text| text.len() <= LABEL_BYTES_MAX && !text.chars().any(char::is_control))
    }
}

/// Where an executor goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The id that was asked for.
    pub environment_id: String,
    /// The websocket to dial, byte for byte.
    pub url: String,
    /// [`super::SECURITY_PROFILE`].
    pub security_profile: String,
    /// Opaque; both ends bind their handshake to it.
    pub executor_registration_id: String,
    /// What it understands beyond the peer's contract, such as
    /// [`super::RESTART_NOTICE_FEATURE`]. An executor that does too says so at the websocket: in a
    /// request for a registry that may know nothing more, it would be one field too many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// From when on, in Unix seconds, the credential should be a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_after: Option<i64>,
    /// Other websockets to dial when this one is not reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternate_urls: Vec<String>,
}

/// Other websockets that an executor tries.
pub const ALTERNATE_URLS_MAX: usize = 8;

/// An orchestrator asks for an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// Who it is.
    pub harness_public_key: PublicKey,
}

/// What one connection to an environment takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The id that was asked for.
    pub environment_id: String,
    /// The websocket to dial, once.
    pub url: String,
    /// [`super::SECURITY_PROFILE`].
    pub security_profile: String,
    /// Opaque; both ends bind their handshake to it.
    pub executor_registration_id: String,
    /// Whom to expect.
    pub executor_public_key: PublicKey,
    /// Shown to the executor inside the handshake, at most [`AUTHORIZATION_BYTES_MAX`].
    pub harness_key_authorization: String,
    /// What the tenant signed about the executor's key, if the executor showed any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_attestation: Option<String>,
}

/// An executor asks whether an orchestrator is welcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validate {
    /// Under which it registered.
    pub executor_registration_id: String,
    /// Who wants in, as the handshake proved.
    pub harness_public_key: PublicKey,
    /// What was shown.
    pub harness_key_authorization: String,
}

/// Whether it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Absent is no.
    #[serde(default)]
    pub valid: bool,
}

/// The body of every refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What went wrong.
    pub error: RefusalBody,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalBody {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

/// What is wrong with an answer of a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Another environment.
    #[error("it answers for environment {0:?}")]
    Environment(String),
    /// Another profile.
    #[error("it asks for security profile {0:?}, and only `noise_hybrid_ik_v1` is known")]
    Profile(String),
    /// A blank field.
    #[error("its `{0}` is blank")]
    Blank(&'static str),
    /// Too long.
    #[error("its `harness_key_authorization` is above {AUTHORIZATION_BYTES_MAX} bytes")]
    Authorization,
}

impl Registered {
    /// Checks what an executor must not follow blindly.
    pub fn check(&self, environment: &str) -> Result<(), AnswerError> {
        same(&self.environment_id, environment, &self.security_profile)?;
        filled("url", &self.url)
    }
}

impl Bundle {
    /// Checks what an orchestrator must not follow blindly.
    pub fn check(&self, environment: &str) -> Result<(), AnswerError> {
        same(&self.environment_id, environment, &self.security_profile)?;
        filled("url", &self.url)?;
        filled("executor_registration_id", &self.executor_registration_id)?;
        filled("harness_key_authorization", &self.harness_key_authorization)?;
        match self.harness_key_authorization.len() > AUTHORIZATION_BYTES_MAX {
            true => Err(AnswerError::Authorization),
            false => Ok(()),
        }
    }
}

fn same(answered: &str, environment: &str, profile: &str) -> Result<(), AnswerError> {
    if answered != environment {
        return Err(AnswerError::Environment(
            answered.chars().take(256).collect(),
        ));
    }
    if profile != super::SECURITY_PROFILE {
        return Err(AnswerError::Profile(profile.chars().take(64).collect()));
    }
    Ok(())
}

fn filled(field: &'static str, text: &str) -> Result<(), AnswerError> {
    match text.trim().is_empty() {
        true => Err(AnswerError::Blank(field)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_for_something_else_is_refused() {
        let good = Registered {
            environment_id: "e".to_owned(),
            url: "ws://h/".to_owned(),
            security_profile: crate::relay::SECURITY_PROFILE.to_owned(),
            // An empty one is allowed to an executor.
            executor_registration_id: String::new(),
            features: Vec::new(),
            rotate_after: None,
            alternate_urls: Vec::new(),
        };
        assert_eq!(good.check("e"), Ok(()));
        assert_eq!(
            good.check("f"),
            Err(AnswerError::Environment("e".to_owned()))
        );
        let profile = Registered {
            security_profile: "other".to_owned(),
            ..good.clone()
        };
        assert_eq!(
            profile.check("e"),
            Err(AnswerError::Profile("other".to_owned()))
        );
        let url = Registered {
            url: " ".to_owned(),
            ..good
        };
        assert_eq!(url.check("e"), Err(AnswerError::Blank("url")));
    }

    #[test]
    fn a_verdict_that_says_nothing_is_no() {
        let verdict = |json| serde_json::from_str::<Verdict>(json).unwrap().valid;
        assert!(!verdict("{}") && !verdict(r#"{"valid":false}"#));
        assert!(verdict(r#"{"valid":true,"more":1}"#));
    }

    #[test]
    fn ids_that_would_change_the_path_are_told_apart() {
        for good in ["a", "Box-7_x", &"i".repeat(256)] {
            assert!(is_environment_id(good), "{good}");
        }
        for bad in ["", "a/b", "a b", "ü", "..", &"i".repeat(257)] {
            assert!(!is_environment_id(bad), "{bad}");
        }
    }
}
