//! Our side of the talk with the script.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use super::super::child::{Child, printable};
use super::{Placed, Platform, Progress, SshError, SshHop, SshTarget, script};

/// Longest line of the script; what is longer is somebody else's.
const LINE_MAX: u64 = 4096;
/// How much of what a login prints beside the script is kept.
const NOISE_MAX: usize = 1024;
/// How many such lines are read before it is given up.
const NOISE_LINES_MAX: usize = 10_000;

/// How long logging in may take: jump hosts, and machines that wake up.
const LOGIN_WAIT: Duration = Duration::from_secs(45);
/// How long it may take while somebody is asked for a password.
const LOGIN_WAIT_INTERACTIVE: Duration = Duration::from_secs(300);
/// How long one step there may take: a sum of the file on a slow disk.
const STEP_WAIT: Duration = Duration::from_secs(60);
/// How long a piece of the file may take to leave, which is slower than 1 KiB a second.
const PIECE_WAIT: Duration = Duration::from_secs(60);
const PIECE_BYTES: usize = 64 * 1024;

/// How much of the sum is part of where the executor is put.
const SUM_SHOWN: usize = 12;

/// A login whose shell runs the script.
#[derive(Debug)]
pub(super) struct Talk {
    target: SshTarget,
    login_wait: Duration,
    child: Child,
    said: BufReader<ChildStdout>,
    to: ChildStdin,
    noise: String,
}

impl Talk {
    pub(super) fn new(
        target: &SshTarget,
        interactive: bool,
        child: Child,
        stdout: ChildStdout,
        stdin: ChildStdin,
    ) -> Talk {
        Talk {
            target: target.clone(),
            login_wait: match interactive {
                true => LOGIN_WAIT_INTERACTIVE,
                false => LOGIN_WAIT,
            },
            child,
            said: BufReader::new(stdout),
            to: stdin,
            noise: String::new(),
        }
    }

    /// Waits for the login.
    pub(super) async fn hello(&mut self) -> Result<Platform, SshError> {
        let Some(line) = self.line(self.login_wait, SshHop::Auth).await? else {
            return Err(self.ended_early().await);
        };
        let words: Vec<&str> = line.split(' ').collect();
        let ["hello", system, arch, libc, sums, user] = words.as_slice() else {
            return Err(self.nonsense(&line));
        };
        if *sums == "none" {
            return Err(SshError {
                hop: SshHop::Place,
                reason: "nothing there makes SHA-256 sums".to_owned(),
                remedy: "install sha256sum, shasum or openssl there".to_owned(),
            });
        }
        Ok(Platform {
            system: printable(system),
            arch: printable(arch),
            glibc: libc.strip_prefix("glibc-").map(printable),
            is_root: *user == "0",
        })
    }

    /// Sees to it that the executor in `file` is there.
    pub(super) async fn place(
        &mut self,
        platform: Platform,
        file: &Path,
        version: &str,
        watcher: &Arc<dyn Fn(Progress) + Send + Sync>,
    ) -> Result<Placed, SshError> {
        let Summed { size, sum, name } = summed(file, version).await?;
        self.tell(&format!("use {name} {size} {sum}\n")).await?;
        let is_new = match self.step().await?.as_str() {
            "have" => {
                watcher(Progress::Present);
                false
            }
            "need" => {
                self.send(file, size, watcher).await?;
                watcher(Progress::Checking);
                match self.step().await?.as_str() {
                    "placed" => true,
                    other => return Err(self.nonsense(other)),
                }
            }
            other => return Err(self.nonsense(other)),
        };
        Ok(self.placed(platform, &name, is_new))
    }

    /// Where the executor in `file` would be put.
    pub(super) async fn would_place(
        &self,
        platform: Platform,
        file: &Path,
        version: &str,
    ) -> Result<Placed, SshError> {
        let Summed { name, .. } = summed(file, version).await?;
        Ok(self.placed(platform, &name, true))
    }

    fn placed(&self, platform: Platform, name: &str, is_new: bool) -> Placed {
        Placed {
            platform,
            path: format!("{}/{name}/{}", script::FOLDER, script::FILE),
            is_new,
            noise: Some(self.noise.clone()).filter(|noise| !noise.is_empty()),
        }
    }

    /// Starts the executor, which has the pipes from now on.
    pub(super) async fn serve(
        mut self,
        as_root: bool,
    ) -> Result<(Child, BufReader<ChildStdout>, ChildStdin), SshError> {
        let flag = if as_root { " --allow-root" } else { "" };
        self.tell(&format!("serve{flag}\n")).await?;
        Ok((self.child, self.said, self.to))
    }

    /// Ends the login.
    pub(super) async fn leave(self) {
        let Talk {
            child, said, to, ..
        } = self;
        drop((said, to));
        child.finish().await;
    }

    /// Sends the file. A machine that wants no more of it says why in its next line.
    async fn send(
        &mut self,
        file: &Path,
        size: u64,
        watcher: &Arc<dyn Fn(Progress) + Send + Sync>,
    ) -> Result<(), SshError> {
        let open = tokio::fs::File::open(file).await;
        let mut open = open.map_err(|error| unreadable(file, &error))?.take(size);
        let mut piece = vec![0; PIECE_BYTES];
        let mut sent = 0;
        while sent < size {
            let read = open.read(&mut piece).await;
            let read = read.map_err(|error| unreadable(file, &error))?;
            if read == 0 {
                // It has become shorter: what is missing is never sent, so that nothing is made
                // of the rest.
                return Err(unreadable(file, &io::ErrorKind::UnexpectedEof.into()));
            }
            let bytes = piece.get(..read).unwrap_or_default();
            match tokio::time::timeout(PIECE_WAIT, self.to.write_all(bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(self.too_long(SshHop::Place, PIECE_WAIT)),
            }
            sent += read as u64;
            watcher(Progress::Sending { sent, total: size });
        }
        Ok(())
    }

    /// The answer to what was told; a failure there is one here.
    async fn step(&mut self) -> Result<String, SshError> {
        let Some(line) = self.line(STEP_WAIT, SshHop::Place).await? else {
            let words = self.child.epitaph().await;
            return Err(SshError {
                hop: SshHop::Place,
                reason: words.unwrap_or_else(|| "the connection ended".to_owned()),
                remedy: "try again; `ssh -v` shows why connections end".to_owned(),
            });
        };
        match line.strip_prefix("fail ") {
            Some(failure) => {
                let (step, words) = failure.split_once(' ').unwrap_or((failure, ""));
                Err(SshError::there(step, &printable(words)))
            }
            None => Ok(line),
        }
    }

    async fn tell(&mut self, line: &str) -> Result<(), SshError> {
        // When nobody listens any more, the next line says why.
        match tokio::time::timeout(STEP_WAIT, self.to.write_all(line.as_bytes())).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.too_long(SshHop::Place, STEP_WAIT)),
        }
    }

    /// The next line of the script, and `None` at the end. What stands between is noise.
    async fn line(&mut self, limit: Duration, hop: SshHop) -> Result<Option<String>, SshError> {
        match tokio::time::timeout(limit, self.marked_line()).await {
            Ok(line) => Ok(line),
            Err(_) => Err(self.too_long(hop, limit)),
        }
    }

    async fn marked_line(&mut self) -> Option<String> {
        for _ in 0..NOISE_LINES_MAX {
            let mut bytes = Vec::new();
            let mut limited = (&mut self.said).take(LINE_MAX);
            match limited.read_until(b'\n', &mut bytes).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&bytes);
            // A shell that prints without a line end does so in front of our line.
            if let Some((before, line)) = text.split_once(script::MARK) {
                self.hear(before);
                return Some(line.trim().to_owned());
            }
            self.hear(&text);
        }
        None
    }

    fn hear(&mut self, text: &str) {
        let room = NOISE_MAX.saturating_sub(self.noise.len());
        let shown = printable(text);
        let text = shown.get(..shown.floor_char_boundary(room)).unwrap_or("");
        self.noise.push_str(text);
        if self.noise.trim().is_empty() {
            self.noise.clear();
        }
    }

    async fn ended_early(&mut self) -> SshError {
        let ended = self.child.epitaph().await;
        let said = self.child.last_words();
        let mut error = SshError::of_login(&self.target, &said, self.noise.trim());
        if said.is_empty()
            && self.noise.is_empty()
            && let Some(ended) = ended
        {
            error.reason = format!("{}: {ended}", error.reason);
        }
        error
    }

    fn nonsense(&self, line: &str) -> SshError {
        SshError {
            hop: SshHop::Shell,
            reason: format!("it said `{}`, which makes no sense", printable(line)),
            remedy: "see that nothing but `sh` answers to that name there".to_owned(),
        }
    }

    fn too_long(&self, hop: SshHop, limit: Duration) -> SshError {
        let said = self.child.last_words();
        let said = match said.as_str() {
            "" => String::new(),
            said => format!("; ssh says: {said}"),
        };
        SshError {
            hop,
            reason: format!("it took longer than {limit:?}{said}"),
            remedy: format!(
                "see how long `ssh {} true` takes",
                self.target.destination()
            ),
        }
    }
}

fn unreadable(file: &Path, error: &io::Error) -> SshError {
    SshError {
        hop: SshHop::Executor,
        reason: format!("{} cannot be read: {error}", file.display()),
        remedy: "name an executor with --executor FILE".to_owned(),
    }
}

/// What identifies an executor.
struct Summed {
    /// In bytes.
    size: u64,
    /// Its SHA-256 in hexadecimal.
    sum: String,
    /// The folder it is put in: another content is another folder.
    name: String,
}

async fn summed(file: &Path, version: &str) -> Result<Summed, SshError> {
    let read = async {
        let mut open = tokio::fs::File::open(file).await?;
        let mut sum = Sha256::new();
        let mut piece = vec![0; PIECE_BYTES];
        let mut size = 0;
        loop {
            let read = open.read(&mut piece).await?;
            if read == 0 {
                return Ok((size, sum.finalize()));
            }
            sum.update(piece.get(..read).unwrap_or_default());
            size += read as u64;
        }
    };
    let (size, sum) = read.await.map_err(|error| unreadable(file, &error))?;
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{version}-{}", sum.get(..SUM_SHOWN).unwrap_or(&sum));
    Ok(Summed { size, sum, name })
}
