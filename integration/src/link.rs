//! A websocket link that delays what crosses and writes down in which order it did.
//!
//! Round trips are counted by causality, not by time: a message to the executor is one step
//! deeper than the deepest message that had come back before it was sent. What travels together
//! shares a depth, however long the link is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::task::AbortOnDropHandle;

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The orchestrator.
    Caller,
    /// The executor.
    Executor,
}

/// One message on its way.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// Who sent it.
    pub from: Side,
    /// Round trips that had to come before it, with its own: the upgrade is 1.
    pub depth: usize,
    /// The method of a request or notification; empty for a reply.
    pub method: String,
    /// The whole message.
    pub message: Value,
}

/// A listener in front of an executor.
#[derive(Debug)]
pub struct Link {
    /// Where to dial instead.
    pub url: String,
    log: Arc<Mutex<Log>>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct Log {
    crossings: Vec<Crossing>,
    /// The deepest message that reached the caller.
    returned: usize,
    /// The depth of each request that waits for its reply.
    requests: HashMap<String, usize>,
    /// The depth of each process's start, for its notifications.
    processes: HashMap<String, usize>,
}

/// Messages under way in one direction. Beyond, the sender waits, as on a real link.
const UNDER_WAY_MAX: usize = 4096;

impl Link {
    /// Stands in front of the executor at `url`; each message takes `delay` to cross.
    pub async fn start(url: &str, delay: Duration) -> Result<Link> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = format!("ws://{}", listener.local_addr()?);
        let log = Arc::new(Mutex::new(Log::default()));
        let accepting = {
            let (log, url) = (log.clone(), url.to_owned());
            tokio::spawn(async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((socket, _)) = listener.accept().await {
                    connections.spawn(carry(socket, url.clone(), delay, log.clone()));
                }
            })
        };
        Ok(Link {
            url: own,
            log,
            _accepting: AbortOnDropHandle::new(accepting),
        })
    }

    /// All that crossed so far, in the order of departure (caller) and of arrival (executor).
    pub fn crossings(&self) -> Vec<Crossing> {
        lock(&self.log).crossings.clone()
    }

    /// The round trips spent so far: the depth of the deepest message of the caller.
    pub fn round_trips(&self) -> usize {
        let crossings = self.crossings();
        let depths = crossings
            .iter()
            .filter(|crossing| crossing.from == Side::Caller)
            .map(|crossing| crossing.depth);
        depths.max().unwrap_or_default()
    }
}

async fn carry(
    socket: TcpStream,
    url: String,
    delay: Duration,
    log: Arc<Mutex<Log>>,
) -> Result<()> {
    socket.set_nodelay(true)?;
    // The upgrade is a round trip too.
    tokio::time::sleep(delay * 2).await;
    let (near_out, near_in) = tokio_tungstenite::accept_async(socket).await?.split();
    let (far, _) = tokio_tungstenite::connect_async(&url)
        .await
        .context("the executor behind the link does not answer")?;
    let (far_out, far_in) = far.split();
    {
        let mut log = lock(&log);
        log.returned = log.returned.max(1);
    }
    let departed = log.clone();
    let arrived = log;
    tokio::select! {
        done = cross(near_in, far_out, delay, move |text| note_departure(&departed, text), |_| ()) => done,
        done = cross(far_in, near_out, delay, |_| (), move |text| note_arrival(&arrived, text)) => done,
    }
}

/// Carries messages one way. `on_departure` sees each as it enters, `on_arrival` as it leaves.
async fn cross(
    mut from: impl Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
    mut to: impl Sink<Message, Error = tungstenite::Error> + Unpin,
    delay: Duration,
    on_departure: impl Fn(&str),
    on_arrival: impl Fn(&str),
) -> Result<()> {
    let (enter, mut leave) = mpsc::channel(UNDER_WAY_MAX);
    let entering = async move {
        while let Some(Ok(message)) = from.next().await {
            if let Message::Text(text) = &message {
                on_departure(text);
            }
            let due = tokio::time::Instant::now() + delay;
            if enter.send((due, message)).await.is_err() {
                break;
            }
        }
    };
    let leaving = async move {
        while let Some((due, message)) = leave.recv().await {
            tokio::time::sleep_until(due).await;
            if let Message::Text(text) = &message {
                on_arrival(text);
            }
            to.send(message).await?;
        }
        to.close().await
    };
    let ((), done) = tokio::join!(entering, leaving);
    Ok(done?)
}

fn note_departure(log: &Mutex<Log>, text: &str) {
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let mut log = lock(log);
    let depth = log.returned + 1;
    let method = method(&message);
    if let Some(id) = message.get("id") {
        log.requests.insert(id.to_string(), depth);
    }
    if method == "process/start" {
        log.processes.insert(process(&message), depth);
    }
    log.crossings.push(Crossing {
        from: Side::Caller,
        depth,
        method,
        message,
    });
}

fn note_arrival(log: &Mutex<Log>, text: &str) {
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        return;
    };
    let mut log = lock(log);
    let cause = match message.get("id") {
        Some(id) => log.requests.remove(&id.to_string()),
        None => log.processes.get(&process(&message)).copied(),
    };
    let depth = cause.unwrap_or(log.returned);
    log.returned = log.returned.max(depth);
    log.crossings.push(Crossing {
        from: Side::Executor,
        depth,
        method: method(&message),
        message,
    });
}

fn method(message: &Value) -> String {
    let method = message.get("method").and_then(Value::as_str);
    method.unwrap_or_default().to_owned()
}

fn process(message: &Value) -> String {
    let id = message.pointer("/params/processId").and_then(Value::as_str);
    id.unwrap_or_default().to_owned()
}

fn lock(log: &Mutex<Log>) -> std::sync::MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
