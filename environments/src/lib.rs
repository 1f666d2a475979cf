//! Environments: from an id to a live executor.
//!
//! An *environment* is a named place where tools run. This crate reads which there are, connects
//! to the executors behind them, and hands out typed calls on those connections.
//!
//! ```text
//!   config ──▶ Registry ──▶ Environment ──dial──▶ Executor ──▶ Process
//!                               │                    ▲           files
//!                               └──▶ Snapshot ───────┘
//! ```
//!
//! - [`config`]: `environments.toml`, its rules and its complaints.
//! - [`Registry`]: all environments of a configuration; made anew when it changes.
//! - [`Environment`]: one place, its state and its one connection.
//! - [`Snapshot`]: what a step saw, frozen together with the connections it may use.
//! - [`Gateway`]: one environment as a plain websocket, for clients that cannot reach it themselves.
//! - [`Executor`], [`Process`]: a live connection and what runs there, as typed calls.
//!
//! The local machine is an executor behind a pipe: there is no second code path. A call
//! that was sent is repeated only where the protocol makes that harmless; nothing here plans tools
//! or prints.

pub mod config;

mod client;
mod dial;
mod environment;
mod gateway;
mod known;
mod registry;
mod snapshot;
mod terms;
#[cfg(test)]
mod testing;
mod trace;

pub use client::{
    BLOCK_BYTES_MAX, Block, CallError, DurableSession, Executor, OpenFile, Overflow, Page,
    PageChunk, Process, ProcessEvent, ProcessInput, SessionId,
};
pub use dial::{
    BadTarget, Bootstrap, ConnectError, Executors, Fact, Hop, Leg, Place, Placed, Platform,
    Progress, SshError, SshHop, SshTarget, Step, Tried, Variable, Waiting,
};
pub use environment::{Check, Environment, Herald, Probe, Status};
pub use gateway::{Gateway, GatewayAccess, GatewayError};
pub use known::{KNOWN_HOSTS, KeyKind, KnownError, KnownHost, KnownHosts};
pub use registry::{Conditions, LocalExecutor, Registry};
pub use snapshot::{Snapshot, SnapshotEntry, SnapshotState};
pub use terms::{admits, starting_folder};
pub use trace::TraceSource;

/// How a connection is secured, as a [`Fact`] tells it.
pub use farstep_transport::tls::{Facts as TlsFacts, Pin};

/// The values of the wire that appear in the signatures here.
pub use farstep_protocol::method::{
    environment::EnvironmentInfo, fs, process, process::OutputStream, process::WriteStatus,
};
pub use farstep_protocol::rpc::{ErrorCode, RpcError};
