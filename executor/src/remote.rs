//! An executor without an open port: it registers at a rendezvous and keeps a websocket there, in
//! which orchestrators open encrypted streams.

mod args;
mod service;

pub use args::{CredentialSource, Refused, RemoteArgs, Settings};
pub(crate) use service::fits_a_header;
pub use service::{
    CredentialError, IdentityFileError, RegisterError, Remote, RemoteError, WelcomeError,
};

/// Variables that may hold our credential, the first that is set. Commands do not get them.
pub const CREDENTIAL_VARIABLES: [&str; 2] = ["FARSTEP_API_KEY", "CODEX_API_KEY"];
