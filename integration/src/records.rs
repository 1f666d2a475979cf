//! A link in front of a relay that notes how long the records of orchestrators' streams are: what the
//! relay itself could see.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use farstep_protocol::relay::{self, Kind};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::frames::{self, Frame};
use crate::rendezvous::Role;

/// What a record has beside its plaintext, in bytes.
const TAG_BYTES: usize = 16;

/// One record that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whose it is.
    pub from: Role,
    /// The stream's id.
    pub stream: String,
    /// Its plaintext, in bytes.
    pub bytes: usize,
}

/// Carries everything, and notes the records of orchestrators' websockets.
#[derive(Debug)]
pub struct Records {
    /// Where to dial instead: `http://127.0.0.1:PORT`.
    pub url: String,
    seen: Notes,
    _accepting: AbortOnDropHandle<()>,
}

type Notes = Arc<Mutex<Vec<Seen>>>;

impl Records {
    /// Stands in front of the node at `url`.
    pub async fn start(url: &str) -> Result<Records> {
        let far: SocketAddr = url.trim_start_matches("http://").parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let seen = Notes::default();
        let notes = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let notes = Arc::clone(&notes);
                connections.spawn(async move {
                    let far = TcpStream::connect(far).await?;
                    let (mut near_in, near_out) = near.into_split();
                    let (far_in, mut far_out) = far.into_split();
                    let head = frames::carry_head(&mut near_in, &mut far_out).await?;
                    let is_harness = head.windows(12).any(|part| part == b"role=harness");
                    let notes = is_harness.then_some(notes);
                    tokio::try_join!(
                        carry(near_in, far_out, Role::Harness, notes.clone()),
                        async {
                            let (mut far_in, mut near_out) = (far_in, near_out);
                            if notes.is_some() {
                                frames::carry_head(&mut far_in, &mut near_out).await?;
                            }
                            carry(far_in, near_out, Role::Executor, notes).await
                        },
                    )
                });
            }
        });
        Ok(Records {
            url,
            seen,
            _accepting: AbortOnDropHandle::new(accepting),
        })
    }

    /// What passed since the last time.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Carries one direction to its end: frame by frame where there are notes to take.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    whose: Role,
    notes: Option<Notes>,
) -> std::io::Result<()> {
    let Some(notes) = notes else {
        tokio::io::copy(&mut from, &mut to).await?;
        return to.shutdown().await;
    };
    loop {
        let frame = Frame::read(&mut from).await?;
        let passed = frame.payload().map(Bytes::from).map(relay::Frame::decode);
        if let Some(Ok(passed)) = passed
            && let Kind::Data { payload, .. } = passed.kind
        {
            let record = Seen {
                from: whose,
                stream: passed.stream,
                bytes: payload.len().saturating_sub(TAG_BYTES),
            };
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push(record);
        }
        to.write_all(&frame.raw).await?;
    }
}
