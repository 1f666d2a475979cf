//! A started program: its streams, its end, and the group of processes it leads.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
};
use tokio::io::Interest;

use super::contain::Origin;
use super::input::Input;
use super::output::Output;
use super::terminal;
use super::watch::{Readiness, Watch};
use crate::os::shared::WindowSize;

/// What a shell adds to the number of a signal that ended a program.
const SIGNAL_BASE: i32 = 128;

/// Everything we hold of a program that was just started.
#[derive(Debug)]
pub struct Child {
    pub input: Option<Input>,
    /// Standard output, or the terminal.
    pub stdout: Output,
    /// Standard error, unless there is a terminal.
    pub stderr: Option<Output>,
    pub exit: ExitWatch,
    pub group: Arc<Group>,
}

/// The processes that are signalled together: the program and what it started and did not
/// deliberately move elsewhere.
///
/// Dropping it while the program runs kills the group, and those that left it as well.
#[derive(Debug)]
pub struct Group {
    pid: Pid,
    origin: Origin,
    /// `None` once the program was waited for: from then on its number may mean somebody else.
    running: Mutex<Option<Leader>>,
}

/// Whether programs can be told everything there is a [`Notice`] for.
pub const HAS_NOTICES: bool = true;

/// What a program is told beside Ctrl-C, and may heed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// To end in an orderly way.
    Terminate,
    /// That its terminal has gone.
    Hangup,
    /// What Ctrl-\ does.
    Quit,
}

/// What exists while the program at the head of a group is not waited for.
#[derive(Debug)]
struct Leader {
    /// The terminal it reads from, to find out who is in the foreground.
    terminal: Option<OwnedFd>,
}

impl Group {
    pub(super) fn new(pid: Pid, terminal: Option<OwnedFd>, origin: Origin) -> Group {
        Group {
            pid,
            origin,
            running: Mutex::new(Some(Leader { terminal })),
        }
    }

    /// The number of the program and of its group.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Ends every process of the group at once, and a moment later whatever else the program
    /// started, sessions of their own and daemons included. False if the program had ended
    /// already: then nothing is done, because its caller may have wanted what it left behind.
    pub fn kill(&self) -> bool {
        let running = self.signal(Signal::KILL, true);
        if running {
            self.origin.end();
        }
        running
    }

    /// What Ctrl-C does. False if the program had ended already.
    pub fn interrupt(&self) -> bool {
        self.signal(Signal::INT, false)
    }

    /// Sends what a program may heed. False if it had ended already.
    pub fn notify(&self, notice: Notice) -> bool {
        let signal = match notice {
            Notice::Terminate => Signal::TERM,
            Notice::Hangup => Signal::HUP,
            Notice::Quit => Signal::QUIT,
        };
        self.signal(signal, false)
    }

    /// Changes the size of its terminal, if it has one.
    pub fn resize(&self, size: WindowSize) -> io::Result<()> {
        match self.leader().as_ref().and_then(|it| it.terminal.as_ref()) {
            Some(terminal) => terminal::resize(terminal, size),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn signal(&self, signal: Signal, whole_session: bool) -> bool {
        let leader = self.leader();
        let Some(running) = leader.as_ref() else {
            return false;
        };
        let foreground = running.terminal.as_ref().and_then(terminal::foreground);
        // A shell with job control gives each pipeline a group: Ctrl-C is for the one in front.
        let target = foreground.unwrap_or(self.pid);
        send(target, signal);
        if whole_session && target != self.pid {
            send(self.pid, signal);
        }
        true
    }

    /// Collects the program's end if it has come, and gives up its number.
    fn collect(&self) -> Result<Option<i32>, Errno> {
        let mut leader = self.leader();
        if leader.is_none() {
            return Err(Errno::CHILD);
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = waitid(WaitId::Pid(self.pid), options)?;
        let code = status.as_ref().map(exit_code);
        if code.is_some() {
            self.origin.forget(self.pid);
            *leader = None;
        }
        Ok(code)
    }

    fn leader(&self) -> MutexGuard<'_, Option<Leader>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Group {
    /// The last resort, when a start was given up or the runtime went away: no process and no
    /// zombie stays behind. A killed process needs no time to end, unless the kernel is stuck.
    fn drop(&mut self) {
        const PAUSE: Duration = Duration::from_millis(1);
        const PAUSES_MAX: u32 = 1000;
        if !self.kill() {
            return;
        }
        for _ in 0..PAUSES_MAX {
            match self.collect() {
                Ok(None) => std::thread::sleep(PAUSE),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        tracing::warn!(pid = self.id(), "a killed process does not end");
    }
}

fn send(group: Pid, signal: Signal) {
    // Nobody left to signal is what we wanted, or what the caller finds out from the exit.
    if let Err(error) = kill_process_group(group, signal) {
        tracing::debug!(%error, group = group.as_raw_nonzero(), "a signal found nobody");
    }
}

fn exit_code(status: &WaitIdStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => SIGNAL_BASE + signal,
        // Neither exited nor killed: not possible with the options above.
        (None, None) => SIGNAL_BASE,
    }
}

/// Tells when the program ends. Needs a tokio runtime around it only while it is polled.
#[derive(Debug)]
pub struct ExitWatch {
    /// Becomes readable at the end of the program.
    watch: Watch,
    group: Arc<Group>,
}

impl ExitWatch {
    pub(super) fn new(becomes_readable: OwnedFd, group: Arc<Group>) -> ExitWatch {
        ExitWatch {
            watch: Watch::new(becomes_readable, Interest::READABLE),
            group,
        }
    }

    /// Ready with the exit code: as given, or 128 + the signal. Not to be polled after that.
    pub fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<i32>> {
        let group = &self.group;
        let outcome = self.watch.poll(cx, |_| {
            let code = group.collect().and_then(|code| code.ok_or(Errno::AGAIN));
            (code, Readiness::Remains)
        });
        if outcome.is_ready() {
            self.watch.close();
        }
        outcome
    }
}
