//! The same exchanges played against the real peer and against our executor.
//!
//! `exchanges.toml` says what is sent. Where the answers differ, `expected-differences.toml` must
//! say both answers and the reason: a difference that is not listed fails, and so does a listed
//! one that is not seen any more. What depends on time, place or wording is evened out first; of
//! an error only its code is compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use farstep_integration::{Lab, PATIENCE, Peer, need};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long we look whether a connection was ended by what it was sent.
const SILENCE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Exchanges {
    exchange: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Exchange {
    name: String,
    #[serde(default = "yes")]
    handshake: bool,
    steps: Vec<Step>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Step {
    Call { call: String, params: Option<Value> },
    Notify { notify: String, params: Value },
    Raw { raw: String },
    Await { r#await: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Differences {
    member: Vec<Member>,
    difference: Vec<Difference>,
}

/// A member of answers that differs wherever it appears, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    name: String,
    reason: String,
}

/// One exchange that may differ, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    exchange: String,
    reason: String,
    /// What the peer answers at the steps that differ, as JSON.
    peer: String,
    /// What we answer there.
    ours: String,
}

impl Differences {
    /// The two answers that are listed for an exchange.
    fn of(&self, exchange: &str) -> Result<Option<(Value, Value)>> {
        let listed = self
            .difference
            .iter()
            .find(|difference| difference.exchange == exchange);
        let Some(listed) = listed else {
            return Ok(None);
        };
        let peer = serde_json::from_str(&listed.peer)?;
        Ok(Some((peer, serde_json::from_str(&listed.ours)?)))
    }
}

fn exchanges() -> Result<Exchanges> {
    Ok(toml::from_str(include_str!("exchanges.toml"))?)
}

fn listed() -> Result<Differences> {
    Ok(toml::from_str(include_str!("expected-differences.toml"))?)
}

/// What came back, evened out: one entry for each step, then the notifications.
type Outcome = Vec<Value>;

struct Side {
    url: String,
    folder: std::path::PathBuf,
}

impl Side {
    async fn play(&self, exchange: &Exchange) -> Result<Outcome> {
        let folder = self.folder.join(&exchange.name);
        furnish(&folder)?;
        let mut wire = Wire::open(&self.url, &folder).await?;
        if exchange.handshake {
            let opened = wire
                .call("initialize", Some(json!({"clientName": "test"})))
                .await?;
            ensure!(opened.get("sessionId").is_some(), "no session: {opened}");
            wire.send(json!({"method": "initialized", "params": {}}).to_string())
                .await;
        }
        let mut outcome = Outcome::new();
        for step in &exchange.steps {
            outcome.push(wire.step(step).await?);
        }
        outcome.extend(wire.notifications());
        Ok(outcome)
    }
}

/// The folder every exchange finds.
fn furnish(folder: &Path) -> Result<()> {
    std::fs::create_dir(folder)?;
    std::fs::write(folder.join("f"), "hello\n")?;
    std::fs::create_dir(folder.join("d"))?;
    std::fs::write(folder.join("d/x"), "")?;
    std::fs::create_dir(folder.join("odd"))?;
    std::fs::write(folder.join("odd/a\tb"), "")?;
    std::os::unix::fs::symlink("f", folder.join("link"))?;
    std::os::unix::fs::symlink("nothing", folder.join("gone"))?;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("fifo"), kind, 0o600.into(), 0)?;
    Ok(())
}

/// A connection that knows nothing but messages.
struct Wire {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    folder: String,
    home: String,
    next_id: u64,
    heard: Vec<Value>,
}

impl Wire {
    async fn open(url: &str, folder: &Path) -> Result<Wire> {
        let (socket, _) = tokio_tungstenite::connect_async(url).await?;
        Ok(Wire {
            socket,
            folder: folder.display().to_string(),
            home: folder.parent().unwrap_or(folder).display().to_string(),
            next_id: 100,
            heard: Vec::new(),
        })
    }

    async fn step(&mut self, step: &Step) -> Result<Value> {
        Ok(match step {
            Step::Call { call, params } => {
                let params = params.as_ref().map(|params| self.fill(params));
                let method = call.replace("$LONG", &"m".repeat(100_000));
                self.call(&method, params).await?
            }
            Step::Notify { notify, params } => {
                let params = self.fill(params);
                self.send(json!({"method": notify, "params": params}).to_string())
                    .await;
                Value::Null
            }
            Step::Raw { raw } => {
                self.send(raw.clone()).await;
                Value::Null
            }
            Step::Await { r#await } => {
                while !self.heard.iter().any(|heard| heard["method"] == **r#await) {
                    let Some(message) = self.next(PATIENCE).await? else {
                        bail!("the connection ended before {await}");
                    };
                    self.heard.push(message);
                }
                Value::Null
            }
        })
    }

    /// Calls and evens out the reply; a connection that ends instead is an answer too.
    async fn call(&mut self, method: &str, params: Option<Value>) -> Result<Value> {
        self.next_id += 1;
        let id = self.next_id;
        let mut request = json!({"id": id, "method": method});
        if let Some(params) = params {
            request["params"] = params;
        }
        self.send(request.to_string()).await;
        loop {
            match self.next(SILENCE).await? {
                None => return Ok(json!("the connection ends")),
                Some(reply) if reply["id"] == id => return Ok(self.even(reply)),
                Some(other) => self.heard.push(other),
            }
        }
    }

    async fn send(&mut self, text: String) {
        // A connection that is gone shows at the next reply.
        let _ = self.socket.send(Message::text(text)).await;
    }

    async fn next(&mut self, limit: Duration) -> Result<Option<Value>> {
        loop {
            let message = tokio::time::timeout(limit, self.socket.next())
                .await
                .context("no answer in time")?;
            match message {
                Some(Ok(Message::Text(text))) => return Ok(Some(serde_json::from_str(&text)?)),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return Ok(None),
            }
        }
    }

    /// Params with the folder in place.
    fn fill(&self, params: &Value) -> Value {
        replace(params, &|text| {
            text.replace("$DIR", &format!("file://{}", self.folder))
                .replace("$LONG", &"i".repeat(100_000))
        })
    }

    /// A message without what depends on time, place or wording.
    fn even(&self, mut message: Value) -> Value {
        if let Some(code) = message.pointer("/error/code") {
            return json!({"error": code});
        }
        let result = message["result"].take();
        even(replace(&result, &|text| {
            text.replace(&format!("file://{}", self.folder), "$DIR")
                .replace(&self.folder, "$DIR")
                .replace(&self.home, "/home")
        }))
    }

    /// What was heard unasked: the output of each process as one, then the other notifications.
    fn notifications(self) -> Vec<Value> {
        let mut output: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut others = Vec::new();
        for message in &self.heard {
            let params = &message["params"];
            match message["method"].as_str() {
                Some("process/output") => {
                    let chunk = params["chunk"].as_str().unwrap_or_default();
                    let stream = output.entry(params["stream"].to_string()).or_default();
                    stream.extend(decode(chunk));
                }
                Some(method) => {
                    let mut params = params.clone();
                    if let Some(params) = params.as_object_mut() {
                        // Depends on how the output was cut.
                        params.remove("seq");
                    }
                    others.push(json!({ method: params }));
                }
                None => {
                    others.push(json!({"id": message["id"], "error": message["error"]["code"]}))
                }
            }
        }
        let output = output
            .into_iter()
            .map(|(stream, bytes)| json!({stream: String::from_utf8_lossy(&bytes)}));
        output.chain(others).collect()
    }
}

fn decode(base64: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = base64
        .bytes()
        .filter_map(|byte| alphabet.iter().position(|a| *a == byte));
    let (mut bytes, mut held, mut count) = (Vec::new(), 0, 0);
    for six in bits {
        (held, count) = ((held << 6 | six) & 0xffff, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((held >> count & 0xff) as u8);
        }
    }
    bytes
}

fn replace(value: &Value, with: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(with(text)),
        Value::Array(items) => items.iter().map(|item| replace(item, with)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), replace(value, with)))
            .collect(),
        other => other.clone(),
    }
}

/// Times become "some time" or 0, ids and words are blanked, lists of entries are sorted.
fn even(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| {
                let value = match (name.as_str(), value) {
                    ("createdAtMs" | "modifiedAtMs", Value::Number(n)) if n.as_i64() != Some(0) => {
                        json!("a time")
                    }
                    ("sessionId" | "executorVersion", _) => json!("an id"),
                    // Compared where it is asked for by itself.
                    ("environmentInfo", _) => json!("a description"),
                    ("codexHomeDir" | "hostname" | "prependPathDirs" | "userHomeDir", _) => {
                        json!("a place")
                    }
                    ("message" | "failure", Value::String(_)) => json!("words"),
                    (_, value) => even(value),
                };
                (name, value)
            })
            .collect(),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(even).collect();
            items.sort_by_key(ToString::to_string);
            Value::Array(items)
        }
        other => other,
    }
}

/// Takes the members out that differ everywhere; what was taken, by name.
fn without(value: &mut Value, names: &[&str], taken: &mut BTreeMap<String, Vec<Value>>) {
    match value {
        Value::Object(members) => {
            for name in names {
                if let Some(value) = members.remove(*name) {
                    taken.entry((*name).to_owned()).or_default().push(value);
                }
            }
            for value in members.values_mut() {
                without(value, names, taken);
            }
        }
        Value::Array(items) => {
            for item in items {
                without(item, names, taken);
            }
        }
        _ => {}
    }
}

/// The two answers where they differ, with the number of the step.
fn differing(peer: &Outcome, ours: &Outcome) -> Option<(Value, Value)> {
    let steps = (0..peer.len().max(ours.len())).filter(|at| peer.get(*at) != ours.get(*at));
    let (mut theirs, mut mine) = (serde_json::Map::new(), serde_json::Map::new());
    for at in steps {
        let (one, other) = parts(peer.get(at), ours.get(at));
        theirs.insert(at.to_string(), one);
        mine.insert(at.to_string(), other);
    }
    (!theirs.is_empty()).then(|| (theirs.into(), mine.into()))
}

/// Of two objects only the members that differ; else both whole.
fn parts(peer: Option<&Value>, ours: Option<&Value>) -> (Value, Value) {
    let (Some(Value::Object(one)), Some(Value::Object(other))) = (peer, ours) else {
        return (
            peer.cloned().unwrap_or_default(),
            ours.cloned().unwrap_or_default(),
        );
    };
    let (mut one, mut other) = (one.clone(), other.clone());
    let same: Vec<String> = one
        .iter()
        .filter(|(name, value)| other.get(*name) == Some(value))
        .map(|(name, _)| name.clone())
        .collect();
    for name in same {
        one.remove(&name);
        other.remove(&name);
    }
    (one.into(), other.into())
}

#[tokio::test]
async fn every_difference_to_the_peer_is_listed_with_its_reason() -> Result<()> {
    let Some(peer) = need(Peer::find(), "the peer: FARSTEP_CODEX names no program") else {
        return Ok(());
    };
    let exchanges = exchanges()?;
    let listed = listed()?;
    let lab = Lab::new()?;
    let theirs = peer.executor(&lab, "peer").await?;
    let ours = lab.executor("ours").await?;
    let side = |executor: &farstep_integration::Executor| Side {
        url: executor.url.clone(),
        folder: executor.folder.clone(),
    };
    let (theirs_side, ours_side) = (side(&theirs), side(&ours));
    let members: Vec<&str> = listed.member.iter().map(|member| &*member.name).collect();
    let (mut theirs_taken, mut ours_taken) = (BTreeMap::new(), BTreeMap::new());
    let mut wrong = String::new();
    for exchange in &exchanges.exchange {
        let (theirs, ours) = tokio::join!(theirs_side.play(exchange), ours_side.play(exchange));
        let mut theirs = theirs.with_context(|| format!("the peer in {}", exchange.name))?;
        let mut ours = ours.with_context(|| format!("ours in {}", exchange.name))?;
        for answer in &mut theirs {
            without(answer, &members, &mut theirs_taken);
        }
        for answer in &mut ours {
            without(answer, &members, &mut ours_taken);
        }
        let seen = differing(&theirs, &ours);
        if seen != listed.of(&exchange.name)? {
            write!(
                wrong,
                "\n[[difference]]\nexchange = \"{}\"\n",
                exchange.name
            )?;
            match seen {
                Some((peer, ours)) => write!(wrong, "peer = '{peer}'\nours = '{ours}'\n")?,
                None => writeln!(wrong, "# answered alike now: remove the entry")?,
            }
        }
    }
    for name in members {
        if theirs_taken.get(name) == ours_taken.get(name) {
            writeln!(wrong, "\n{name} does not differ now: remove the entry")?;
        }
    }
    ensure!(
        wrong.is_empty(),
        "what was seen is not what is listed:\n{wrong}"
    );
    Ok(())
}

#[test]
fn every_entry_names_an_exchange_and_a_reason() -> Result<()> {
    let exchanges = exchanges()?;
    let listed = listed()?;
    for difference in &listed.difference {
        let known = exchanges
            .exchange
            .iter()
            .any(|e| e.name == difference.exchange);
        ensure!(known, "{} is no exchange", difference.exchange);
    }
    let reasons = listed
        .difference
        .iter()
        .map(|difference| &difference.reason);
    for reason in reasons.chain(listed.member.iter().map(|member| &member.reason)) {
        ensure!(reason.len() > 20, "{reason:?} is no reason");
    }
    Ok(())
}
