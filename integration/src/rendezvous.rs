//! A rendezvous of one node, with executors behind it and a link that writes down what crosses.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::{Lab, Running};

/// A node, which can be killed and started again.
#[derive(Debug)]
pub struct Rendezvous {
    /// Where it is reached: `http://127.0.0.1:PORT`.
    pub url: String,
    program: PathBuf,
    data: PathBuf,
    /// Flags beyond where it listens and where it keeps things.
    more: Vec<String>,
    /// Who vouches for it, if it speaks TLS.
    authority: Option<PathBuf>,
    running: Option<Running>,
}

impl Rendezvous {
    /// Starts a node with a store of its own.
    pub async fn start(lab: &Lab) -> Result<Rendezvous> {
        Rendezvous::start_with(lab, &[]).await
    }

    /// The same, with flags of its own.
    pub async fn start_with(lab: &Lab, more: &[&str]) -> Result<Rendezvous> {
        let mut node = Rendezvous {
            url: String::new(),
            program: lab.programs().rendezvous.clone(),
            data: lab.path().join("rendezvous"),
            more: more.iter().map(|flag| (*flag).to_owned()).collect(),
            authority: None,
            running: None,
        };
        node.url = node.run("127.0.0.1:0", None).await?;
        Ok(node)
    }

    async fn run(&mut self, address: &str, public: Option<&str>) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(["serve", "--listen", address, "--data"]);
        command.arg(&self.data).args(&self.more);
        if let Some(public) = public {
            command.args(["--public-url", public]);
        }
        let mut running = Running::start(&mut command)?;
        let url = running.line().await.context("the node named no address")?;
        self.running = Some(running);
        Ok(url)
    }

    /// Has executors believe this authority, a file in PEM form.
    pub fn vouched_by(&mut self, authority: PathBuf) {
        self.authority = Some(authority);
    }

    /// Kills it as a power cut would.
    pub async fn kill(&mut self) -> Result<()> {
        let running = self.running.take().context("it does not run")?;
        running.signal(rustix::process::Signal::KILL)?;
        running.finish().await?;
        Ok(())
    }

    /// Has it let everybody go, and waits for its end.
    pub async fn drain(&mut self) -> Result<()> {
        let running = self.running.as_ref().context("it does not run")?;
        running.signal(rustix::process::Signal::TERM)?;
        self.ended().await
    }

    /// Waits for an end that somebody else asked for.
    pub async fn ended(&mut self) -> Result<()> {
        let running = self.running.take().context("it does not run")?;
        let done = running.finish().await?;
        ensure!(done.code == Some(0), "{:?} {}", done.code, done.err());
        Ok(())
    }

    fn address(&self) -> String {
        self.url
            .split('/')
            .next_back()
            .unwrap_or_default()
            .to_owned()
    }

    /// Starts it again where it was.
    pub async fn restart(&mut self) -> Result<()> {
        let address = self.address();
        let url = self.run(&address, None).await?;
        ensure!(url == self.url, "it came back at {url}");
        Ok(())
    }

    /// Makes it send peers to `public` for their websockets.
    pub async fn move_behind(&mut self, public: &str) -> Result<()> {
        self.kill().await?;
        let address = self.address();
        self.run(&address, Some(public)).await?;
        Ok(())
    }

    /// Makes it name `public` as its address, where nobody need be, and its own beside it.
    pub async fn hide_behind(&mut self, public: &str) -> Result<()> {
        let own = ["--alternate-url".to_owned(), self.url.clone()];
        self.more.extend(own);
        self.move_behind(public).await
    }

    /// Runs `admin` and returns what it printed, without its line end.
    pub async fn admin(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.arg("admin").args(arguments).arg("--data");
        let done = Running::start(command.arg(&self.data))?.finish().await?;
        ensure!(done.code == Some(0), "{arguments:?}: {}", done.err());
        Ok(done.out().trim_end().to_owned())
    }

    /// A credential for every environment.
    pub async fn token(&self, kind: &str) -> Result<String> {
        let arguments = ["token", "new", "--kind", kind, "--environment", "*"];
        self.admin(&arguments).await
    }

    /// Starts one of our executors, registered as `environment`; its line is the key to pin.
    pub async fn executor(
        &self,
        lab: &Lab,
        environment: &str,
        token: &str,
    ) -> Result<(Running, String)> {
        self.executor_with(lab, environment, token, &[]).await
    }

    /// The same with more flags.
    pub async fn executor_with(
        &self,
        lab: &Lab,
        environment: &str,
        token: &str,
        more: &[&str],
    ) -> Result<(Running, String)> {
        let mut command = self.executor_command(lab, environment)?;
        command.args(more).env("FARSTEP_API_KEY", token);
        let mut running = Running::start(&mut command)?;
        let line = running.line().await;
        let line = line.context("the executor did not register")?;
        let key = line.rsplit(' ').next().unwrap_or_default().to_owned();
        Ok((running, key))
    }

    /// The command of an executor that is to be `environment` and has no credential yet.
    pub fn executor_command(&self, lab: &Lab, environment: &str) -> Result<Command> {
        let mut command = Command::new(&lab.programs().executor);
        command
            .args(["--remote", &self.url, "--environment-id", environment])
            .args(["--allow-root", "--name", "a test"])
            .current_dir(lab.folder(environment)?)
            .env("XDG_STATE_HOME", lab.state())
            .env_remove("FARSTEP_API_KEY")
            .env_remove("CODEX_API_KEY");
        if let Some(authority) = &self.authority {
            command.env("SSL_CERT_FILE", authority);
        }
        Ok(command)
    }

    /// An entry of `environments.toml`, whose token is in `RDV_TOKEN`.
    pub fn entry(&self, environment: &str, more: &str) -> String {
        format!(
            "[[environments]]\nid = \"{environment}\"\n[environments.farstep]\n\
             rendezvous = \"{}\"\nauth = {{ bearer = {{ env = \"RDV_TOKEN\" }} }}\n{more}\n",
            self.url
        )
    }
}

/// Who dialled a websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An executor.
    Executor,
    /// An orchestrator.
    Harness,
}

/// A link in front of a node that keeps every byte.
#[derive(Debug)]
pub struct Recorder {
    /// Where to dial instead: `http://127.0.0.1:PORT`.
    pub url: String,
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: watch::Sender<Vec<Role>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Recorder {
    /// Stands in front of the node at `url`.
    pub async fn start(url: &str) -> Result<Recorder> {
        let far: SocketAddr = url.trim_start_matches("http://").parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let ended = watch::Sender::new(Vec::new());
        let ends = ended.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let (kept, ends) = (Arc::clone(&kept), ends.clone());
                connections.spawn(async move {
                    let far = TcpStream::connect(far).await?;
                    let role = role(&near).await?;
                    let (near_in, near_out) = near.into_split();
                    let (far_in, far_out) = far.into_split();
                    let back = async {
                        let done = carry(far_in, near_out, &kept).await;
                        ends.send_modify(|ended| ended.extend(role));
                        done
                    };
                    tokio::try_join!(carry(near_in, far_out, &kept), back)
                });
            }
        });
        Ok(Recorder {
            url,
            bytes,
            ended,
            _accepting: AbortOnDropHandle::new(accepting),
        })
    }

    /// Everything that crossed so far, in either direction. What clients sent is masked, as their
    /// websockets do; what they receive is as it is.
    pub fn bytes(&self) -> Vec<u8> {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.clone()
    }

    /// Whether the node ended a websocket of this role already.
    pub fn has_ended(&self, role: Role) -> bool {
        self.ended.borrow().contains(&role)
    }

    /// Waits until the node ended a websocket of this role. Those that ended before count too.
    pub async fn ended(&self, role: Role) -> Result<()> {
        let mut ended = self.ended.subscribe();
        ended.wait_for(|ended| ended.contains(&role)).await?;
        Ok(())
    }
}

/// Whose websocket it is, if it is one: the first line of the request says it, and stays unread.
async fn role(stream: &TcpStream) -> std::io::Result<Option<Role>> {
    let mut line = [0; 2048];
    let read = stream.peek(&mut line).await?;
    let line = line.get(..read).unwrap_or_default();
    let says = |word: &[u8]| line.windows(word.len()).any(|part| part == word);
    Ok(match (says(b"role=environment"), says(b"role=harness")) {
        (true, _) => Some(Role::Executor),
        (_, true) => Some(Role::Harness),
        _ => None,
    })
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    kept: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else {
            return to.shutdown().await;
        };
        kept.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(read);
        to.write_all(read).await?;
    }
}
