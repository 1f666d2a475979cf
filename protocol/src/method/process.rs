//! The `process/*` family (`exec-protocol` section 7).

use std::borrow::Cow;
use std::collections::BTreeMap;

use farstep_path_uri::PathUri;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::environment::Shell;
use super::nullable;
use super::sandbox::SandboxContext;

/// Request: starts a process under an id of the caller's choice.
pub const START: &str = "process/start";
/// Request: retained output and state, now or as soon as there is news.
pub const READ: &str = "process/read";
/// Request: bytes for the process's standard input.
pub const WRITE: &str = "process/write";
/// Request: interrupts the process group.
pub const SIGNAL: &str = "process/signal";
/// Request: kills the process group.
pub const TERMINATE: &str = "process/terminate";
/// Request, ours: no more input will follow what was written.
pub const CLOSE_INPUT: &str = "process/farstepCloseInput";
/// Request, ours: the terminal has another size.
pub const RESIZE: &str = "process/farstepResize";
/// Capability, ours: [`CLOSE_INPUT`], [`RESIZE`] and [`StartParams::window`].
pub const CONTROL: &str = "farstepProcessControl";
/// Capability, ours: every [`Signal`], not only the first.
pub const SIGNALS: &str = "farstepSignals";
/// Notification: output.
pub const OUTPUT: &str = "process/output";
/// Notification: the process ended.
pub const EXITED: &str = "process/exited";
/// Notification: the process ended and so did its output; always the last.
pub const CLOSED: &str = "process/closed";

/// Params of [`START`].
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartParams {
    /// Any text, unique in the session until forgotten.
    pub process_id: String,
    /// For diagnostics only.
    #[serde(default)]
    pub metadata: Option<Metadata>,
    /// Program and arguments, verbatim.
    pub argv: Vec<String>,
    /// Where to run; must exist.
    pub cwd: PathUri,
    /// How the executor's own variables are passed on. Absent: not at all.
    #[serde(default)]
    pub env_policy: Option<EnvPolicy>,
    /// Variables that always win.
    pub env: BTreeMap<String, String>,
    /// Whether to run on a pseudo-terminal.
    pub tty: bool,
    /// Whether standard input stays writable without a terminal.
    #[serde(default, deserialize_with = "nullable")]
    pub pipe_stdin: bool,
    /// What the child sees as its name.
    #[serde(default)]
    pub arg0: Option<String>,
    /// What to confine it to.
    #[serde(default)]
    pub sandbox: Option<SandboxContext>,
    /// Whether the managed network must be enforced.
    #[serde(default, deserialize_with = "nullable")]
    pub enforce_managed_network: bool,
    /// The managed network, uninterpreted.
    #[serde(default)]
    pub managed_network: Option<Value>,
    /// The network proxy, uninterpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_proxy: Option<Value>,
    /// Credentials to provide, uninterpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_providers: Option<Value>,
    /// Permission to start from a cached copy of the login shell's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell_snapshot: Option<ShellSnapshot>,
    /// How large the terminal is at the start. Ours; the peer neither sends nor reads it.
    #[serde(
        default,
        rename = "farstepWindow",
        skip_serializing_if = "Option::is_none"
    )]
    pub window: Option<Window>,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// How many lines.
    pub rows: u16,
    /// How wide each of them is.
    pub columns: u16,
}

/// Which call of which conversation wants the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<uuid::Uuid>,
    /// The call in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// How the executor's own variables are passed on (section 7.3). All members are required.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvPolicy {
    /// What to start from.
    pub inherit: Inherit,
    /// Whether names that look like secrets are kept.
    pub ignore_default_excludes: bool,
    /// Patterns of names to drop.
    pub exclude: Vec<String>,
    /// Variables to add.
    pub set: BTreeMap<String, String>,
    /// Patterns of the only names to keep; empty keeps all.
    pub include_only: Vec<String>,
}

/// What the child's environment starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Inherit {
    /// The executor's environment.
    All,
    /// The few variables nearly every program needs.
    Core,
    /// Nothing.
    None,
}

/// See `exec-protocol` section 12.2. Ignoring it is correct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShellSnapshot {
    /// Which cached state; 1 to 256 bytes.
    pub scope_id: String,
    /// Of which shell.
    pub shell: Shell,
}

/// Result of [`START`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartResult {
    /// The id that was asked for.
    pub process_id: String,
    /// What confines it; `none` without a sandbox, absent on old servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_type: Option<String>,
}

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The terminal, where both are one.
    Pty,
}

impl OutputStream {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            OutputStream::Stdout => "stdout",
            OutputStream::Stderr => "stderr",
            OutputStream::Pty => "pty",
        }
    }
}

/// Params of [`OUTPUT`]. Built by [`crate::frame::process_output`], never by serde.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputParams<'a> {
    /// Whose output.
    #[serde(borrow)]
    pub process_id: Cow<'a, str>,
    /// Its place among the events of the process, from 1.
    pub seq: u64,
    /// Where it came from.
    pub stream: OutputStream,
    /// Base64.
    #[serde(borrow)]
    pub chunk: Cow<'a, str>,
}

/// Params of [`EXITED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitedParams<'a> {
    /// Which process.
    #[serde(borrow)]
    pub process_id: Cow<'a, str>,
    /// Its place among the events of the process.
    pub seq: u64,
    /// 0 to 255, or 128 and the signal.
    pub exit_code: i64,
    /// Whether a sandbox is believed to be the cause.
    #[serde(default)]
    pub sandbox_denied: Option<bool>,
}

/// Params of [`CLOSED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosedParams<'a> {
    /// Which process.
    #[serde(borrow)]
    pub process_id: Cow<'a, str>,
    /// Its place among the events of the process.
    pub seq: u64,
}

/// Params of [`READ`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadParams<'a> {
    /// Which process.
    #[serde(borrow)]
    pub process_id: Cow<'a, str>,
    /// Only what came after this event.
    #[serde(default, deserialize_with = "nullable")]
    pub after_seq: u64,
    /// Where to cut the page; at least one chunk is returned if there is any.
    #[serde(default)]
    pub max_bytes: Option<u64>,
    /// How long to wait when there is nothing to report.
    #[serde(default, deserialize_with = "nullable")]
    pub wait_ms: u64,
}

/// Result of [`READ`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadResult<'a> {
    /// Retained output, ascending.
    #[serde(borrow)]
    pub chunks: Vec<ReadChunk<'a>>,
    /// To go on, read after the one before it.
    pub next_seq: u64,
    /// Whether the process ended.
    pub exited: bool,
    /// How it ended.
    pub exit_code: Option<i64>,
    /// Whether its output ended too.
    pub closed: bool,
    /// Reserved for a lost process.
    #[serde(default)]
    pub failure: Option<String>,
    /// Whether a sandbox is believed to be the cause.
    #[serde(default)]
    pub sandbox_denied: Option<bool>,
    /// In a durable session: how much output from before what is retained was dropped so far, in
    /// bytes. Ours; the peer does not send it.
    #[serde(default, rename = "farstepDroppedBytes")]
    pub dropped_bytes: Option<u64>,
}

/// One piece of output in a [`ReadResult`].
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct ReadChunk<'a> {
    /// Its place among the events of the process.
    pub seq: u64,
    /// Where it came from.
    pub stream: OutputStream,
    /// Base64.
    #[serde(borrow)]
    pub chunk: Cow<'a, str>,
}

/// Params of [`WRITE`]. Built by [`crate::frame::process_write_request`], never by serde.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteParams<'a> {
    /// Which process.
    #[serde(borrow)]
    pub process_id: Cow<'a, str>,
    /// Base64.
    #[serde(borrow)]
    pub chunk: Cow<'a, str>,
    /// Unique per write to one process, not empty.
    #[serde(borrow)]
    pub write_id: Cow<'a, str>,
}

/// Result of [`WRITE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteResult {
    /// What became of the bytes.
    pub status: WriteStatus,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WriteStatus {
    /// Queued for the child, now or when this `writeId` first came.
    Accepted,
    /// No such process, or already forgotten.
    UnknownProcess,
    /// Nothing can be written to it.
    StdinClosed,
    /// The start is still under way and nothing was taken; retry.
    Starting,
}

/// Params of [`SIGNAL`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignalParams<'a> {
    /// Which process.
    #[serde(borrow)]
    pub process_id: Cow<'a, str>,
    /// Which signal.
    pub signal: Signal,
}

/// Params of [`CLOSE_INPUT`], which answers [`WriteResult`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloseInputParams<'a> {
    /// Which process.
    #[serde(borrow)]
    pub process_id: Cow<'a, str>,
}

/// Params of [`RESIZE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResizeParams<'a> {
    /// Which process.
    #[serde(borrow)]
    pub process_id: Cow<'a, str>,
    /// The new size.
    #[serde(flatten)]
    pub window: Window,
}

/// The signals the wire knows. Beyond the first they are ours, behind [`SIGNALS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Signal {
    /// As if the user had typed control-C.
    Interrupt,
    /// Asks to end in an orderly way.
    #[serde(rename = "farstepTerminate")]
    Terminate,
    /// As if the terminal had gone.
    #[serde(rename = "farstepHangup")]
    Hangup,
    /// As if the user had typed control-\.
    #[serde(rename = "farstepQuit")]
    Quit,
}

/// Params of [`TERMINATE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TerminateParams<'a> {
    /// Which process.
    #[serde(borrow)]
    pub process_id: Cow<'a, str>,
}

/// Result of [`TERMINATE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminateResult {
    /// Whether it was still running, and was killed by this.
    pub running: bool,
}

impl StartParams {
    /// A process with neither variables nor terminal nor sandbox, whose input is empty.
    pub fn new(process_id: impl Into<String>, argv: Vec<String>, cwd: PathUri) -> Self {
        StartParams {
            process_id: process_id.into(),
            metadata: None,
            argv,
            cwd,
            env_policy: None,
            env: BTreeMap::new(),
            tty: false,
            pipe_stdin: false,
            arg0: None,
            sandbox: None,
            enforce_managed_network: false,
            managed_network: None,
            network_proxy: None,
            credential_providers: None,
            shell_snapshot: None,
            window: None,
        }
    }
}
