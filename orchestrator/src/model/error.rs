//! Why a sampling request failed, sorted by what can be done about it.
//!
//! This file turns a provider's words (a status, a body, a `response.failed`) into a kind. Whether a
//! kind is tried again is decided in [`crate::retry`].

use std::time::Duration;

use serde_json::Value;

use crate::retry::told_delay;

/// A sampling request that did not complete. The text is a fragment for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    pub kind: ModelErrorKind,
    pub message: String,
    /// How long the provider asked us to stay away.
    pub retry_after: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelErrorKind {
    /// No status came: refused, reset, unknown host, no answer in time.
    Unreachable,
    /// A 5xx, or a 408.
    Server {
        status: u16,
    },
    /// The provider says it has too much to do.
    Overloaded,
    /// Too many requests for now.
    RateLimited,
    /// The account has nothing left to use; waiting a little does not help.
    UsageLimit,
    Unauthorized,
    /// A 400: what we sent is wrong.
    InvalidRequest,
    /// A 400 about an image among the tool outputs.
    InvalidImage,
    /// Any other status that repeating will not change.
    Refused {
        status: u16,
    },
    ContextTooLong,
    /// The provider's policy rejects the prompt.
    Rejected {
        code: String,
    },
    /// `response.failed` with any other code, or none.
    Failed {
        code: Option<String>,
    },
    /// The provider stopped early, e.g. at its own output limit.
    Incomplete {
        reason: String,
    },
    /// The stream ended or broke before `response.completed`.
    Cut,
    /// Nothing arrived for the whole idle time.
    Silent,
}

impl ModelError {
    pub(crate) fn new(kind: ModelErrorKind, message: impl Into<String>) -> ModelError {
        ModelError {
            kind,
            message: message.into(),
            retry_after: None,
        }
    }

    /// An answer whose status was not a success. `retry_after` comes from the headers.
    pub(super) fn from_status(
        status: u16,
        body: &str,
        retry_after: Option<Duration>,
    ) -> ModelError {
        let said = Said::in_body(body);
        let named = |names: &[&str]| {
            [&said.code, &said.kind]
                .into_iter()
                .flatten()
                .any(|name| names.contains(&name.as_str()))
        };
        let kind = match status {
            503 if named(OVERLOADED) => ModelErrorKind::Overloaded,
            408 | 500..=599 => ModelErrorKind::Server { status },
            429 if named(USED_UP) => ModelErrorKind::UsageLimit,
            429 => ModelErrorKind::RateLimited,
            401 => ModelErrorKind::Unauthorized,
            400 if named(&["context_length_exceeded"]) => ModelErrorKind::ContextTooLong,
            400 if said.is_about_an_image() => ModelErrorKind::InvalidImage,
            400 => ModelErrorKind::InvalidRequest,
            _ => ModelErrorKind::Refused { status },
        };
        let retry_after = retry_after.or_else(|| match kind {
            ModelErrorKind::RateLimited => told_delay(&said.message),
            _ => None,
        });
        let message = if said.message.is_empty() {
            format!("the provider answered with status {status}")
        } else {
            format!(
                "the provider answered with status {status}: {}",
                said.message
            )
        };
        ModelError {
            kind,
            message,
            retry_after,
        }
    }

    /// A failure told inside the stream; `error` is its error object.
    pub(super) fn from_event(error: &Value) -> ModelError {
        let said = Said::in_error(error);
        let code = said.code.as_deref().unwrap_or("");
        let kind = match code {
            "rate_limit_exceeded" => ModelErrorKind::RateLimited,
            "context_length_exceeded" => ModelErrorKind::ContextTooLong,
            "invalid_prompt" | "bio_policy" | "cyber_policy" => ModelErrorKind::Rejected {
                code: code.to_owned(),
            },
            code if USED_UP.contains(&code) => ModelErrorKind::UsageLimit,
            code if OVERLOADED.contains(&code) => ModelErrorKind::Overloaded,
            _ => ModelErrorKind::Failed {
                code: said.code.clone(),
            },
        };
        let retry_after = told_delay(&said.message);
        let message = match (said.message.is_empty(), said.code) {
            (false, _) => said.message,
            (true, Some(code)) => format!("the provider failed with code `{code}`"),
            (true, None) => "the provider failed without saying why".to_owned(),
        };
        ModelError {
            kind,
            message,
            retry_after,
        }
    }
}

const OVERLOADED: &[&str] = &["server_is_overloaded", "slow_down"];
const USED_UP: &[&str] = &[
    "usage_limit_reached",
    "usage_not_included",
    "insufficient_quota",
];

/// An error body is shown to a person; more than this helps nobody.
const MAX_SHOWN_CHARS: usize = 2_000;

/// What an error object says, whichever of the usual shapes it has.
struct Said {
    code: Option<String>,
    kind: Option<String>,
    message: String,
}

impl Said {
    fn in_body(body: &str) -> Said {
        match serde_json::from_str::<Value>(body) {
            Ok(value) if value.get("error").is_some_and(Value::is_object) => {
                Said::in_error(&value["error"])
            }
            Ok(value) if value.is_object() => {
                let mut said = Said::in_error(&value);
                if said.message.is_empty() {
                    said.message = ["error", "detail"]
                        .iter()
                        .find_map(|member| value[*member].as_str())
                        .map_or_else(|| shorten(body), shorten);
                }
                said
            }
            _ => Said {
                code: None,
                kind: None,
                message: shorten(body),
            },
        }
    }

    fn in_error(error: &Value) -> Said {
        let text = |member: &str| error.get(member).and_then(Value::as_str).map(str::to_owned);
        let message = text("message").as_deref().map(shorten).unwrap_or_default();
        Said {
            code: text("code"),
            kind: text("type"),
            message,
        }
    }

    /// Providers do not agree on a code for this, so the words decide as well.
    fn is_about_an_image(&self) -> bool {
        let code = self.code.as_deref().unwrap_or("");
        let message = self.message.to_lowercase();
        (code.contains("image") && code.contains("invalid"))
            || message.contains("invalid image")
            || message.contains("valid image")
    }
}

fn shorten(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
