//! A program under test while it runs, and after.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::PATIENCE;

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: JoinHandle<Vec<u8>>,
}

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The lines of standard output as JSON values.
    pub fn json_lines(&self) -> Result<Vec<serde_json::Value>> {
        self.out()
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
            .collect()
    }
}

impl Running {
    /// Starts a program with all three streams piped.
    pub fn start(command: &mut Command) -> Result<Running> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{command:?} could not be started"))?;
        let stdin = child.stdin.take();
        let stdout = child
            .stdout
            .take()
            .context("standard output is not piped")?;
        let mut stderr = child.stderr.take().context("standard error is not piped")?;
        let stderr = tokio::spawn(async move {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text).await;
            text
        });
        Ok(Running {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            stderr,
        })
    }

    /// The next line of standard output, without its end.
    pub async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.stdout.read_line(&mut line));
        if read.await.context("no line came in time")?? == 0 {
            bail!("standard output ended");
        }
        Ok(line.trim_end_matches('\n').to_owned())
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Result<rustix::process::Pid> {
        let id = self.child.id().context("it ended already")?;
        rustix::process::Pid::from_raw(id.try_into()?).context("0 is no process id")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        Ok(rustix::process::kill_process(self.pid()?, signal)?)
    }

    /// Writes to its standard input.
    pub async fn say(&mut self, text: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        stdin.write_all(text.as_bytes()).await?;
        Ok(stdin.flush().await?)
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Waits for its end, with its standard input closed.
    pub async fn finish(self) -> Result<Finished> {
        self.finish_within(PATIENCE).await
    }

    /// As [`Running::finish`], with a limit of its own.
    pub async fn finish_within(mut self, limit: Duration) -> Result<Finished> {
        self.close_input();
        let mut stdout = Vec::new();
        let all = async {
            self.stdout.read_to_end(&mut stdout).await?;
            self.child.wait().await
        };
        let status = tokio::time::timeout(limit, all).await;
        let status = status.context("the program did not end in time")??;
        let stderr = tokio::time::timeout(PATIENCE, self.stderr).await;
        Ok(Finished {
            code: status.code(),
            stdout,
            stderr: stderr.context("standard error did not end in time")??,
        })
    }
}
