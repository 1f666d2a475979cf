//! What a tool may ask of one machine, and the machines there are in a run.
//!
//! Tools and steps see environments through these two traits. The real ones are a thin skin over
//! `farstep_environments`; the tests' ones live in `fake` and have no process and no socket.
//! Nothing here decides which machine a call goes to.

#[cfg(test)]
pub(crate) mod fake;
mod real;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use farstep_environments::{CallError, ProcessEvent};
use farstep_path_uri::PathUri;
use farstep_protocol::method::environment::EnvironmentInfo;
use farstep_protocol::method::fs::Metadata;
use farstep_protocol::method::process::{StartParams, WriteStatus};
use futures_util::future::BoxFuture;

use crate::declared::Declared;

pub use real::{Configured, Following, declared};

/// What a call on a machine comes to.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, CallError>>;

/// One live connection to an executor. Calls whose futures are polled together travel together.
pub trait Machine: Send + Sync + fmt::Debug {
    fn info(&self) -> &EnvironmentInfo;
    fn is_connected(&self) -> bool;
    fn start(&self, params: StartParams) -> Answer<'_, Box<dyn Running>>;
    fn read_file<'a>(&'a self, path: &'a PathUri) -> Answer<'a, Bytes>;
    fn write_file<'a>(&'a self, path: &'a PathUri, bytes: &'a [u8]) -> Answer<'a, ()>;
    /// Creates parents too; an existing directory is fine.
    fn create_directory<'a>(&'a self, path: &'a PathUri) -> Answer<'a, ()>;
    fn metadata<'a>(&'a self, path: &'a PathUri) -> Answer<'a, Metadata>;
    /// Removes one file; a missing one is an error.
    fn remove<'a>(&'a self, path: &'a PathUri) -> Answer<'a, ()>;
}

/// A started process. Dropping it asks the executor to end and forget it.
pub trait Running: Send + Sync {
    /// The next event, `None` after the last. Cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Option<ProcessEvent>>;
    fn write<'a>(&'a self, bytes: &'a [u8]) -> Answer<'a, WriteStatus>;
    fn interrupt(&self) -> Answer<'_, ()>;
    /// True when it was still running.
    fn terminate(&self) -> Answer<'_, bool>;
}

/// The selected environments of a run, in order of priority.
pub trait EnvironmentSet: Send + Sync + fmt::Debug {
    /// What is known now; starts what is not running yet and waits for nothing.
    fn look(&self) -> Vec<Seen>;
    /// Waits until each is available or failed.
    fn settle(&self) -> BoxFuture<'_, Vec<Seen>>;
    /// Takes in what has changed in the configuration. For the boundary between two steps alone.
    fn refresh(&self) -> BoxFuture<'_, Refreshed> {
        Box::pin(std::future::ready(Refreshed::default()))
    }
    /// Waits until this one is available or failed.
    fn wait<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), String>>;
}

/// What became of a set when its configuration was looked at again.
#[derive(Debug, Default)]
pub struct Refreshed {
    /// Present when the set is another one now.
    pub change: Option<Change>,
    /// Why a new configuration is not used. The set is as it was.
    pub problem: Option<String>,
}

#[derive(Debug, Default)]
pub struct Change {
    /// What the environments' own configuration declares.
    pub declared: HashMap<String, Arc<Declared>>,
    /// Those that are gone or lead somewhere else now.
    pub replaced: Vec<Arc<str>>,
}

/// One environment at one moment.
#[derive(Debug, Clone)]
pub struct Seen {
    pub id: Arc<str>,
    /// Its executor runs on the orchestrator's own machine, in the orchestrator's folder.
    pub local: bool,
    pub presence: Presence,
}

#[derive(Debug, Clone)]
pub enum Presence {
    Starting,
    Available(Arc<dyn Machine>),
    Disconnected { reason: String },
    Failed { reason: String },
}
