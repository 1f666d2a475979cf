//! Serves one machine's files and processes to an orchestrator.
//!
//! ```text
//!                    listen (HTTP, upgrade) ─┐
//!                    stdio ──────────────────┤
//!                    local (Unix sockets) ───┤ ◀── background: stdio, passed on
//!                                            ▼
//!   wire ◀──▶ connection: one task, gates, two lanes ──▶ dispatch ──▶ fs ─────────┐
//!                   ▲                                       │                     ├──▶ os
//!                   └── attached: events in order ◀── process (one task each) ────┘
//!                                   ▲
//!   server: what all share          └── session: outlives its connection
//! ```
//!
//! A connection owns its wire and its calls; a session owns its processes; a process owns its
//! child. `os` is the only place that knows the operating system. Errors become codes in `errors`
//! and nowhere else.

mod attached;
pub mod audit;
pub mod auth;
pub mod background;
pub mod cli;
mod connection;
mod dispatch;
mod errors;
pub mod fs;
pub mod http;
mod info;
mod limits;
mod listen;
mod local;
pub mod logs;
mod metrics;
pub mod os;
mod pause;
mod pool;
pub mod process;
pub mod remote;
mod server;
mod session;
mod shown;
mod stdio;
pub mod supervise;
mod surroundings;
mod trace;
mod vigil;
mod watch;

pub use info::Host;
pub use listen::{
    Access, AccessArgs, Gate, GateError, ListenError, Listener, RefusedAccess, TlsSettings,
};
pub use local::{Local, LocalError};
pub use pool::{THREADS_MAX, WORKERS};
pub use server::Server;
pub use stdio::{StdioEnd, serve_stdio};
