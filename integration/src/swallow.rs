//! A link in front of a relay that swallows one record, and tells nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::frames::{self, Frame};

/// Everything passes but one record on its way to an orchestrator.
#[derive(Debug)]
pub struct Swallower {
    /// Where to dial instead: `http://127.0.0.1:PORT`.
    pub url: String,
    hungry: Arc<AtomicBool>,
    _accepting: AbortOnDropHandle<()>,
}

impl Swallower {
    /// Stands in front of the node at `url`.
    pub async fn start(url: &str) -> Result<Swallower> {
        let far: SocketAddr = url.trim_start_matches("http://").parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let hungry = Arc::new(AtomicBool::new(false));
        let appetite = Arc::clone(&hungry);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let appetite = Arc::clone(&appetite);
                connections.spawn(async move {
                    let far = TcpStream::connect(far).await?;
                    let (mut near_in, near_out) = near.into_split();
                    let (far_in, mut far_out) = far.into_split();
                    let mut head = vec![0; 4096];
                    let count = near_in.read(&mut head).await?;
                    head.truncate(count);
                    far_out.write_all(&head).await?;
                    let is_harness = head.windows(12).any(|part| part == b"role=harness");
                    let appetite = is_harness.then_some(appetite);
                    tokio::try_join!(
                        async { tokio::io::copy(&mut near_in, &mut far_out).await.map(drop) },
                        eat(far_in, near_out, appetite),
                    )
                });
            }
        });
        Ok(Swallower {
            url,
            hungry,
            _accepting: AbortOnDropHandle::new(accepting),
        })
    }

    /// The next record for an orchestrator does not arrive.
    pub fn swallow(&self) {
        self.hungry.store(true, Ordering::SeqCst);
    }

    /// Whether that has happened.
    pub fn has_swallowed(&self) -> bool {
        !self.hungry.load(Ordering::SeqCst)
    }
}

/// Carries frame by frame behind the answer to the upgrade.
async fn eat(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    appetite: Option<Arc<AtomicBool>>,
) -> std::io::Result<()> {
    let Some(appetite) = appetite else {
        return tokio::io::copy(&mut from, &mut to).await.map(drop);
    };
    frames::carry_head(&mut from, &mut to).await?;
    loop {
        let frame = Frame::read(&mut from).await?;
        if frame.payload().is_some() && appetite.swap(false, Ordering::SeqCst) {
            continue;
        }
        to.write_all(&frame.raw).await?;
    }
}
