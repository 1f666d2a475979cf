//! A real executor, a wire to it, and a look at the processes of this machine.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each suite uses its part"
)]

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_farstep-executor");
/// How long anything may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at what gives no event.
const LOOK: Duration = Duration::from_millis(10);

/// A listener of its own, with a home of its own.
pub(crate) struct Executor {
    child: Child,
    pub(crate) url: String,
    _state: TempDir,
}

impl Executor {
    pub(crate) fn start() -> Executor {
        Executor::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Command)) -> Executor {
        let state = tempfile::tempdir().unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .args(["--listen", "ws://127.0.0.1:0"])
            .env("XDG_STATE_HOME", state.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        Executor {
            child,
            url,
            _state: state,
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended after a signal.
    pub(crate) fn end(mut self, signal: Signal) {
        self.signal(signal);
        self.child.wait().unwrap();
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Already ended where the test did it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection with a session.
pub(crate) struct Wire {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    calls: i64,
    pub(crate) told: VecDeque<Value>,
}

impl Wire {
    pub(crate) async fn open(url: &str) -> Wire {
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let mut wire = Wire {
            socket,
            calls: 0,
            told: VecDeque::new(),
        };
        let name = json!({"clientName": "test"});
        wire.call("initialize", name).await.unwrap();
        wire.send(json!({"method": "initialized"})).await;
        wire
    }

    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.calls += 1;
        let id = self.calls;
        self.send(json!({"id": id, "method": method, "params": params}))
            .await;
        loop {
            let mut message = self.receive().await;
            if message["id"] != id {
                self.told.push_back(message);
            } else if message["error"].is_null() {
                return Ok(message["result"].take());
            } else {
                return Err(message["error"].take());
            }
        }
    }

    pub(crate) async fn start(&mut self, id: &str, tty: bool, script: &str) {
        self.try_start(id, tty, &["/bin/sh", "-c", script])
            .await
            .unwrap();
    }

    pub(crate) async fn try_start(
        &mut self,
        id: &str,
        tty: bool,
        argv: &[&str],
    ) -> Result<Value, Value> {
        let env = json!({"PATH": "/usr/local/bin:/usr/bin:/bin"});
        let params = json!({
            "processId": id, "argv": argv, "cwd": "file:///", "env": env, "tty": tty,
        });
        self.call("process/start", params).await
    }

    pub(crate) async fn terminate(&mut self, id: &str) -> bool {
        let ended = self.call("process/terminate", json!({"processId": id}));
        ended.await.unwrap()["running"].as_bool().unwrap()
    }

    /// All that a process says until its close.
    pub(crate) async fn output(&mut self, id: &str) -> String {
        let mut bytes = Vec::new();
        loop {
            let message = match self.told.pop_front() {
                Some(message) => message,
                None => self.receive().await,
            };
            if message["params"]["processId"] != id {
                continue;
            }
            if let Some(chunk) = message["params"]["chunk"].as_str() {
                let chunk = base64_simd::STANDARD.decode_to_vec(chunk).unwrap();
                bytes.extend(chunk);
            }
            if message["method"] == "process/closed" {
                return String::from_utf8(bytes).unwrap();
            }
        }
    }

    pub(crate) async fn send(&mut self, message: Value) {
        let text = Message::text(message.to_string());
        self.socket.send(text).await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Value {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next());
            let message = next.await.expect("an answer").expect("a connection");
            if let Message::Text(text) = message.unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
}

/// A folder whose name appears in the command line of every process that belongs to it.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let sleep = ["/usr/bin/sleep", "/bin/sleep"].map(PathBuf::from);
        let sleep = sleep.iter().find(|path| path.exists()).unwrap();
        std::os::unix::fs::symlink(sleep, folder.path().join("sleep")).unwrap();
        Place { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The script with `@` for the folder.
    pub(crate) fn script(&self, script: &str) -> String {
        script.replace('@', self.folder.path().to_str().unwrap())
    }

    /// The processes of this place: number and command line.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let folder = self.folder.path().to_str().unwrap();
        let mut found = all_processes();
        found.retain(|(_, line)| line.contains(folder));
        found
    }

    /// How many of them sleep, which is what every one of them does in the end.
    pub(crate) fn sleeping(&self) -> usize {
        let sleep = self.folder.path().join("sleep");
        let sleep = format!("{}\0", sleep.display());
        let found = self.processes();
        let sleeping = found.iter().filter(|(_, line)| line.starts_with(&sleep));
        sleeping.count()
    }

    pub(crate) async fn until_sleeping(&self, wanted: usize, what: &str) {
        let what = format!("{what} sleeps {wanted} times");
        until(&what, || self.sleeping() >= wanted).await;
    }

    /// Says who is left after the patience of the specification and a generous machine.
    pub(crate) async fn until_gone(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if self.processes().is_empty() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
        let left = self.processes();
        for (pid, _) in &left {
            let _ = kill_process(Pid::from_raw(*pid).unwrap(), Signal::KILL);
        }
        panic!("{what} left {left:?}");
    }
}

impl Drop for Place {
    /// A failed test leaves nothing behind either.
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
    }
}

/// Every process that is not a zombie, with its command line.
fn all_processes() -> Vec<(i32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let described = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        (!line.is_empty()).then(|| (pid, String::from_utf8_lossy(&line).into_owned()))
    });
    described.collect()
}

/// The guardian of an executor, if it has one.
pub(crate) fn guardian(executor: Pid) -> Option<Pid> {
    let children = all_processes().into_iter().filter(|(pid, line)| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let behind_name = stat.rsplit(')').next().unwrap_or_default();
        let parent = behind_name.split_whitespace().nth(1);
        line.contains("--guardian") && parent == Some(&executor.as_raw_nonzero().to_string())
    });
    children.map(|(pid, _)| Pid::from_raw(pid).unwrap()).next()
}

/// Waits for what gives no event.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(LOOK).await;
    }
}
