//! A scripted executor at the other end of a connection in memory. For tests only.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use farstep_path_uri::PathUri;
use farstep_protocol::frame::process_output;
use farstep_transport::{Memory, Text, Wire, WireError, memory};
use futures_util::future::BoxFuture;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::client::Executor;
use crate::dial::{ConnectError, Dial, Passage, Reached, Redial, Tasks, Trail, attach};
use crate::process::{OutputStream, StartParams};

/// Large enough that nobody waits for the wire who does not want to.
const ROOMY: usize = 1 << 20;

/// Limits the handshake; tests that want it to expire wait on a paused clock.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// The executor's end. It says only what a test tells it to.
pub(crate) struct Peer {
    pub(crate) wire: Memory,
}

impl Peer {
    /// The next message; panics when there is none.
    pub(crate) async fn recv(&mut self) -> Value {
        let text = self.wire.next().await.expect("a message").expect("a text");
        serde_json::from_str(&text).expect("json")
    }

    /// Whether the other side has closed.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.wire.next().await.is_none()
    }

    /// The next message, which must be a request of `method`: its id and params.
    pub(crate) async fn request(&mut self, method: &str) -> (Value, Value) {
        let mut message = self.recv().await;
        assert_eq!(message["method"], method, "{message}");
        (message["id"].take(), message["params"].take())
    }

    pub(crate) async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.wire.send(Text::from(text)).await.expect("sent");
    }

    pub(crate) async fn reply(&mut self, id: &Value, result: Value) {
        self.send(json!({"id": id, "result": result})).await;
    }

    pub(crate) async fn refuse(&mut self, id: &Value, code: i64, message: &str) {
        self.send(json!({"id": id, "error": {"code": code, "message": message}}))
            .await;
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        self.send(json!({"method": method, "params": params})).await;
    }

    pub(crate) async fn output(&mut self, id: &str, seq: u64, bytes: &[u8]) {
        let mut text = String::new();
        process_output(&mut text, id, seq, OutputStream::Stdout, bytes);
        self.send_text(&text).await;
    }

    pub(crate) async fn exited(&mut self, id: &str, seq: u64, code: i64) {
        self.notify(
            "process/exited",
            json!({"processId": id, "seq": seq, "exitCode": code, "sandboxDenied": false}),
        )
        .await;
    }

    pub(crate) async fn closed(&mut self, id: &str, seq: u64) {
        self.notify("process/closed", json!({"processId": id, "seq": seq}))
            .await;
    }

    /// Answers the handshake.
    pub(crate) async fn greet(&mut self) {
        self.greet_again(Value::Null).await;
    }

    /// Answers a handshake that resumes this session; null for one that opens a new one.
    pub(crate) async fn greet_again(&mut self, session: Value) {
        self.greet_with(session, info("sh")).await;
    }

    async fn greet_with(&mut self, session: Value, info: Value) {
        let (id, params) = self.request("initialize").await;
        assert_eq!(params["resumeSessionId"], session);
        self.reply(&id, json!({"sessionId": "s", "environmentInfo": info}))
            .await;
        assert_eq!(
            self.recv().await,
            json!({"method": "initialized", "params": {}})
        );
    }

    /// Accepts the next start and returns the id of the process.
    pub(crate) async fn accept_start(&mut self) -> String {
        let (id, params) = self.request("process/start").await;
        self.reply(&id, json!({"processId": params["processId"]}))
            .await;
        params["processId"].as_str().expect("an id").to_owned()
    }

    /// Takes the next request, which must end `process`, and confirms it.
    pub(crate) async fn confirm_end(&mut self, process: &str) {
        let (id, params) = self.request("process/terminate").await;
        assert_eq!(params, json!({"processId": process}));
        self.reply(&id, json!({"running": true})).await;
    }
}

/// What a scripted executor says about its machine; the shell's name tells them apart.
pub(crate) fn info(shell: &str) -> Value {
    json!({"shell": {"name": shell, "path": "/bin/sh"}, "cwd": "file:///srv", "capabilities": {}})
}

pub(crate) fn start_params(id: &str) -> StartParams {
    let cwd = PathUri::parse("file:///srv").expect("a path");
    StartParams::new(id, vec!["true".to_owned()], cwd)
}

/// A connection that is open, and its other end.
pub(crate) async fn connected() -> (Executor, Peer, Tasks) {
    connected_over(ROOMY).await
}

/// The same with a wire that holds only so many bytes.
pub(crate) async fn connected_over(capacity: usize) -> (Executor, Peer, Tasks) {
    let tasks = Tasks::default();
    let (ours, theirs) = memory(capacity);
    let mut peer = Peer { wire: theirs };
    let (executor, ()) = {
        let mut trail = Trail::default();
        let attached = attach(ours, None, HANDSHAKE, &tasks, &mut trail, None);
        tokio::join!(attached, peer.greet())
    };
    (executor.expect("connected"), peer, tasks)
}

/// A wire that may lose something unseen, as a relay may.
pub(crate) struct Unsure {
    wire: Memory,
    arrived: u64,
}

impl Stream for Unsure {
    type Item = Result<Text, WireError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.wire.poll_next_unpin(cx));
        self.arrived += 1;
        Poll::Ready(next)
    }
}

impl Sink<Text> for Unsure {
    type Error = WireError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.wire.poll_ready_unpin(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, text: Text) -> Result<(), WireError> {
        self.wire.start_send_unpin(text)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.wire.poll_flush_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        self.wire.poll_close_unpin(cx)
    }
}

impl Wire for Unsure {
    fn start_part(&mut self, part: Text, is_last: bool) -> Result<(), WireError> {
        self.wire.start_part(part, is_last)
    }

    fn set_farewell(&mut self, reason: &'static str) {
        self.wire.set_farewell(reason);
    }

    fn arrived(&self) -> Option<u64> {
        Some(self.arrived)
    }
}

/// A way to scripted executors: each attempt hands its peer to the test.
#[derive(Clone, Debug)]
pub(crate) struct ScriptedDial {
    peers: mpsc::Sender<Peer>,
    /// Whether lost connections are recovered.
    recovers: bool,
    /// Whether it is like a program behind pipes, which takes along what it leads to.
    is_piped: bool,
}

impl ScriptedDial {
    pub(crate) fn new() -> (Arc<ScriptedDial>, mpsc::Receiver<Peer>) {
        ScriptedDial::of_kind(false, false)
    }

    /// The same behind pipes.
    pub(crate) fn piped() -> (Arc<ScriptedDial>, mpsc::Receiver<Peer>) {
        ScriptedDial::of_kind(false, true)
    }

    /// The same, with connections that are recovered when they are lost.
    pub(crate) fn recovering() -> (Arc<ScriptedDial>, mpsc::Receiver<Peer>) {
        ScriptedDial::of_kind(true, false)
    }

    fn of_kind(recovers: bool, is_piped: bool) -> (Arc<ScriptedDial>, mpsc::Receiver<Peer>) {
        let (peers, arriving) = mpsc::channel(16);
        let dial = ScriptedDial {
            peers,
            recovers,
            is_piped,
        };
        (Arc::new(dial), arriving)
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Peer")
    }
}

impl Dial for ScriptedDial {
    fn dial<'a>(
        &'a self,
        tasks: &'a Tasks,
        trail: &'a mut Trail,
    ) -> BoxFuture<'a, Result<Executor, ConnectError>> {
        Box::pin(async move {
            let (ours, child): Reached<Memory> = self.redial(trail).await?;
            let way_back: Option<Arc<dyn Redial<Memory>>> = match self.recovers {
                true => Some(Arc::new(self.clone())),
                false => None,
            };
            attach(ours, child, HANDSHAKE, tasks, trail, way_back).await
        })
    }

    fn open<'a>(&'a self, trail: &'a mut Trail) -> BoxFuture<'a, Result<Passage, ConnectError>> {
        Box::pin(async move {
            Ok(Passage {
                wire: Box::new(Redial::<Memory>::redial(self, trail).await?.0),
                child: None,
            })
        })
    }

    fn label(&self) -> String {
        "memory".to_owned()
    }
}

impl Redial<Memory> for ScriptedDial {
    fn redial<'a>(
        &'a self,
        _: &'a mut Trail,
    ) -> BoxFuture<'a, Result<Reached<Memory>, ConnectError>> {
        Box::pin(async move {
            let (ours, theirs) = memory(ROOMY);
            let peer = Peer { wire: theirs };
            match self.peers.send(peer).await {
                Ok(()) => Ok((ours, None)),
                Err(_) => Err(ConnectError::Unreachable {
                    url: "memory".to_owned(),
                    reason: "nobody listens".to_owned(),
                }),
            }
        })
    }

    fn needs_durability(&self) -> bool {
        self.is_piped
    }
}

impl Redial<Unsure> for ScriptedDial {
    fn redial<'a>(
        &'a self,
        trail: &'a mut Trail,
    ) -> BoxFuture<'a, Result<Reached<Unsure>, ConnectError>> {
        Box::pin(async move {
            let (wire, child) = Redial::<Memory>::redial(self, trail).await?;
            Ok((Unsure { wire, arrived: 0 }, child))
        })
    }
}

/// A connection that is recovered when it is lost, its other end, and where those of the
/// connections that follow arrive.
pub(crate) async fn recoverable() -> (Executor, Peer, mpsc::Receiver<Peer>, Tasks) {
    recoverable_over::<Memory>().await
}

/// The same over another kind of wire.
pub(crate) async fn recoverable_over<W: Wire + 'static>()
-> (Executor, Peer, mpsc::Receiver<Peer>, Tasks)
where
    ScriptedDial: Redial<W>,
{
    recoverable_by(ScriptedDial::new(), info("sh")).await
}

/// The same for such a way and such an executor.
pub(crate) async fn recoverable_by<W: Wire + 'static>(
    (way_back, mut peers): (Arc<ScriptedDial>, mpsc::Receiver<Peer>),
    info: Value,
) -> (Executor, Peer, mpsc::Receiver<Peer>, Tasks)
where
    ScriptedDial: Redial<W>,
{
    let tasks = Tasks::default();
    let mut trail = Trail::default();
    let way_back: Arc<dyn Redial<W>> = way_back;
    let (ours, _) = way_back.redial(&mut trail).await.expect("dialled");
    let mut peer = peers.recv().await.expect("a peer");
    let attached = attach(ours, None, HANDSHAKE, &tasks, &mut trail, Some(way_back));
    let (executor, ()) = tokio::join!(attached, peer.greet_with(Value::Null, info));
    (executor.expect("connected"), peer, peers, tasks)
}
