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
//! - [`Executor`], [`Process`]: a live connection and what runs there, as typed calls.
//!
//! The local machine is an executor behind a pipe: there is no second code path. A call
//! that was sent is repeated only where the protocol makes that harmless; nothing here plans tools
//! or prints.

pub mod config;

mod client;
mod dial;
mod environment;
mod registry;
mod snapshot;
#[cfg(test)]
mod testing;

pub use client::{CallError, Executor, Overflow, Process, ProcessEvent};
pub use dial::{ConnectError, Variable};
pub use environment::{Environment, Status};
pub use registry::{Conditions, LocalExecutor, Registry};
pub use snapshot::{Snapshot, SnapshotEntry, SnapshotState};

/// The values of the wire that appear in the signatures here.
pub use farstep_protocol::method::{
    environment::EnvironmentInfo, fs, process, process::OutputStream, process::WriteStatus,
};
pub use farstep_protocol::rpc::RpcError;
