//! HTTP requests that the executor makes, from its own network.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::nullable;

/// Makes one request.
pub const REQUEST: &str = "http/request";
/// A piece of the body of a streamed response.
pub const BODY_DELTA: &str = "http/request/bodyDelta";

/// Params of [`REQUEST`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestParams<'a> {
    /// `GET`, or any other token.
    pub method: String,
    /// Absolute, `http` or `https`.
    pub url: String,
    /// Names the body's pieces when the response is streamed; free again after the last one.
    pub request_id: String,
    /// Order and repeats are kept.
    #[serde(default, deserialize_with = "nullable")]
    pub headers: Vec<RequestHeader>,
    /// Base64.
    #[serde(default, borrow)]
    pub body_base64: Option<Cow<'a, str>>,
    /// For everything, the body included.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// What to do about a redirect.
    #[serde(default, deserialize_with = "nullable")]
    pub redirect_policy: RedirectPolicy,
    /// Whether the body comes in pieces behind the reply.
    #[serde(default, deserialize_with = "nullable")]
    pub stream_response: bool,
}

/// A header to send.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestHeader {
    /// Its name.
    pub name: String,
    /// Its value, or how it begins.
    pub value: String,
    /// The variable of the executor whose value follows (capability `httpHeaderEnvVars`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_env_var: Option<String>,
}

/// What to do about a redirect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RedirectPolicy {
    /// Go where it leads.
    #[default]
    Follow,
    /// Return it.
    Stop,
}

/// Result of [`REQUEST`]. The executor writes it with [`crate::frame::http_reply`], never by serde.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestResult<'a> {
    /// The HTTP status; one that tells an error is a result like any other.
    pub status: u16,
    /// In the order they came, names in lower case.
    pub headers: Vec<ResponseHeader>,
    /// The body as it came, not decoded; empty when it is streamed.
    #[serde(borrow)]
    pub body_base64: Cow<'a, str>,
}

/// A header that was received.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseHeader {
    /// In lower case.
    pub name: String,
    /// As it came.
    pub value: String,
}

/// Params of [`BODY_DELTA`]. The executor writes it with [`crate::frame::http_body_delta`].
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BodyDeltaParams<'a> {
    /// Which request.
    #[serde(borrow)]
    pub request_id: Cow<'a, str>,
    /// From 1 without gaps.
    pub seq: u64,
    /// Base64 of at most 1 MiB.
    #[serde(borrow)]
    pub delta_base64: Cow<'a, str>,
    /// Whether this is the last one; it carries nothing.
    pub done: bool,
    /// How the body broke, in the last one.
    #[serde(default)]
    pub error: Option<String>,
}
