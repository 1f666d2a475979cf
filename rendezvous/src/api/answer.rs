//! Refusals, in the shape that peers show to people.

use std::borrow::Cow;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use farstep_protocol::relay::registry::{Refusal, RefusalBody};

use crate::control::TWO_COUNT;
use crate::store::{CredentialKind, StoreError};

/// Says that a wish of the caller was followed (RFC 7240).
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// A request that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    retry_after: Option<u8>,
    /// For how many seconds the executor was waited for because the caller wished it so.
    waited: Option<u8>,
}

const fn refused(status: StatusCode, code: &'static str, message: &'static str) -> Refused {
    Refused {
        status,
        code,
        message: Cow::Borrowed(message),
        retry_after: None,
        waited: None,
    }
}

/// One that may be asked again after so many seconds.
const fn later(
    seconds: u8,
    status: StatusCode,
    code: &'static str,
    message: &'static str,
) -> Refused {
    Refused {
        status,
        code,
        message: Cow::Borrowed(message),
        retry_after: Some(seconds),
        waited: None,
    }
}

impl Refused {
    pub(crate) const NOT_FOUND: Refused = refused(
        StatusCode::NOT_FOUND,
        "not_found",
        "no such route; check the base URL",
    );
    pub(crate) const MALFORMED: Refused = refused(
        StatusCode::BAD_REQUEST,
        "invalid_request",
        "the body is not what this route takes",
    );
    pub(crate) const PROFILE: Refused = refused(
        StatusCode::BAD_REQUEST,
        "unsupported_security_profile",
        "only noise_hybrid_ik_v1 is supported",
    );
    pub(crate) const CREDENTIAL: Refused = refused(
        StatusCode::UNAUTHORIZED,
        "invalid_credential",
        "the credential is missing, wrong, expired or revoked; \
         `farstep-rendezvous admin token new` makes one",
    );
    pub(crate) const CODE: Refused = refused(
        StatusCode::UNAUTHORIZED,
        "invalid_code",
        "the enrolment code is wrong, expired or used; \
         `farstep-rendezvous admin enroll` makes one",
    );
    pub(crate) const GUESSING: Refused = later(
        60,
        StatusCode::TOO_MANY_REQUESTS,
        "too_many_failures",
        "too many wrong credentials came from this address",
    );
    /// The same for what does not exist and what is forbidden: ids cannot be probed.
    pub(crate) const FORBIDDEN: Refused = refused(
        StatusCode::FORBIDDEN,
        "forbidden",
        "there is no such environment for this credential",
    );
    pub(crate) const FULL: Refused = refused(
        StatusCode::FORBIDDEN,
        "too_many_environments",
        "the tenant has as many environments as it may; \
         `farstep-rendezvous admin forget` removes one",
    );
    pub(crate) const EXECUTOR_KEY: Refused = refused(
        StatusCode::FORBIDDEN,
        "executor_key",
        "the environment's policy names other executors' keys; \
         `farstep-rendezvous admin policy` shows and sets it",
    );
    pub(crate) const SUPERSEDED: Refused = refused(
        StatusCode::CONFLICT,
        "superseded",
        "another executor took this environment over; give this one another id, \
         or remove the environment with `farstep-rendezvous admin forget`",
    );
    pub(crate) const TWO: Refused = refused(StatusCode::CONFLICT, "two_credentials", TWO_COUNT);
    pub(crate) const STREAMS: Refused = later(
        5,
        StatusCode::TOO_MANY_REQUESTS,
        "too_many_streams",
        "the executor or the credential has as many streams as it may",
    );
    pub(crate) const FOLLOWERS: Refused = later(
        5,
        StatusCode::TOO_MANY_REQUESTS,
        "too_many_followers",
        "as many follow events of this node as it takes",
    );
    pub(crate) const TOO_FAST: Refused = later(
        1,
        StatusCode::TOO_MANY_REQUESTS,
        "too_many_requests",
        "the credential asks too often",
    );
    pub(crate) const UNAVAILABLE: Refused = later(
        1,
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "the service cannot answer right now",
    );

    /// The credential counts, and is for something else. Whoever shows it may know that.
    pub(crate) fn kind(wanted: CredentialKind) -> Refused {
        let wanted = wanted.name();
        Refused {
            message: Cow::Owned(format!(
                "the credential is of another kind than this takes; `farstep-rendezvous admin token \
                 new --kind {wanted}` makes one"
            )),
            ..Refused::CREDENTIAL
        }
    }

    /// The executor is away, and why, and whether it was waited for as the caller wished.
    pub(crate) fn away(why: &str, waited: Option<u8>) -> Refused {
        let message = format!("the environment's executor is not connected: {why}");
        Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "executor_away",
            message: Cow::Owned(message),
            retry_after: Some(1),
            waited,
        }
    }

    /// In words.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn is_failure(&self) -> bool {
        self.status.is_server_error()
    }
}

/// What the store says is for the log alone.
impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Refused {
        tracing::error!(%error, "the store failed");
        Refused::UNAVAILABLE
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = Refusal {
            error: RefusalBody {
                code: self.code.to_owned(),
                message: self.message.into_owned(),
            },
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            let value = HeaderValue::from(u16::from(seconds));
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        if let Some(seconds) = self.waited
            && let Ok(value) = HeaderValue::try_from(format!("wait={seconds}"))
        {
            response.headers_mut().insert(PREFERENCE_APPLIED, value);
        }
        response
    }
}
