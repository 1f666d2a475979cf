//! The promises of the crate, one module per kind of promise.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say so on the spot"
)]

mod deny;
mod differential;
mod divergences;
mod legacy;
mod native;
mod parsing;
mod properties;
mod security;
mod strategies;

use std::fmt::Debug;

use farstep_path_uri::{PathUri, PathUriError, PathUriErrorKind};

/// The URI that `text` must be.
fn uri(text: &str) -> PathUri {
    PathUri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The kind of refusal that `result` must be.
fn refusal<T: Debug>(result: Result<T, PathUriError>) -> PathUriErrorKind {
    result.unwrap_err().kind
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}
