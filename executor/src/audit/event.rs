//! What is worth a record, and on whose behalf it happened.
//!
//! An event holds names, sizes and digests, never contents: no argument but the program's name
//! (unless the operator asked for them), no value of a variable, no byte of a file or a body.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// On whose behalf something happens. Cheap to clone: one per connection, one more when it has a
/// session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The number of the connection, if it has one.
    pub conn: Option<u64>,
    /// Where the connection comes from.
    pub peer: Option<SocketAddr>,
    /// Whom the listener recognised, in a form that is no secret.
    pub principal: Option<Arc<str>>,
    /// The beginning of the session's id.
    pub session: Option<Arc<str>>,
}

/// One thing that happened. What changes something is recorded when it is admitted, before it is
/// done, so that a crash cannot hide it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The executor began.
    Start,
    /// The executor ends in order.
    Stop,
    /// A listener is bound.
    Listen {
        address: String,
    },
    /// Somebody connected.
    Connect,
    /// Somebody proved who they are.
    AuthOk {
        mode: &'static str,
    },
    /// Somebody did not. The credential is not part of it.
    AuthFail {
        mode: &'static str,
        why: &'static str,
    },
    SessionNew,
    SessionResume,
    /// The connection of a session is gone, the session is not.
    SessionDetach,
    /// The session is gone, and what ran in it.
    SessionEnd {
        why: &'static str,
    },
    /// A program was asked for and is being started.
    ProcessStart(Box<ProcessStart>),
    /// It ended, or never began and then has no code.
    ProcessExit {
        process: Arc<str>,
        code: Option<i32>,
    },
    ProcessKill {
        process: Arc<str>,
        why: &'static str,
    },
    FsWrite {
        path: String,
        bytes: Option<u64>,
    },
    FsRemove {
        path: String,
        recursive: bool,
    },
    FsCopy {
        from: String,
        to: String,
        recursive: bool,
    },
    FsRename {
        from: String,
        to: String,
    },
    FsMode {
        path: String,
        mode: u32,
    },
    FsTimes {
        path: String,
        /// In Unix milliseconds.
        modified_at_ms: i64,
    },
    /// Only when the operator asked for reads.
    FsRead {
        path: String,
    },
    /// A call asked for restrictions that cannot be enforced here.
    SandboxRefused {
        method: String,
        member: String,
    },
    /// A request was made from this machine's network.
    HttpRequest {
        host: String,
        status: Option<u16>,
        refused: Option<&'static str>,
    },
    /// Somebody reached a bound.
    LimitHit {
        limit: &'static str,
    },
    /// A setting changed while we ran.
    ConfigChange {
        what: String,
    },
    /// Records that could not be kept.
    Lost {
        count: u64,
    },
}

/// A start in detail.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProcessStart {
    pub process: Arc<str>,
    pub argv0: String,
    /// Of all arguments, each followed by a NUL.
    pub argv_sha256: String,
    /// Only when the operator asked for them.
    pub argv: Option<Vec<String>>,
    pub cwd: String,
    pub tty: bool,
    /// What confines it.
    pub sandbox: &'static str,
    pub sandbox_sha256: Option<String>,
    /// Names only; values are nobody's business.
    pub env_names: Vec<String>,
    /// How many more names there were.
    pub env_names_more: usize,
    /// The conversation and the call in it, as the orchestrator names them.
    pub thread: Option<String>,
    pub tool_call: Option<String>,
    /// The trace of the call, if it has one.
    pub trace: Option<String>,
}

impl fmt::Debug for ProcessStart {
    /// Without arguments, which are for the file of an operator who asked for them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessStart")
            .field("process", &self.process)
            .field("argv_sha256", &self.argv_sha256)
            .finish_non_exhaustive()
    }
}

impl Event {
    /// Its name in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Start => "start",
            Event::Stop => "stop",
            Event::Listen { .. } => "listen",
            Event::Connect => "connect",
            Event::AuthOk { .. } => "auth.ok",
            Event::AuthFail { .. } => "auth.fail",
            Event::SessionNew => "session.new",
            Event::SessionResume => "session.resume",
            Event::SessionDetach => "session.detach",
            Event::SessionEnd { .. } => "session.end",
            Event::ProcessStart(_) => "process.start",
            Event::ProcessExit { .. } => "process.exit",
            Event::ProcessKill { .. } => "process.kill",
            Event::FsWrite { .. } => "fs.write",
            Event::FsRemove { .. } => "fs.remove",
            Event::FsCopy { .. } => "fs.copy",
            Event::FsRename { .. } => "fs.rename",
            Event::FsMode { .. } => "fs.mode",
            Event::FsTimes { .. } => "fs.times",
            Event::FsRead { .. } => "fs.read",
            Event::SandboxRefused { .. } => "sandbox.refused",
            Event::HttpRequest { .. } => "http.request",
            Event::LimitHit { .. } => "limit.hit",
            Event::ConfigChange { .. } => "config.change",
            Event::Lost { .. } => "audit.lost",
        }
    }

    /// Whether somebody causes it who has proved nothing yet, or as often as they like.
    pub(super) fn is_of_strangers(&self) -> bool {
        matches!(
            self,
            Event::Connect | Event::AuthFail { .. } | Event::LimitHit { .. }
        )
    }

    /// Whether it must reach the disk at once: what is started now may be what kills us.
    pub(super) fn is_urgent(&self) -> bool {
        matches!(
            self,
            Event::Stop | Event::ProcessStart(_) | Event::AuthFail { .. }
        )
    }

    /// About how much memory it takes while it waits.
    pub(super) fn weight(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
        let variable = match self {
            Event::ProcessStart(start) => {
                start.argv0.len()
                    + start.cwd.len()
                    + texts(&start.env_names)
                    + start.argv.as_deref().map_or(0, texts)
            }
            Event::FsWrite { path, .. }
            | Event::FsRemove { path, .. }
            | Event::FsMode { path, .. }
            | Event::FsTimes { path, .. }
            | Event::FsRead { path } => path.len(),
            Event::FsCopy { from, to, .. } | Event::FsRename { from, to } => from.len() + to.len(),
            Event::HttpRequest { host, .. } => host.len(),
            _ => 0,
        };
        FIXED_WEIGHT + variable
    }
}

/// The entry itself, what it shares, and what the allocator adds.
const FIXED_WEIGHT: usize = 256;
