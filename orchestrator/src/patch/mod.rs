//! The `apply_patch` envelope: from a model's text to the file operations it asks for.
//!
//! ```text
//!   text ── Patch::parse ──► Patch ── Plan::new(cwd) ──► Plan
//!                                                          │ reads()          round 1: read all
//!                              what the files hold ──────► │ verify()
//!                                                          ▼
//!                                                       Changes               round 2: create directories
//!                                                          │                  round 3: write and delete all
//!                              what failed ──────────────► report             (4: delete what was moved)
//! ```
//!
//! Everything is located and computed before anything is written, and each round's requests do not
//! depend on each other, so a patch over many files costs as many round trips as one over a single
//! file. This module owns the format, the matching rules and the texts the model reads. It refuses
//! to know executors: it never reads or writes a file.

mod edit;
mod heredoc;
mod parse;
mod plan;
mod report;
mod seek;

pub use edit::MatchError;
pub use heredoc::patch_in_command;
pub use parse::{Chunk, Hunk, Line, ParseError, Patch};
pub use plan::{ChangeKind, Changes, FileChange, Plan, Target, VerifyError, Write};
pub use report::{Failure, failed, invalid, succeeded, unfit};
