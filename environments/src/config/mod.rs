//! `environments.toml`: from the text of the file to typed values, or to a list of what is wrong with it.
//!
//! Owns: the schema, its rules, the position of every complaint, the normalised JSON form, and the
//! variables that stand in for a missing file.
//!
//! Refuses to know: the process environment and the home folder (the caller passes a folder and a
//! lookup), connections, and secrets that live outside the file. Nothing here dials or spawns.
//!
//! ```text
//!   text ──toml──► spans ──entry by entry──► Config            all or nothing:
//!                              │                               one error refuses the file
//!                              └──► Vec<Diagnostic>            but every error is told
//! ```

mod diagnostic;
mod edit;
mod extension;
mod follow;
mod id;
mod json;
mod load;
mod model;
mod read;
mod schema;
mod selector;

pub use diagnostic::{Diagnostic, Kind, MAX_DIAGNOSTICS, Severity};
pub use edit::{Change, Draft, EditError, Loss, NewEntry, NewTransport, Plain, Saved, for_codex};
pub use extension::{
    Auth, Connect, EntryExtension, EnvironmentVariables, Health, NamedValues, NewThread,
    OnPrimaryFailure, Os, Profile, Proxy, RendezvousExtension, Restart, RestartPolicy,
    SecretSource, Tls, TopExtension, Trust,
};
pub use follow::Follower;
pub use id::{EnvironmentId, IdProblem};
pub use load::{
    FILE_NAME, LoadError, OVERLAY_NAME, Places, discover, from_variables, load, read_text,
};
pub use model::{Config, DefaultEnvironment, Entry, Transport};
pub use read::{overlay, parse};

pub use schema::{overlay_schema, schema};
pub use selector::Selector;

#[cfg(test)]
mod tests;
