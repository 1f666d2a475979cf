//! Where executors without an open port are reached: a registry, and a relay that cannot read.
//!
//! ```text
//!   executor ──register──▶ api ──▶ store            orchestrator ──connect──▶ api ──▶ store
//!      │                                                  │
//!      └────── websocket ──▶ relay ◀── bus ──▶ relay ◀────┘
//! ```
//!
//! `api` answers and keeps nothing; `store` is what outlives a node, `bus` is how nodes find each
//! other's executors, `relay` moves frames. `auth` says who may what, `control`
//! is what operators and tenants do. One node has an embedded
//! [`store::Sqlite`] and a [`bus::Local`].

pub mod admin;
mod api;
mod attest;
pub mod auth;
pub mod bus;
pub mod cli;
pub mod control;
pub mod drain;
mod lease;
mod limits;
mod metrics;
mod node;
mod quotas;
mod relay;
mod serve;
pub mod store;
mod tls;
mod trace;
mod watch;

pub use limits::Limits;
pub use metrics::Metrics;
pub use node::{Node, StartError, new_url_key, now};
pub use quotas::Quotas;
pub use relay::{Ending, ExecutorLink, Linked, QueueLimits, STREAMS_MAX};
pub use serve::{ServeError, Server};
pub use tls::{Tls, TlsError};
