//! What a node answers over its sockets: to executors and orchestrators, to tenants and operators, and
//! what they cannot do to each other.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper of a test may fail the test"
)]

mod admin;
mod contract;
mod grpc;
mod identity;
mod isolation;
mod revocation;
mod routes;
mod scene;
mod secrets;
mod silence;
mod waiting;
