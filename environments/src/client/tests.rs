use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use farstep_path_uri::PathUri;
use farstep_transport::memory;
use futures_util::{FutureExt, StreamExt, poll};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::WriteStatus;
use crate::dial::{ConnectError, attach};
use crate::process::OutputStream;
use crate::testing::{HANDSHAKE, Peer, connected, connected_over, info, start_params};

mod blocks;
mod calls;
mod ending;
mod opening;
mod processes;
mod resuming;
mod stalling;

fn path(text: &str) -> PathUri {
    PathUri::parse(text).expect("a path")
}

fn stdout(text: &[u8]) -> ProcessEvent {
    ProcessEvent::Output {
        stream: OutputStream::Stdout,
        bytes: Bytes::copy_from_slice(text),
    }
}

/// Starts a process on a scripted executor.
async fn started(executor: &Executor, peer: &mut Peer, id: &str) -> Process {
    let (process, _) = tokio::join!(executor.start(start_params(id)), peer.accept_start());
    process.expect("started")
}
