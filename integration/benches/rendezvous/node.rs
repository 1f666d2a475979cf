//! A node of its own, and how it is asked.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use farstep_protocol::relay::{Frame, Kind, MLKEM768_BYTES, PublicKey, X25519_BYTES};
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_with_config};

/// What `/proc` counts times in, on every Linux.
const TICKS: f64 = 100.0;

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The program `farstep-rendezvous`, run with limits above what is asked of it.
pub(crate) struct Node {
    program: PathBuf,
    folder: TempDir,
    address: String,
    child: Child,
    pub(crate) executor: Arc<str>,
    pub(crate) harness: Arc<str>,
}

impl Node {
    pub(crate) async fn start() -> Result<Node> {
        let program = std::env::var_os("FARSTEP_RENDEZVOUS");
        let program = program
            .context("FARSTEP_RENDEZVOUS names no program; run `cargo xtask bench-rendezvous`")?;
        let program = PathBuf::from(program);
        let folder = tempfile::tempdir()?;
        let mut tokens = Vec::new();
        for kind in ["executor", "harness"] {
            let mut command = Command::new(&program);
            command.args([
                "admin",
                "token",
                "new",
                "--environment",
                "*",
                "--kind",
                kind,
            ]);
            let done = command.arg("--data").arg(folder.path()).output().await?;
            ensure!(
                done.status.success(),
                "{}",
                String::from_utf8_lossy(&done.stderr)
            );
            tokens.push(Arc::from(String::from_utf8(done.stdout)?.trim()));
        }
        let (child, url) = run(&program, &folder, "127.0.0.1:0").await?;
        let [executor, harness] = <[Arc<str>; 2]>::try_from(tokens).ok().context("two")?;
        Ok(Node {
            program,
            folder,
            address: url.trim_start_matches("http://").to_owned(),
            child,
            executor,
            harness,
        })
    }

    /// Kills it as a power cut would, and starts it again where it was.
    pub(crate) async fn cut(&mut self) -> Result<()> {
        self.child.kill().await?;
        let (child, _) = run(&self.program, &self.folder, &self.address).await?;
        self.child = child;
        Ok(())
    }

    /// Takes a credential back, as an operator does beside a node that runs.
    pub(crate) async fn revoke(&self, credential: &str) -> Result<()> {
        let kid = credential.split('_').nth(1).context("no key id")?;
        let mut command = Command::new(&self.program);
        command.args(["admin", "token", "revoke", kid, "--data"]);
        let done = command.arg(self.folder.path()).output().await?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{said}");
        Ok(())
    }

    /// Bytes that are its own and in memory.
    pub(crate) fn resident(&self) -> Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
        let kilobytes: u64 = kilobytes.context("no VmRSS")?.trim().parse()?;
        Ok(kilobytes * 1024)
    }

    /// Seconds of a processor that it took so far.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let pid = self.child.id().context("it ended")?;
        cpu_of(&pid.to_string())
    }

    fn proc(&self, file: &str) -> Result<String> {
        let pid = self.child.id().context("it ended")?;
        Ok(std::fs::read_to_string(format!("/proc/{pid}/{file}"))?)
    }

    pub(crate) fn registry(&self) -> Registry {
        Registry {
            address: self.address.clone().into(),
            executor: Arc::clone(&self.executor),
            harness: Arc::clone(&self.harness),
        }
    }
}

/// Seconds of a processor that a process took so far; `self` is this one, which makes the load.
pub(crate) fn cpu_of(pid: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("no stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|it| it.parse::<u64>().ok());
    let ticks = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
    Ok(ticks.context("no times")? as f64 / TICKS)
}

async fn run(program: &PathBuf, folder: &TempDir, listen: &str) -> Result<(Child, String)> {
    let mut command = Command::new(program);
    let generous = "1000000";
    command
        .args([
            "serve",
            "--listen",
            listen,
            "--executors-per-tenant",
            generous,
        ])
        .args([
            "--streams-per-token",
            generous,
            "--connects-per-second",
            generous,
        ])
        .args(["--connects-at-once", generous])
        .arg("--data")
        .arg(folder.path())
        .env("FARSTEP_LOG", "warn")
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    let out = child.stdout.take().context("no output")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).await?;
    Ok((child, line.trim().to_owned()))
}

/// What is asked of it.
#[derive(Clone)]
pub(crate) struct Registry {
    address: Arc<str>,
    executor: Arc<str>,
    harness: Arc<str>,
}

impl Registry {
    /// Registers, and returns the URL to dial.
    pub(crate) async fn register(&self, id: &str) -> Result<String> {
        let body = json!({
            "security_profile": "noise_hybrid_ik_v1", "executor_public_key": key(),
        });
        self.url(&self.executor, id, "register", &body).await
    }

    pub(crate) async fn connect(&self, id: &str) -> Result<String> {
        let body = json!({"harness_public_key": key()});
        self.url(&self.harness, id, "connect", &body).await
    }

    async fn url(&self, token: &str, id: &str, action: &str, body: &Value) -> Result<String> {
        let body = body.to_string();
        let request = format!(
            "POST /cloud/environment/{id}/{action} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer \
             {token}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: \
             {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = reach(&self.address).await?;
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.contains(" 200 "), "{head}\n{body}");
        let body: Value = serde_json::from_str(body)?;
        Ok(body["url"].as_str().context("no url")?.to_owned())
    }

    /// An executor's websocket, and those of its orchestrators with a stream each.
    pub(crate) async fn pair(&self, id: &str, streams: usize) -> Result<(Socket, Vec<Socket>)> {
        let mut link = dial(&self.register(id).await?, BUSY_BYTES).await?;
        as_our_executor(&link)?;
        let mut harnesses = Vec::new();
        for number in 0..streams {
            let mut harness = dial(&self.connect(id).await?, BUSY_BYTES).await?;
            let hello = Kind::Handshake(Bytes::from_static(b"hello"));
            let hello = frame(&format!("s{number}"), hello);
            // The executor lets it in.
            harness.send(hello).await?;
            let said = next(&mut link).await?;
            link.send(Message::Binary(said)).await?;
            next(&mut harness).await?;
            harnesses.push(harness);
        }
        Ok((link, harnesses))
    }
}

fn key() -> PublicKey {
    PublicKey::new([1; X25519_BYTES], Box::new([1; MLKEM768_BYTES]))
}

/// Has the kernel hold back as little as our executor does.
pub(crate) fn as_our_executor(link: &Socket) -> Result<()> {
    if let MaybeTlsStream::Plain(tcp) = link.get_ref() {
        socket2::SockRef::from(tcp).set_tcp_notsent_lowat(128 * 1024)?;
    }
    Ok(())
}

/// What is read at once on a websocket that carries something.
pub(crate) const BUSY_BYTES: usize = 64 * 1024;

/// The same on one that does not: what ten thousand of them hold would be more than this machine has.
pub(crate) const IDLE_BYTES: usize = 4096;

/// Connections from one address of loopback, of some 28,000 ports that each has; the next come from
/// the next.
const PORTS: u32 = 10_000;

async fn reach(address: &str) -> Result<TcpStream> {
    static REACHED: AtomicU32 = AtomicU32::new(0);
    let number = REACHED.fetch_add(1, Ordering::Relaxed) / PORTS;
    let from = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + number);
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((from, 0).into())?;
    let tcp = socket.connect(address.parse()?).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

pub(crate) async fn dial(url: &str, read_at_once: usize) -> Result<Socket> {
    let authority = url.trim_start_matches("ws://").split('/').next();
    let tcp = reach(authority.context("no address")?).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(read_at_once)
        .write_buffer_size(0);
    let stream = MaybeTlsStream::Plain(tcp);
    Ok(client_async_with_config(url, stream, Some(config)).await?.0)
}

pub(crate) fn frame(stream: &str, kind: Kind) -> Message {
    let stream = stream.to_owned();
    Message::Binary(Frame { stream, kind }.encode())
}

pub(crate) fn data(stream: &str, seq: u32, size: usize) -> Message {
    let payload = Bytes::from(vec![7; size]);
    frame(stream, Kind::Data { seq, payload })
}

/// The next message with content.
pub(crate) async fn next(
    socket: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
) -> Result<Bytes> {
    loop {
        match socket.next().await.context("it was closed")?? {
            Message::Binary(bytes) => return Ok(bytes),
            Message::Close(close) => anyhow::bail!("closed: {close:?}"),
            _ => {}
        }
    }
}
