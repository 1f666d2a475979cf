//! A hermetic place for one test: a home of its own, executors of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{Finished, Programs, Running};

/// A fresh home, and the programs. Everything below it vanishes with it.
#[derive(Debug)]
pub struct Lab {
    folder: TempDir,
    programs: &'static Programs,
}

impl Lab {
    /// Makes the home; its `environments.toml` is absent until [`Lab::environments`].
    pub fn new() -> Result<Lab> {
        let programs = Programs::get()?;
        let folder = tempfile::Builder::new().prefix("farstep-lab-").tempdir()?;
        std::fs::create_dir(folder.path().join("home"))?;
        Ok(Lab { folder, programs })
    }

    /// The folder of the test.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that holds `environments.toml`.
    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// Where the programs keep what outlives them.
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// The programs under test.
    pub fn programs(&self) -> &'static Programs {
        self.programs
    }

    /// Makes a folder in the folder of the test.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path)?;
        // What `pwd` says inside.
        Ok(path.canonicalize()?)
    }

    /// Starts one of our executors as a websocket listener in a folder of its own.
    pub async fn executor(&self, name: &str) -> Result<Executor> {
        self.executor_with(name, &[]).await
    }

    /// The same, with arguments of its own.
    pub async fn executor_with(&self, name: &str, arguments: &[&str]) -> Result<Executor> {
        let mut command = Command::new(&self.programs.executor);
        command
            .args(["--listen", "ws://127.0.0.1:0"])
            .args(arguments)
            .env("XDG_STATE_HOME", self.state());
        Executor::start(&mut command, self.folder(name)?).await
    }

    /// Writes `environments.toml`.
    pub fn environments(&self, text: &str) -> Result<()> {
        std::fs::write(self.home().join("environments.toml"), text)
            .context("environments.toml could not be written")
    }

    /// Writes an `environments.toml` of websocket entries, the first being the default.
    pub fn websockets(&self, entries: &[(&str, &str)]) -> Result<()> {
        let mut text = String::from("include_local = false\n");
        if let Some((id, _)) = entries.first() {
            writeln!(text, "default = \"{id}\"")?;
        }
        for (id, url) in entries {
            writeln!(text, "[[environments]]\nid = \"{id}\"\nurl = \"{url}\"")?;
        }
        self.environments(&text)
    }

    /// A `farstep` command with a hermetic surrounding.
    pub fn farstep(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.farstep);
        command
            .args(arguments)
            .current_dir(self.path())
            .env("FARSTEP_HOME", self.home())
            .env("HOME", self.home())
            .env("XDG_STATE_HOME", self.state())
            .env("NO_COLOR", "1")
            .env_remove("FARSTEP_LOG")
            .env_remove("OPENAI_API_KEY");
        command
    }

    /// Runs `farstep` to its end.
    pub async fn run(&self, arguments: &[&str]) -> Result<Finished> {
        Running::start(&mut self.farstep(arguments))?.finish().await
    }
}

/// Memory of a program, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now.
    pub now: u64,
    /// Resident at most so far.
    pub at_most: u64,
}

/// A websocket executor, ours or the peer's.
#[derive(Debug)]
pub struct Executor {
    /// Where it listens.
    pub url: String,
    /// Its working folder.
    pub folder: PathBuf,
    running: Running,
}

impl Executor {
    /// Starts `command` in `folder` and reads the address from its first line.
    pub async fn start(command: &mut Command, folder: PathBuf) -> Result<Executor> {
        let mut running = Running::start(command.current_dir(&folder))?;
        let url = running
            .line()
            .await
            .context("the executor named no address")?;
        Ok(Executor {
            url,
            folder,
            running,
        })
    }

    /// The running program.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Waits for its end.
    pub async fn finish(self) -> Result<Finished> {
        self.running.finish().await
    }

    /// What it holds in memory now and held at most, in bytes.
    pub fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.running.pid()?.as_raw_nonzero());
        let status = std::fs::read_to_string(path)?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            let kilobytes: u64 = number.context("no such line")?.parse()?;
            Ok(kilobytes * 1024)
        };
        Ok(Memory {
            now: field("VmRSS:")?,
            at_most: field("VmHWM:")?,
        })
    }

    /// Kills it as a power cut would.
    pub fn kill(&self) -> Result<()> {
        self.running.signal(rustix::process::Signal::KILL)
    }
}
