//! A Windows machine for a test: Wine's, with a folder of its own on drive C.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use anyhow::{Context as _, Result};
use farstep_integration::{Executor, Follower, Lab, Wire, need};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Mutex;

/// The program, and what runs it.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    pub(crate) program: PathBuf,
    pub(crate) run: PathBuf,
    pub(crate) drive_c: PathBuf,
    _up: Option<Arc<Up>>,
}

/// A program that keeps Wine up. The first one in an idle Wine starts services that hold its pipes for
/// as long as anything runs; this one has none.
#[derive(Debug)]
struct Up(std::process::Child);

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the tests that run now share. One at a time looks: Wine makes its drive C once, and whoever
/// comes meanwhile fails.
static UP: Mutex<Weak<Up>> = Mutex::const_new(Weak::new());

/// Programs are counted by what stands in their command lines; each has a mark of its own.
static MARK: AtomicU32 = AtomicU32::new(0);

impl Windows {
    /// The machine, if the program is built and Wine is there.
    pub(crate) async fn find() -> Result<Option<Windows>> {
        let program = std::env::var_os("FARSTEP_WINDOWS_EXECUTOR").map(PathBuf::from);
        let program = program.filter(|program| program.is_file());
        let Some(program) = need(
            program,
            "the executor for Windows: FARSTEP_WINDOWS_EXECUTOR names no program",
        ) else {
            return Ok(None);
        };
        let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("windows/run");
        let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wine");
        let mut windows = Windows {
            program,
            run,
            drive_c: prefix.join("drive_c"),
            _up: None,
        };
        let mut shared = UP.lock().await;
        let up = match shared.upgrade() {
            Some(up) => up,
            None => Arc::new(windows.wake_up().await?),
        };
        *shared = Arc::downgrade(&up);
        windows._up = Some(up);
        Ok(Some(windows))
    }

    /// Starts Wine, and waits until it is there.
    async fn wake_up(&self) -> Result<Up> {
        let null = std::process::Stdio::null;
        let up = std::process::Command::new(&self.run)
            .args([r"C:\windows\system32\ping.exe", "-n", "3600", "127.0.0.1"])
            .env("WINEPREFIX", self.prefix())
            .stdin(null())
            .stdout(null())
            .stderr(null())
            .spawn()?;
        let up = Up(up);
        let mut version = self.command(&["--version"]);
        let done = version.stdout(null()).stderr(null()).status().await?;
        anyhow::ensure!(done.success(), "wine cannot run the program: {done}");
        Ok(up)
    }

    /// The executor with these arguments. The process is the program itself: Wine's loader becomes
    /// it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.run);
        command
            .arg(&self.program)
            .args(arguments)
            .env("WINEPREFIX", self.prefix())
            .env("WINEDEBUG", "-all");
        command
    }

    pub(crate) fn prefix(&self) -> &Path {
        self.drive_c.parent().unwrap_or(&self.drive_c)
    }

    /// A listener, and a connection to it.
    pub(crate) async fn listen(&self, lab: &Lab) -> Result<(Executor, Wire)> {
        let mut command = self.command(&["--listen", "ws://127.0.0.1:0"]);
        let executor = Executor::start(&mut command, lab.folder("far")?).await?;
        let (wire, _) = Wire::open(&executor.url).await?;
        Ok((executor, wire))
    }

    /// A new folder on drive C: its URI, and where it is on this machine.
    pub(crate) fn folder(&self) -> Result<(String, PathBuf)> {
        let made = tempfile::Builder::new()
            .prefix("test-")
            .tempdir_in(&self.drive_c)?
            .keep();
        let name = made.file_name().context("no name")?.to_string_lossy();
        Ok((format!("file:///C:/{name}"), made))
    }
}

/// Params of `process/start` for a program with an ordinary environment.
pub(crate) fn start(process: &str, argv: &[&str]) -> Value {
    json!({
        "processId": process, "argv": argv, "cwd": "file:///C:/",
        "env": {"PATH": "C:\\windows\\system32"}, "tty": false, "pipeStdin": false,
    })
}

/// Starts a program and follows it to its close.
pub(crate) async fn run(wire: &mut Wire, params: Value) -> Result<(i64, String)> {
    let process = params["processId"].as_str().unwrap().to_owned();
    wire.done("process/start", params).await?;
    let follower = follow(wire, &process).await?;
    let code = follower.exit_code().context("no exit code")?;
    Ok((
        code,
        String::from_utf8_lossy(&follower.output()?).into_owned(),
    ))
}

/// Follows a program to its close.
pub(crate) async fn follow(wire: &mut Wire, process: &str) -> Result<Follower> {
    let mut follower = Follower::new(process);
    while !follower.is_complete() {
        let message = wire.notification().await?.context("the connection ended")?;
        follower.notified(&message)?;
    }
    Ok(follower)
}

/// A number no other program here has in its command line: so many milliseconds between two pings.
pub(crate) fn mark() -> String {
    let own = std::process::id() % 100_000;
    format!("1{own:05}{:02}", MARK.fetch_add(1, Ordering::Relaxed))
}

/// How many processes of this machine have the mark in their command line.
pub(crate) fn marked(mark: &str) -> usize {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return 0;
    };
    processes
        .flatten()
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(mark))
        .count()
}

/// Waits until so many processes have the mark.
pub(crate) async fn until_marked(mark: &str, wanted: usize) -> Result<()> {
    let waited = tokio::time::timeout(farstep_integration::PATIENCE, async {
        // There is no event to wait for: they are nobody's children here.
        while marked(mark) != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    waited
        .await
        .with_context(|| format!("{} processes and not {wanted}", marked(mark)))
}
