//! A small process that outlives the executor by a moment.
//!
//! The kernel ends our programs with us, but not what they started. The guardian holds the reading
//! end of a pipe that nobody writes to; when the executor is gone, however that happened, the pipe
//! ends, and the guardian sweeps the executor's family and goes too. It is this program again,
//! without a line of the executor's work in it: no runtime, no connection, no environment, and a
//! session of its own, so that what is sent to the executor's group does not reach it.

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use rustix::pipe::PipeFlags;
use rustix::process::Pid;

use super::Doomed;
use super::keeper::PRIORITY;
use super::mark::{Family, Limits};
use super::sweep::Sweep;
use crate::os::unix::{harden, signals, slim};

/// The first argument of a guardian. Not for people, so not in the help.
const ARGUMENT: &str = "--guardian";
/// This program, even if its file was replaced since.
const PROGRAM: &str = "/proc/self/exe";
/// What `ps` shows.
const NAME: &std::ffi::CStr = c"farstep-guard";
/// How often it sweeps before it gives up on those the kernel does not let go.
const SWEEPS: u32 = 30;
const ROUNDS: u32 = 400;
const PAUSE: Duration = Duration::from_secs(1);

/// The executor's side of one guardian.
#[derive(Debug)]
pub(super) struct Guardian {
    pid: Pid,
    /// Its end is ours.
    _alive: OwnedFd,
}

impl Guardian {
    /// Starts one, as a child of the calling thread.
    pub(super) fn post(family: Family) -> io::Result<Guardian> {
        let (watched, alive) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let child = Command::new(PROGRAM)
            .arg0("farstep-executor")
            .arg(ARGUMENT)
            .arg(family.id().to_string())
            .env_clear()
            .stdin(watched)
            // Whoever waits for the end of our streams must not wait for a guardian.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Guardian {
            pid: Pid::from_child(&child),
            _alive: alive,
        })
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }
}

/// Is a guardian if the arguments say so, until there is nothing to guard. Call it first in
/// `main`, before there is anything of an executor.
pub fn guard() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let id = arguments.next().and_then(|id| id.into_string().ok());
    let guarded = watch_over(&id.unwrap_or_default());
    Some(guarded.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS))
}

fn watch_over(id: &str) -> io::Result<()> {
    signals::block_all();
    harden();
    rustix::process::setsid()?;
    rustix::process::chdir(c"/")?;
    rustix::thread::set_name(NAME)?;
    // Where that is not allowed it has the same share as everybody.
    let _ = rustix::process::setpriority_process(None, PRIORITY);
    let unmarked = Limits::of(None).ok_or_else(io::Error::last_os_error)?.hard;
    let family = Family::parse(id, unmarked).ok_or(io::ErrorKind::InvalidInput)?;
    family.of_guardian().bear()?;
    let mut sweep = Sweep::new(family, None)?;

    slim::give_back_program();

    wait_for_end_of_input()?;
    for _ in 0..SWEEPS {
        if sweep.run(&[Doomed::Everything], ROUNDS)? {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn wait_for_end_of_input() -> io::Result<()> {
    let mut byte = [0];
    loop {
        match io::stdin().lock().read(&mut byte) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
