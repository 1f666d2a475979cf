//! A raw client of an executor: JSON-RPC over a websocket, with nothing done behind the test's
//! back.
//!
//! It numbers requests, sorts what arrives into replies and everything else, and can take up a
//! session on a new connection. It never retries, reorders, answers or hides anything.

use std::collections::{HashMap, VecDeque};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::PATIENCE;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One connection to an executor.
#[derive(Debug)]
pub struct Wire {
    out: SplitSink<Socket, Message>,
    from: SplitStream<Socket>,
    last_id: i64,
    /// Replies nobody has asked for yet, by id.
    replies: HashMap<i64, Outcome>,
    /// Everything else that came meanwhile, oldest first.
    others: VecDeque<Value>,
}

/// What a request came to: its result, or the error member.
pub type Outcome = std::result::Result<Value, Refusal>;

/// A refused request.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The code.
    pub code: i64,
    /// The text for people.
    pub message: String,
    /// Details, if there were any.
    pub data: Option<Value>,
}

impl Wire {
    /// Dials and upgrades, and says nothing yet. Takes a URL, or a request with headers of its own.
    pub async fn dial(request: impl IntoClientRequest + Unpin) -> Result<Wire> {
        // An executor answers a whole file in one frame.
        let config = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        let dialled = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
        let (socket, _) = in_time(dialled).await?.context("the upgrade failed")?;
        let (out, from) = socket.split();
        Ok(Wire {
            out,
            from,
            last_id: 0,
            replies: HashMap::new(),
            others: VecDeque::new(),
        })
    }

    /// Dials and opens a new session.
    pub async fn open(url: &str) -> Result<(Wire, String)> {
        let mut wire = Wire::dial(url).await?;
        let session = wire.initialize(None).await?;
        let session = session.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
        Ok((wire, session))
    }

    /// Dials and takes up a session, as often as it is still held by a connection whose end the
    /// executor has not noticed.
    pub async fn resume(url: &str, session: &str) -> Result<Wire> {
        in_time(async {
            loop {
                let mut wire = Wire::dial(url).await?;
                match wire.initialize(Some(session)).await? {
                    Ok(_) => return Ok(wire),
                    // There is no event to wait for: the end of a connection is noticed over there.
                    Err(refusal) if refusal.code == SESSION_ATTACHED => {
                        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    }
                    Err(refusal) => bail!("the session was not resumed: {refusal:?}"),
                }
            }
        })
        .await?
    }

    /// Shakes hands. Returns the session's id, or the refusal.
    pub async fn initialize(
        &mut self,
        resume: Option<&str>,
    ) -> Result<std::result::Result<String, Refusal>> {
        let params = json!({"clientName": "farstep-integration", "resumeSessionId": resume});
        match self.call("initialize", params).await? {
            Ok(result) => {
                self.send(&json!({"method": "initialized", "params": {}}))
                    .await?;
                let session = result["sessionId"].as_str().context("no session id")?;
                Ok(Ok(session.to_owned()))
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Sends a request and does not wait. Returns its id.
    pub async fn post(&mut self, method: &str, params: Value) -> Result<i64> {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({"id": id, "method": method, "params": params}))
            .await?;
        Ok(id)
    }

    /// The outcome of a request that was sent.
    pub async fn reply(&mut self, id: i64) -> Result<Outcome> {
        loop {
            if let Some(outcome) = self.replies.remove(&id) {
                return Ok(outcome);
            }
            match self.arrival().await? {
                Some(message) => self.sort(message)?,
                None => bail!("the connection ended before the reply to {id}"),
            }
        }
    }

    /// Sends a request and waits for its outcome.
    pub async fn call(&mut self, method: &str, params: Value) -> Result<Outcome> {
        let id = self.post(method, params).await?;
        self.reply(id).await
    }

    /// As [`Wire::call`], for what has to succeed.
    pub async fn done(&mut self, method: &str, params: Value) -> Result<Value> {
        let outcome = self.call(method, params).await?;
        outcome.map_err(|refusal| anyhow::anyhow!("{method} was refused: {refusal:?}"))
    }

    /// As [`Wire::call`], for what has to be refused. Returns the code.
    pub async fn refused(&mut self, method: &str, params: Value) -> Result<i64> {
        match self.call(method, params).await? {
            Ok(result) => bail!("{method} was not refused: {result}"),
            Err(refusal) => Ok(refusal.code),
        }
    }

    /// The next notification, or request of the executor; `None` when the connection ended.
    pub async fn notification(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(message) = self.others.pop_front() {
                return Ok(Some(message));
            }
            match self.arrival().await? {
                Some(message) => self.sort(message)?,
                None => return Ok(None),
            }
        }
    }

    /// The next message as it arrived, without sorting; `None` when the connection ended, in
    /// whatever way. An error when neither happens in time, however many pings come meanwhile.
    pub async fn arrival(&mut self) -> Result<Option<Value>> {
        let text = in_time(async {
            loop {
                match self.from.next().await {
                    None | Some(Err(_)) | Some(Ok(Message::Close(_))) => return None,
                    Some(Ok(Message::Text(text))) => return Some(text),
                    Some(Ok(_)) => {}
                }
            }
        });
        let Some(text) = text.await? else {
            return Ok(None);
        };
        let message = serde_json::from_str(&text);
        Ok(Some(message.with_context(|| format!("no JSON: {text}"))?))
    }

    /// Reads to the end of the connection, and counts the messages.
    pub async fn drain(&mut self) -> Result<usize> {
        let mut count = 0;
        while self.arrival().await?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &Value) -> Result<()> {
        self.send_text(message.to_string()).await
    }

    /// Sends any text.
    pub async fn send_text(&mut self, text: impl Into<String>) -> Result<()> {
        in_time(self.out.send(Message::text(text.into()))).await??;
        Ok(())
    }

    /// Queues a text, to be sent together with others by [`Wire::flush`].
    pub async fn feed_text(&mut self, text: impl Into<String>) -> Result<(), tungstenite::Error> {
        self.out.feed(Message::text(text.into())).await
    }

    /// Sends what was queued.
    pub async fn flush(&mut self) -> Result<(), tungstenite::Error> {
        self.out.flush().await
    }

    /// Takes the two directions apart, for tests that write without reading.
    pub fn split(self) -> (SplitSink<Socket, Message>, SplitStream<Socket>) {
        (self.out, self.from)
    }

    fn sort(&mut self, message: Value) -> Result<()> {
        if message.get("method").is_some() {
            self.others.push_back(message);
            return Ok(());
        }
        let id = message["id"].as_i64().context("a reply without a number")?;
        let outcome = outcome(message)?;
        let again = self.replies.insert(id, outcome);
        ensure!(again.is_none(), "a second reply to {id}");
        Ok(())
    }
}

/// The code of a session that another connection holds.
pub const SESSION_ATTACHED: i64 = -32010;

/// Reads a reply.
fn outcome(mut message: Value) -> Result<Outcome> {
    if let Some(result) = message.get_mut("result") {
        return Ok(Ok(result.take()));
    }
    let error = message.get("error").context("neither result nor error")?;
    Ok(Err(Refusal {
        code: error["code"].as_i64().context("an error without a code")?,
        message: error["message"].as_str().unwrap_or_default().to_owned(),
        data: error.get("data").cloned(),
    }))
}

/// Params of `process/start`: a shell script with an ordinary environment, its input open.
pub fn script(process: &str, script: &str) -> Value {
    json!({
        "processId": process, "argv": ["/bin/sh", "-c", script], "cwd": "file:///",
        "env": {"PATH": "/usr/local/bin:/usr/bin:/bin"}, "tty": false, "pipeStdin": true,
    })
}

async fn in_time<F: Future>(work: F) -> Result<F::Output> {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.context("nothing came in time")
}
