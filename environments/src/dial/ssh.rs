//! Executors on machines that a person can log in to: put there, started and talked to over one
//! `ssh`.
//!
//! ```text
//!   ssh HOST 'exec sh -c ...'          one login
//!        ◀── hello Linux x86_64 ...    which executor fits
//!   use NAME SIZE SUM ──▶              is it there already?
//!        ◀── have | need
//!   its bytes ──▶                      written beside, summed, tried, renamed
//!        ◀── placed · path ...
//!   serve ──▶                          the same pipes now speak the protocol
//! ```
//!
//! The system's own `ssh` does what belongs to it: keys, agents, jump hosts and the person's
//! configuration. What stands in for us on the other side is a script for any `sh`; see
//! [`script`]. Nothing there needs root, and what was put there is used again next time.

mod error;
mod executors;
mod script;
mod talk;
mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use farstep_transport::lines::Lines;
use futures_util::future::BoxFuture;
use tokio::io::BufReader;
use tokio::process::{ChildStdin, ChildStdout};

use super::child::{self, Program};
use super::stdio::PAUSE;
use super::{
    ConnectError, Dial, Fact, Hop, Passage, Reached, Redial, Tasks, Trail, Withheld, attach,
};
use crate::client::Executor;
use talk::Talk;

pub use error::{SshError, SshHop};
pub use executors::{Executors, Platform};
pub use target::{BadTarget, SshTarget};

const SSH: &str = "ssh";
/// Starts a program that a Ctrl-C does not end.
const DEAF: &str = r#"trap "" INT; exec "$0" "$@""#;

/// Notices a dead link within a minute, as a listener's pings would.
const ALIVE: [&str; 4] = [
    "-o",
    "ServerAliveInterval=15",
    "-o",
    "ServerAliveCountMax=3",
];

/// How long the first exchange may take once the executor has been started.
const INITIALIZE: Duration = Duration::from_secs(20);

/// An executor to put on a machine.
#[derive(Clone)]
pub struct Bootstrap {
    pub target: SshTarget,
    pub executors: Executors,
    /// What programs there are built for, where that is not what the machine says: a 32-bit system
    /// may run on a 64-bit kernel.
    pub arch: Option<String>,
    /// The version of the executors, which is part of where they are put.
    pub version: String,
    /// Somebody sits at a terminal and can be asked for a password or about a host's key.
    pub interactive: bool,
    /// Is told how far it has come.
    pub watcher: Arc<dyn Fn(Progress) + Send + Sync>,
}

impl std::fmt::Debug for Bootstrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bootstrap")
            .field("target", &self.target)
            .field("executors", &self.executors)
            .finish_non_exhaustive()
    }
}

/// How far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    LoggingIn,
    /// Logged in; this is what was found.
    Found(Platform),
    /// The executor is there already.
    Present,
    /// Its bytes are on their way.
    Sending {
        sent: u64,
        total: u64,
    },
    /// All of it is there, and is checked.
    Checking,
}

/// An executor that is on its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub platform: Platform,
    /// Below the home folder there.
    pub path: String,
    /// Whether it was put there only now.
    pub is_new: bool,
    /// What the machine's login printed before it came to our command; it does not belong there.
    pub noise: Option<String>,
}

impl Placed {
    /// What starts the executor, for whatever shell the login has.
    pub fn command(&self) -> String {
        let root = if self.platform.is_root {
            " --allow-root"
        } else {
            ""
        };
        // The rest of a line that the login has begun would be taken for part of the protocol.
        let begun = self
            .noise
            .as_ref()
            .is_some_and(|noise| !noise.ends_with('\n'));
        let end = if begun { "echo; " } else { "" };
        format!("{end}exec ~/{} --listen stdio --durable{root}", self.path)
    }

    /// The arguments of an `ssh` that starts the executor and asks nobody anything.
    pub fn arguments(&self, target: &SshTarget) -> Vec<String> {
        arguments(target, false, self.command())
    }
}

impl Bootstrap {
    fn as_told(&self, found: Platform) -> Platform {
        match &self.arch {
            Some(arch) => Platform {
                arch: arch.clone(),
                ..found
            },
            None => found,
        }
    }

    /// Only looks: logs in, and finds which executor would be put there.
    pub async fn look(&self) -> Result<(Placed, PathBuf), SshError> {
        let mut talk = self.log_in().await?;
        let platform = self.as_told(talk.hello().await?);
        let file = self.executors.find(&platform)?;
        let placed = talk.would_place(platform, &file, &self.version).await?;
        talk.leave().await;
        Ok((placed, file))
    }

    /// Puts the executor there, unless it is there.
    pub async fn place(&self) -> Result<Placed, SshError> {
        let mut talk = self.log_in().await?;
        let placed = self.place_over(&mut talk).await?;
        talk.leave().await;
        Ok(placed)
    }

    async fn place_over(&self, talk: &mut Talk) -> Result<Placed, SshError> {
        let platform = self.as_told(talk.hello().await?);
        (self.watcher)(Progress::Found(platform.clone()));
        let file = self.executors.find(&platform)?;
        talk.place(platform, &file, &self.version, &self.watcher)
            .await
    }

    async fn log_in(&self) -> Result<Talk, SshError> {
        (self.watcher)(Progress::LoggingIn);
        let mut words = arguments(&self.target, self.interactive, script::command());
        let mut program = SSH;
        if self.interactive && cfg!(unix) {
            // It shares our terminal, and with it Ctrl-C, which is meant for the command there.
            words.splice(0..0, ["-c", DEAF, SSH].map(str::to_owned));
            program = "sh";
        }
        let program = Program {
            program: program.into(),
            args: words,
            env: BTreeMap::new(),
            inherited: None,
            cwd: None,
            // Only the foreground may ask for a password.
            own_group: !self.interactive,
        };
        let (child, stdout, stdin) = child::spawn(&program, &Withheld::default())
            .map_err(|error| SshError::no_ssh(&error))?;
        Ok(Talk::new(
            &self.target,
            self.interactive,
            child,
            stdout,
            stdin,
        ))
    }
}

fn arguments(target: &SshTarget, interactive: bool, command: String) -> Vec<String> {
    let mut words = vec!["-T".to_owned()];
    if !interactive {
        words.extend(["-o", "BatchMode=yes"].map(str::to_owned));
    }
    words.extend(ALIVE.map(str::to_owned));
    if let Some(port) = target.port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    words.extend([target.destination(), command]);
    words
}

/// Both ends of what `ssh` carries.
type Pipes = Lines<BufReader<ChildStdout>, ChildStdin>;

/// A machine whose executor is put there with the first connection, and looked for with each.
#[derive(Debug)]
pub(crate) struct Ssh {
    pub(crate) bootstrap: Bootstrap,
}

impl Dial for Ssh {
    fn dial<'a>(
        &'a self,
        tasks: &'a Tasks,
        trail: &'a mut Trail,
    ) -> BoxFuture<'a, Result<Executor, ConnectError>> {
        Box::pin(async move {
            let (wire, child) = self.bootstrap.reach(trail).await?;
            let way_back: Arc<dyn Redial<Pipes>> = Arc::new(WayBack(Bootstrap {
                interactive: false,
                watcher: Arc::new(|_| {}),
                ..self.bootstrap.clone()
            }));
            attach(wire, child, INITIALIZE, tasks, trail, Some(way_back)).await
        })
    }

    fn open<'a>(&'a self, trail: &'a mut Trail) -> BoxFuture<'a, Result<Passage, ConnectError>> {
        Box::pin(async move {
            let (wire, child) = self.bootstrap.reach(trail).await?;
            Ok(Passage {
                wire: Box::new(wire),
                child,
            })
        })
    }

    fn label(&self) -> String {
        format!("ssh: {}", self.bootstrap.target)
    }
}

impl Bootstrap {
    /// Logs in, and starts the executor.
    async fn reach(&self, trail: &mut Trail) -> Result<Reached<Pipes>, ConnectError> {
        trail.begin(Hop::Ssh);
        let mut talk = self.log_in().await?;
        let placed = self.place_over(&mut talk).await?;
        let (child, said, to) = talk.serve(placed.platform.is_root).await?;
        trail.pass(placed.noise.map(Fact::Noise));
        Ok((Lines::new(said, to), Some(child)))
    }
}

/// The way back to a machine that was reached. Nobody is asked anything on it, because somebody may
/// be typing into what runs there.
#[derive(Debug)]
struct WayBack(Bootstrap);

impl Redial<Pipes> for WayBack {
    fn redial<'a>(
        &'a self,
        trail: &'a mut Trail,
    ) -> BoxFuture<'a, Result<Reached<Pipes>, ConnectError>> {
        Box::pin(self.0.reach(trail))
    }

    fn needs_durability(&self) -> bool {
        true
    }

    fn pause(&self) -> Duration {
        PAUSE
    }
}

#[cfg(test)]
mod tests;
