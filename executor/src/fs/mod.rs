//! The files of this machine: the work behind the `fs/` methods, as blocking functions.
//!
//! ```text
//!   dispatch ──▶ order (may it start?) ──▶ read · write · metadata · list · walk · remove · copy
//!                                            └──────────▶ os::files (descriptors, system calls)
//! ```
//!
//! Native paths and plain values go in; plain values and [`FsError`] come out. Nothing here knows
//! JSON-RPC, sandboxes or threads: who calls decides where a call may block. The two exceptions are
//! deliberate: a listing and a walk write their own result objects, because tens of thousands of
//! entries must not pass through a tree of values.
//!
//! What a call decides, it decides on what it opened, not on a name that may mean something else a
//! moment later.

mod attributes;
mod copy;
mod create;
mod crew;
mod digest;
mod error;
mod handles;
mod json;
mod list;
mod metadata;
mod names;
mod order;
mod read;
mod remove;
mod tree;
mod walk;
mod write;

pub use crate::os::files::Links;
pub use attributes::{rename, set_mode, set_times};
pub use copy::copy;
pub use create::{create_directory, topmost_missing};
pub use digest::{FileDigest, digest};
pub use error::{FsError, FsErrorKind};
pub use handles::{
    BLOCK_BYTES_MAX, Block, HANDLE_ID_BYTES_MAX, HANDLES_MAX, Handle, HandleError, Handles, Mode,
    Reservation,
};
pub use list::{DIRECTORY_ENTRIES_MAX, DirectoryEntry, Listing, read_directory};
pub use metadata::{Metadata, canonicalize, metadata};
pub use order::{Access, Admit, PathOrder, Reach, Ticket};
pub use read::{READ_FILE_BYTES_MAX, ReadFile, open_file, read};
pub use remove::{Remove, remove};
pub use tree::{Bounds, TREE_ENTRIES_MAX, TREE_TIME_MAX};
pub use walk::{
    EntryKind, WALK_BYTES_MAX, WALK_DEPTH_MAX, WALK_DIRECTORIES_MAX, WALK_ENTRIES_MAX, Walk,
    WalkEntry, WalkFailure, WalkOptions, walk,
};
pub use write::{Content, write};

#[cfg(test)]
mod attacks;
