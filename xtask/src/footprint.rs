//! What the release build of the executor costs: on disk, in memory, to start, for each connection.
//!
//! The budget is that of `docs/performance.md`. Size and memory do not depend on how busy the
//! machine is, so they fail the check; the time to start is printed, and fails only far above its
//! budget, where no busy machine explains it.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

/// What the stripped program may weigh.
const PROGRAM_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Resident memory of an executor that nobody is connected to, in KiB.
const IDLE_KIB_MAX: u64 = 10 * 1024;

/// Resident memory each idle connection with a session adds, in KiB.
const CONNECTION_KIB_MAX: u64 = 64;

/// From starting the program to the line that says where it listens, in milliseconds.
const READY_MS_MAX: u128 = 50;

/// A busy machine may take this many times longer before the check fails.
const READY_SLACK: u128 = 10;

/// Starts of which the median counts.
const STARTS: usize = 9;

/// Connections that are open at once when memory is read.
const CONNECTIONS: usize = 2000;

/// How long the executor may take for anything that is asked of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Prints each figure next to its budget; fails when one is above it.
pub(crate) fn check(program: &Path) -> Result<ExitCode> {
    let bytes = std::fs::metadata(program)
        .with_context(|| format!("{} is not there", program.display()))?
        .len();
    let mut within = report("program, stripped (bytes)", bytes, PROGRAM_BYTES_MAX);

    let ready_ms = ready_ms(program)?;
    report("ready, median (ms)", ready_ms, READY_MS_MAX);
    within &= ready_ms <= READY_MS_MAX * READY_SLACK;

    let executor = Executor::start(program)?;
    let idle = executor.resident_kib()?;
    within &= report("idle (KiB resident)", idle, IDLE_KIB_MAX);

    let connections = executor.connect(CONNECTIONS)?;
    let grown = executor.resident_kib()?.saturating_sub(idle);
    let each = grown.div_ceil(connections.len() as u64);
    within &= report("an idle connection (KiB)", each, CONNECTION_KIB_MAX);

    Ok(if within {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[expect(clippy::print_stdout, reason = "printing is what the task is for")]
fn report<T: PartialOrd + std::fmt::Display>(what: &str, figure: T, budget: T) -> bool {
    let within = figure <= budget;
    let verdict = if within { "" } else { "  ABOVE" };
    println!("{what:28} {figure:>9}   budget {budget}{verdict}");
    within
}

fn ready_ms(program: &Path) -> Result<u128> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        let executor = Executor::start(program)?;
        times.push(started.elapsed().as_millis());
        drop(executor);
    }
    times.sort_unstable();
    times.get(STARTS / 2).copied().context("it never started")
}

/// A running executor; dropping it ends it.
struct Executor {
    child: Child,
    address: String,
}

impl Executor {
    /// Starts it and waits until it listens.
    fn start(program: &Path) -> Result<Executor> {
        allow_many_descriptors()?;
        let mut child = Command::new(program)
            // Not into the person's own log.
            .args(["--listen", "ws://127.0.0.1:0", "--audit-file", "off"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} could not be started", program.display()))?;
        let stdout = child.stdout.take().context("its output is not piped")?;
        let mut executor = Executor {
            child,
            address: String::new(),
        };
        BufReader::new(stdout).read_line(&mut executor.address)?;
        executor.address.truncate(executor.address.trim_end().len());
        ensure!(
            !executor.address.is_empty(),
            "the executor did not say where it listens"
        );
        Ok(executor)
    }

    fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .context("resident memory is read on Linux only")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        kib.context("no VmRSS")?
            .parse()
            .context("VmRSS is no number")
    }

    /// Opens connections, each with a session that nothing is asked of.
    fn connect(&self, count: usize) -> Result<Vec<WebSocket<TcpStream>>> {
        (0..count)
            .map(|number| {
                self.session()
                    .with_context(|| format!("connection {number} of {count}"))
            })
            .collect()
    }

    fn session(&self) -> Result<WebSocket<TcpStream>> {
        let authority = self.address.trim_start_matches("ws://");
        let tcp = TcpStream::connect(authority)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let (mut wire, _) = tungstenite::client(&self.address, tcp)?;
        let opening = [
            r#"{"id":1,"method":"initialize","params":{"clientName":"footprint"}}"#,
            r#"{"method":"initialized","params":{}}"#,
        ];
        for text in opening {
            wire.send(Message::text(text))?;
        }
        wire.read()?;
        Ok(wire)
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // It is ours and holds nothing; what fails here has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both ends of all connections are on this machine, and the executor inherits our limit.
fn allow_many_descriptors() -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = (CONNECTIONS + 100) as u64;
    if current.is_some_and(|current| current < wanted) {
        ensure!(
            maximum.is_none_or(|maximum| maximum >= wanted),
            "{wanted} open files are needed: raise the hard limit (ulimit -Hn)"
        );
        let limit = Rlimit {
            current: Some(wanted),
            maximum,
        };
        setrlimit(Resource::Nofile, limit).context("the limit of open files cannot be raised")?;
    }
    Ok(())
}
