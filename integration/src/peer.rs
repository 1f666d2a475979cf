//! The real peer: a `codex` of the pinned version.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{Executor, Lab};

/// The peer's program and a home for it.
///
/// Its home must not lie below the temporary folder, or it refuses to install its helpers there;
/// `FARSTEP_TEST_HOMES` names a folder, else a fresh one below `/var/tmp` is made.
#[derive(Debug)]
pub struct Peer {
    program: PathBuf,
    home: TempDir,
}

impl Peer {
    /// The peer that `FARSTEP_CODEX` names, if any.
    pub fn find() -> Option<Peer> {
        let program = PathBuf::from(std::env::var_os("FARSTEP_CODEX")?);
        let homes = std::env::var_os("FARSTEP_TEST_HOMES")
            .map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        let home = tempfile::Builder::new()
            .prefix("farstep-peer-")
            .tempdir_in(homes)
            .ok()?;
        program.is_file().then_some(Peer { program, home })
    }

    /// The peer's home.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The path of the program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command of the peer, in `folder`.
    pub fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(folder)
            .env("CODEX_HOME", self.home())
            .env_remove("OPENAI_API_KEY");
        command
    }

    /// Starts its executor as a websocket listener.
    pub async fn executor(&self, lab: &Lab, name: &str) -> Result<Executor> {
        let folder = lab.folder(name)?;
        let mut command = self.command(&folder, &["exec-server", "--listen", "ws://127.0.0.1:0"]);
        Executor::start(&mut command, folder).await
    }
}
