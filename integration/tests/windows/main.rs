//! The executor built for Windows, run under Wine: `FARSTEP_WINDOWS_EXECUTOR` names the program that
//! `integration/windows/build` has made.
//!
//! Wine is not Windows: it takes the place of the processes, jobs, pipes, files and handles that the
//! executor uses, and has no opinion on access lists or on what a real console shows.

#![expect(
    clippy::unwrap_used,
    reason = "what cannot be read or written here has failed"
)]

mod copies;
mod files;
mod machine;
mod processes;
mod refusals;
mod together;
