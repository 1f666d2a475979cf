//! The promises of the crate, one module per kind of promise.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say so on the spot"
)]

mod differential;
mod properties;
mod strategies;

use farstep_path_uri::PathUri;

/// The URI that `text` must be.
fn uri(text: &str) -> PathUri {
    PathUri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}
