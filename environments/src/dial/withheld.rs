//! Which variables of our own environment a stdio child does not inherit (`security` SR-42).
//!
//! The child may run on, or log in to, a machine that has no business with the credentials of
//! our model provider or cloud. An entry that lists a variable in its `env` gets it all the same.

use std::ffi::OsStr;
use std::sync::Arc;

/// Credentials known by their exact names.
const NAMES: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_OPENAI_API_KEY",
    "CODEX_ACCESS_TOKEN",
    "CODEX_API_KEY",
    "CODEX_EXEC_SERVER_NOISE_AUTH_TOKEN",
    "COHERE_API_KEY",
    "DEEPSEEK_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GROQ_API_KEY",
    "HF_TOKEN",
    "MISTRAL_API_KEY",
    "OPENAI_ADMIN_KEY",
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
    "TOGETHER_API_KEY",
    "XAI_API_KEY",
];

/// The variables that stay here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Withheld {
    named: Arc<[String]>,
}

impl Withheld {
    /// The known names and `more`: whatever variable the caller keeps a credential in.
    pub(crate) fn and(more: impl IntoIterator<Item = String>) -> Withheld {
        Withheld {
            named: more.into_iter().collect(),
        }
    }

    /// These and `more`.
    pub(crate) fn also(self, more: Vec<String>) -> Withheld {
        if more.is_empty() {
            return self;
        }
        Withheld::and(self.named.iter().cloned().chain(more))
    }

    pub(crate) fn covers(&self, name: &OsStr) -> bool {
        // Windows does not tell the cases apart, and no variable of ours depends on it.
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        NAMES.iter().copied().any(is) || self.named.iter().map(String::as_str).any(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_credentials_and_the_named_ones_are_withheld() {
        let withheld = Withheld::and(["MY_LLM_KEY".to_owned()]);
        for name in ["OPENAI_API_KEY", "openai_api_key", "MY_LLM_KEY"] {
            assert!(withheld.covers(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "SSH_AUTH_SOCK", "OPENAI_API_KEY_2"] {
            assert!(!withheld.covers(OsStr::new(name)), "{name}");
        }
    }
}
