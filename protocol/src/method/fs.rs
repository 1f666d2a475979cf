//! The `fs/*` families: files, trees and handles (`exec-protocol` sections 9 and 10).

use std::borrow::Cow;

use farstep_path_uri::PathUri;
use serde::{Deserialize, Serialize};

use super::sandbox::SandboxContext;
use super::{nullable, nullable_true, yes};

/// Request: a whole regular file.
pub const READ_FILE: &str = "fs/readFile";
/// Request: creates or truncates a file.
pub const WRITE_FILE: &str = "fs/writeFile";
/// Request: creates a directory.
pub const CREATE_DIRECTORY: &str = "fs/createDirectory";
/// Request: what a path is.
pub const GET_METADATA: &str = "fs/getMetadata";
/// Request: a path without links.
pub const CANONICALIZE: &str = "fs/canonicalize";
/// Request: what a directory holds.
pub const READ_DIRECTORY: &str = "fs/readDirectory";
/// Request: what a tree holds.
pub const WALK: &str = "fs/walk";
/// Request: removes a file or tree.
pub const REMOVE: &str = "fs/remove";
/// Request: copies a file or tree.
pub const COPY: &str = "fs/copy";
/// Request: opens a handle.
pub const OPEN: &str = "fs/open";
/// Request: reads at a position.
pub const READ_BLOCK: &str = "fs/readBlock";
/// Request: writes at a position.
pub const WRITE_BLOCK: &str = "fs/writeBlock";
/// Request: closes a handle.
pub const CLOSE: &str = "fs/close";
/// Request: the SHA-256 of a file or of its beginning; capability [`FILES`].
pub const DIGEST: &str = "fs/farstepDigest";
/// Request: gives a file another name, in place of what has it; capability [`FILES`].
pub const RENAME: &str = "fs/farstepRename";
/// Request: sets the permission bits of a path; capability [`FILES`].
pub const SET_MODE: &str = "fs/farstepSetMode";
/// Request: sets when a path was changed last; capability [`TREES`].
pub const SET_TIMES: &str = "fs/farstepSetTimes";
/// The capability of everything here that is ours and not of [`TREES`]: [`DIGEST`], [`RENAME`],
/// [`SET_MODE`], [`OpenMode::Update`] and the members named `farstep...`.
pub const FILES: &str = "farstepFiles";
/// The capability of [`SET_TIMES`] and [`WalkOptions::everything`].
pub const TREES: &str = "farstepTrees";
/// Waits for paths to appear or for one to disappear; capability `fsWatchMissing`.
pub const WATCH_MISSING: &str = "fs/watchMissing";
/// What a watch waited for has happened, and the watch is over.
pub const MISSING_CHANGED: &str = "fs/missingChanged";

/// Params of [`READ_FILE`], [`GET_METADATA`], [`CANONICALIZE`] and [`READ_DIRECTORY`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PathParams {
    /// Which path.
    pub path: PathUri,
    /// What to confine the call to.
    #[serde(default)]
    pub sandbox: Option<SandboxContext>,
    /// Whether symbolic links are followed. Off refuses one in any component.
    #[serde(
        default = "yes",
        deserialize_with = "nullable_true",
        skip_serializing_if = "is_true"
    )]
    pub follow_symlinks: bool,
}

/// Result of [`READ_FILE`].
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadFileResult<'a> {
    /// The content, as base64.
    #[serde(borrow)]
    pub data_base64: Cow<'a, str>,
}

/// Params of [`WRITE_FILE`]. Built by [`crate::frame::write_file_request`], never by serde.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteFileParams<'a> {
    /// Which path.
    pub path: PathUri,
    /// The content, as base64.
    #[serde(borrow)]
    pub data_base64: Cow<'a, str>,
    /// What to confine the call to.
    #[serde(default)]
    pub sandbox: Option<SandboxContext>,
    /// Whether symbolic links are followed.
    #[serde(default = "yes", deserialize_with = "nullable_true")]
    pub follow_symlinks: bool,
}

/// Params of [`CREATE_DIRECTORY`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateDirectoryParams {
    /// Which path.
    pub path: PathUri,
    /// Whether parents are created, and an existing directory is fine.
    #[serde(default = "yes", deserialize_with = "nullable_true")]
    pub recursive: bool,
    /// What to confine the call to.
    #[serde(default)]
    pub sandbox: Option<SandboxContext>,
    /// Whether symbolic links are followed.
    #[serde(
        default = "yes",
        deserialize_with = "nullable_true",
        skip_serializing_if = "is_true"
    )]
    pub follow_symlinks: bool,
}

/// Result of [`GET_METADATA`]: of the link's target, but for `is_symlink`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// A directory.
    pub is_directory: bool,
    /// A regular file.
    pub is_file: bool,
    /// The path itself is a link.
    #[serde(default)]
    pub is_symlink: bool,
    /// In bytes.
    #[serde(default)]
    pub size: u64,
    /// Unix milliseconds, 0 when unknown.
    #[serde(default)]
    pub created_at_ms: i64,
    /// Unix milliseconds, 0 when unknown.
    #[serde(default)]
    pub modified_at_ms: i64,
    /// The nine permission bits, where the machine has them. Ours; the peer does not send it.
    #[serde(
        default,
        rename = "farstepMode",
        skip_serializing_if = "Option::is_none"
    )]
    pub mode: Option<u32>,
}

/// Result of [`CANONICALIZE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanonicalizeResult {
    /// The path without links.
    pub path: PathUri,
}

/// Result of [`READ_DIRECTORY`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadDirectoryResult {
    /// In no particular order.
    pub entries: Vec<DirectoryEntry>,
}

/// One entry of a directory; the flags describe a link's target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryEntry {
    /// Its name; U+FFFD stands for bytes that are not UTF-8.
    pub file_name: String,
    /// A directory.
    pub is_directory: bool,
    /// A regular file.
    pub is_file: bool,
}

/// Params of [`WALK`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WalkParams {
    /// The root, itself not listed.
    pub path: PathUri,
    /// How far to go.
    pub options: WalkOptions,
    /// What to confine the call to.
    #[serde(default)]
    pub sandbox: Option<SandboxContext>,
}

/// How far a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WalkOptions {
    /// 0 lists the root only; at most 64.
    pub max_depth: u64,
    /// Directories entered; at most 10,000.
    pub max_directories: u64,
    /// Entries looked at; at most 50,000.
    pub max_entries: u64,
    /// Whether links to directories are entered.
    pub follow_directory_symlinks: bool,
    /// Whether directories named `.*` are listed but not entered.
    #[serde(default, deserialize_with = "nullable")]
    pub prune_hidden_directories: bool,
    /// Whether links and special files are listed too. Ours; only with [`TREES`].
    #[serde(
        default,
        deserialize_with = "nullable",
        rename = "farstepEverything",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub everything: bool,
}

/// Result of [`WALK`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkResult {
    /// Breadth first, within a directory by name in byte order.
    pub entries: Vec<WalkEntry>,
    /// What could not be looked at.
    #[serde(default)]
    pub errors: Vec<WalkError>,
    /// Whether a limit cut it short.
    #[serde(default)]
    pub truncated: bool,
}

/// One entry of a walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkEntry {
    /// Where it is.
    pub path: PathUri,
    /// What it is.
    pub kind: WalkKind,
}

/// What a walk lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WalkKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link that was not entered. Only to who asked for everything.
    #[serde(rename = "farstepLink")]
    Link,
    /// Anything else. Only to who asked for everything.
    #[serde(rename = "farstepOther")]
    Other,
}

/// What a walk could not look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalkError {
    /// Where.
    pub path: PathUri,
    /// Why.
    pub message: String,
}

/// Params of [`REMOVE`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoveParams {
    /// Which path; the last link is never followed.
    pub path: PathUri,
    /// Whether trees go too.
    #[serde(default = "yes", deserialize_with = "nullable_true")]
    pub recursive: bool,
    /// Whether a missing path is fine.
    #[serde(default = "yes", deserialize_with = "nullable_true")]
    pub force: bool,
    /// What to confine the call to.
    #[serde(default)]
    pub sandbox: Option<SandboxContext>,
    /// Whether symbolic links in parents are followed.
    #[serde(
        default = "yes",
        deserialize_with = "nullable_true",
        skip_serializing_if = "is_true"
    )]
    pub follow_symlinks: bool,
}

/// Params of [`COPY`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyParams {
    /// From where.
    pub source_path: PathUri,
    /// To where.
    pub destination_path: PathUri,
    /// Whether directories may be copied.
    pub recursive: bool,
    /// What to confine the call to.
    #[serde(default)]
    pub sandbox: Option<SandboxContext>,
}

/// Params of [`OPEN`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenParams {
    /// Chosen by the client, at most 32 bytes.
    pub handle_id: String,
    /// Which path.
    pub path: PathUri,
    /// What for.
    #[serde(default)]
    pub mode: OpenMode,
    /// What to confine the call to.
    #[serde(default)]
    pub sandbox: Option<SandboxContext>,
    /// With [`OpenMode::Update`]: cut to or filled up with zeros to so many bytes. Ours.
    #[serde(
        default,
        rename = "farstepLength",
        skip_serializing_if = "Option::is_none"
    )]
    pub length: Option<u64>,
}

/// What a handle is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpenMode {
    /// Reading.
    #[default]
    Read,
    /// Writing a file anew; only with the capability `fileWriteStreaming`.
    Replace,
    /// Writing into what is there, which is created if missing; only with [`FILES`].
    #[serde(rename = "farstepUpdate")]
    Update,
}

/// Params of [`READ_BLOCK`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadBlockParams<'a> {
    /// Which handle.
    #[serde(borrow)]
    pub handle_id: Cow<'a, str>,
    /// From where, in bytes.
    pub offset: u64,
    /// How much, 1 byte to 1 MiB.
    pub len: u64,
    /// Whether a block of nothing but zeros may be told by their number. Ours.
    #[serde(
        default,
        rename = "farstepZeros",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub zeros: bool,
}

/// Result of [`READ_BLOCK`].
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadBlockResult<'a> {
    /// The bytes, as base64.
    #[serde(borrow)]
    pub chunk: Cow<'a, str>,
    /// Whether there were fewer than were asked for.
    pub eof: bool,
    /// So many zeros stand for the bytes, and `chunk` is empty. Only to who asked for it.
    #[serde(default, rename = "farstepZeros")]
    pub zeros: u64,
}

/// Params of [`WRITE_BLOCK`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteBlockParams<'a> {
    /// Which handle.
    #[serde(borrow)]
    pub handle_id: Cow<'a, str>,
    /// To where, in bytes.
    pub offset: u64,
    /// 1 byte to 1 MiB, as base64.
    #[serde(borrow)]
    pub chunk: Cow<'a, str>,
}

/// Params and result of [`CLOSE`] and result of [`OPEN`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handle {
    /// Which handle.
    pub handle_id: String,
}

/// Params of [`DIGEST`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DigestParams {
    /// Of which file.
    pub path: PathUri,
    /// Of so many bytes from its beginning; all of them if absent.
    #[serde(default)]
    pub length: Option<u64>,
}

/// Result of [`DIGEST`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DigestResult {
    /// 64 hexadecimal digits in lower case.
    pub sha256: String,
    /// How many bytes it is of: fewer than were asked for if the file ends before.
    pub length: u64,
}

/// Params of [`RENAME`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenameParams {
    /// What it is called.
    pub source_path: PathUri,
    /// What it is to be called, on the same file system.
    pub destination_path: PathUri,
}

/// Params of [`SET_MODE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetModeParams {
    /// Of which path; links are followed.
    pub path: PathUri,
    /// The nine permission bits.
    pub mode: u32,
}

/// Params of [`SET_TIMES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetTimesParams {
    /// Of which path; links are followed.
    pub path: PathUri,
    /// When it was changed last, in Unix milliseconds.
    pub modified_at_ms: i64,
}

fn is_true(flag: &bool) -> bool {
    *flag
}

/// Params of [`WATCH_MISSING`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchMissingParams {
    /// Chosen by the caller; one watch of a connection has it at a time.
    pub watch_id: u64,
    /// Any of these appears.
    pub missing: Vec<PathUri>,
    /// Or this one disappears.
    #[serde(default)]
    pub present: Option<PathUri>,
}

/// Result of [`WATCH_MISSING`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchMissingResult {
    /// Whether there is something to wait for.
    pub watching: bool,
}

/// Params of [`MISSING_CHANGED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingChangedParams {
    /// Which watch.
    pub watch_id: u64,
}
