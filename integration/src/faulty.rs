//! A TCP link that fails: in the middle of a frame, silently, or by being slow.
//!
//! It carries bytes and knows nothing of messages, so what breaks, breaks anywhere. What happens
//! to a connection is decided when it is accepted ([`FaultyLink::plan`]) or from outside while it
//! lives.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// How much is carried at once: less than a frame of output, so that links break inside of them.
const PIECE_BYTES: usize = 16 * 1024;

/// What is to happen to one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// It is reset when so many bytes have gone to the caller.
    pub cut_after: Option<u64>,
    /// It is reset when so many bytes have gone to the executor.
    pub cut_after_sent: Option<u64>,
    /// From so many bytes to the caller on, nothing is carried any more and nobody is told.
    pub silent_after: Option<u64>,
    /// How long each piece takes to cross.
    pub delay: Duration,
}

/// What is happening to all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Fair,
    /// Nothing is carried, and nobody is told.
    Silent,
}

/// A listener in front of an executor.
#[derive(Debug)]
pub struct FaultyLink {
    /// Where to dial instead.
    pub url: String,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    fate: Mutex<Fate>,
    /// The weather, and how often all connections were cut.
    weather: watch::Sender<(Weather, u64)>,
    accepted: AtomicU64,
}

impl FaultyLink {
    /// Stands in front of the executor at `url`.
    pub async fn start(url: &str) -> Result<FaultyLink> {
        let address = url.strip_prefix("ws://").context("not a ws:// address")?;
        let executor: SocketAddr = address.trim_end_matches('/').parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = format!("ws://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            fate: Mutex::default(),
            weather: watch::Sender::new((Weather::Fair, 0)),
            accepted: AtomicU64::new(0),
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((socket, _)) = listener.accept().await {
                    shared.accepted.fetch_add(1, Ordering::SeqCst);
                    let fate = *shared.fate();
                    connections.spawn(carry(socket, executor, fate, shared.weather.subscribe()));
                }
            })
        };
        Ok(FaultyLink {
            url: own,
            shared,
            _accepting: AbortOnDropHandle::new(accepting),
        })
    }

    /// Decides about every connection from now on.
    pub fn plan(&self, fate: Fate) {
        *self.shared.fate() = fate;
    }

    /// Resets every connection there is. New ones are carried.
    pub fn cut(&self) {
        self.shared.weather.send_modify(|(_, cuts)| *cuts += 1);
    }

    /// Carries nothing from now on, without anybody being told: both ends stay open.
    pub fn fall_silent(&self) {
        self.shared
            .weather
            .send_modify(|(weather, _)| *weather = Weather::Silent);
    }

    /// Carries again what waited.
    pub fn recover(&self) {
        self.shared
            .weather
            .send_modify(|(weather, _)| *weather = Weather::Fair);
    }

    /// How many connections there were.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn fate(&self) -> std::sync::MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries one connection until an end of it closes or its fate is met.
async fn carry(
    caller: TcpStream,
    executor: SocketAddr,
    fate: Fate,
    mut weather: watch::Receiver<(Weather, u64)>,
) -> Result<()> {
    let executor = TcpStream::connect(executor).await?;
    for socket in [&caller, &executor] {
        socket.set_nodelay(true)?;
        // Dropping it resets the connection, and what is under way is lost.
        socket.set_zero_linger()?;
    }
    let (caller_read, caller_write) = caller.into_split();
    let (executor_read, executor_write) = executor.into_split();
    let toward_caller = Way {
        cut_after: fate.cut_after,
        silent_after: fate.silent_after,
        delay: fate.delay,
        weather: weather.clone(),
    };
    let toward_executor = Way {
        cut_after: fate.cut_after_sent,
        silent_after: None,
        delay: fate.delay,
        weather: weather.clone(),
    };
    let cuts = weather.borrow().1;
    tokio::select! {
        done = toward_caller.carry(executor_read, caller_write) => done,
        done = toward_executor.carry(caller_read, executor_write) => done,
        _ = weather.wait_for(|(_, now)| *now > cuts) => Ok(()),
    }
}

/// One direction of one connection.
struct Way {
    cut_after: Option<u64>,
    silent_after: Option<u64>,
    delay: Duration,
    weather: watch::Receiver<(Weather, u64)>,
}

impl Way {
    async fn carry(mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut carried = 0;
        loop {
            self.weather
                .wait_for(|(weather, _)| *weather == Weather::Fair)
                .await?;
            let room = room(self.cut_after, carried).min(room(self.silent_after, carried));
            if room == 0 {
                if self.cut_after.is_some_and(|at| at <= carried) {
                    return Ok(());
                }
                std::future::pending::<()>().await;
            }
            let read = from.read(piece.get_mut(..room).unwrap_or_default()).await?;
            if read == 0 {
                return Ok(());
            }
            // The clock counts milliseconds, so even no time takes one.
            if !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            to.write_all(piece.get(..read).unwrap_or_default()).await?;
            carried += read as u64;
        }
    }
}

/// How much may still be carried before `limit`, at most a piece.
fn room(limit: Option<u64>, carried: u64) -> usize {
    let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(carried));
    usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES)
}
