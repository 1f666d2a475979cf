//! A started program: its streams, its end, and the group of processes it leads.

use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt as _;
use std::process::{self, ExitCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;

use windows_sys::Win32::System::Console::{
    AttachConsole, CTRL_C_EVENT, FreeConsole, GenerateConsoleCtrlEvent, SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::Threading::{CREATE_NO_WINDOW, GetExitCodeProcess};

use super::call::check;
use super::input::Input;
use super::job::Origin;
use super::output::Output;
use super::overlapped::Overlapped;
use super::terminal::Terminal;
use super::wait::{Wait, is_signalled};
use crate::os::shared::WindowSize;

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

/// The processes that are ended together: the program and whatever it started.
///
/// Dropping it while the program runs kills all of them.
#[derive(Debug)]
pub struct Group {
    pid: u32,
    origin: Origin,
    process: OwnedHandle,
    /// `None` once the end of the program was told.
    running: Mutex<Option<Leader>>,
}

/// What exists while the program at the head of a group runs.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) terminal: Option<Console>,
}

/// The terminal of a program, and a second way to its keyboard.
#[derive(Debug)]
pub(super) struct Console {
    pub(super) terminal: Terminal,
    pub(super) keyboard: Overlapped,
}

impl Console {
    /// Not twice at a time: the program has not taken the first one yet.
    fn press_ctrl_c(&mut self) -> io::Result<()> {
        if self.keyboard.is_busy() && self.keyboard.outcome()?.is_none() {
            return Ok(());
        }
        self.keyboard.begin_write(CTRL_C)
    }
}

/// What a terminal makes Ctrl-C of.
const CTRL_C: &[u8] = &[3];

/// Whether programs can be told everything there is a [`Notice`] for.
pub const HAS_NOTICES: bool = false;

/// What a program is told beside Ctrl-C where that is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// To end in an orderly way.
    Terminate,
    /// That its terminal has gone.
    Hangup,
    /// What Ctrl-\ does.
    Quit,
}

impl Group {
    pub(super) fn new(pid: u32, process: OwnedHandle, leader: Leader, origin: Origin) -> Group {
        Group {
            pid,
            origin,
            process,
            running: Mutex::new(Some(leader)),
        }
    }

    /// The number of the program.
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// Ends the program and everything it started. False if the program had ended already: then
    /// nothing is done, because its caller may have wanted what it left behind.
    pub fn kill(&self) -> bool {
        let leader = self.leader();
        // It may have ended without anybody having been told yet.
        let running = leader.is_some() && !is_signalled(&self.process);
        if running {
            self.origin.end();
        }
        running
    }

    /// What Ctrl-C does. False if the program had ended already.
    pub fn interrupt(&self) -> bool {
        let mut leader = self.leader();
        let Some(running) = leader.as_mut() else {
            return false;
        };
        let done = match &mut running.terminal {
            Some(console) => console.press_ctrl_c(),
            None => ask_for_interrupt(self.pid),
        };
        if let Err(error) = done {
            tracing::debug!(%error, pid = self.pid, "a program was not interrupted");
        }
        true
    }

    /// Says nothing: a program here can be interrupted or ended. False, always.
    pub fn notify(&self, _: Notice) -> bool {
        false
    }

    /// Changes the size of its terminal, if it has one.
    pub fn resize(&self, size: WindowSize) -> io::Result<()> {
        match self.leader().as_ref().and_then(|it| it.terminal.as_ref()) {
            Some(console) => console.terminal.resize(size),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The program's answer, now that it has ended. Its terminal goes with it.
    fn collect(&self) -> io::Result<i32> {
        let mut code = 0;
        // Why at all: it is not a process of the standard library. Why sound: the handle is open,
        // and the code is ours.
        #[expect(unsafe_code, reason = "the exit code of a process")]
        let done = unsafe { GetExitCodeProcess(self.process.as_raw_handle(), &raw mut code) };
        *self.leader() = None;
        check(done)?;
        Ok(code.cast_signed())
    }

    fn leader(&self) -> MutexGuard<'_, Option<Leader>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Group {
    /// The last resort, when a start was given up or the runtime went away.
    fn drop(&mut self) {
        self.kill();
    }
}

/// Tells when the program ends.
#[derive(Debug)]
pub struct ExitWatch {
    ended: Wait,
    group: Arc<Group>,
}

impl ExitWatch {
    pub(super) fn new(process: OwnedHandle, group: Arc<Group>) -> io::Result<ExitWatch> {
        Ok(ExitWatch {
            ended: Wait::once(process)?,
            group,
        })
    }

    /// Ready with the exit code, as given. Not to be polled after that.
    pub fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<i32>> {
        ready!(self.ended.poll(cx));
        Poll::Ready(self.group.collect())
    }
}

/// How the program is called that interrupts another one: ourselves, with these words.
const INTERRUPT: &str = "--interrupt-the-console-of";

/// Ctrl-C belongs to a console, and a process has one at most: to reach that of a program somebody
/// has to give up their own. A process of ours does, and nobody misses its.
fn ask_for_interrupt(pid: u32) -> io::Result<()> {
    let mut helper = process::Command::new(std::env::current_exe()?)
        .args([INTERRUPT, &pid.to_string()])
        .stdin(process::Stdio::null())
        .stdout(process::Stdio::null())
        .stderr(process::Stdio::null())
        .creation_flags(CREATE_NO_WINDOW)
        .spawn()?;
    // It lives for a moment; somebody has to collect it.
    thread::Builder::new()
        .name("interrupt".to_owned())
        .spawn(move || helper.wait())?;
    Ok(())
}

/// Interrupts the programs of a console, if this process was started for that; else nothing.
pub fn guard() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != INTERRUPT {
        return None;
    }
    let pid = arguments.next()?.to_str()?.parse().ok()?;
    Some(match interrupt_console_of(pid) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

fn interrupt_console_of(pid: u32) -> io::Result<()> {
    // Why at all: no other call interrupts a program. Why sound: this process does nothing else,
    // so nobody uses the console it gives up; no pointer is given but a null.
    #[expect(unsafe_code, reason = "Ctrl-C for another console")]
    unsafe {
        FreeConsole();
        check(AttachConsole(pid))?;
        // We are among those it interrupts.
        check(SetConsoleCtrlHandler(None, 1))?;
        check(GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0))
    }
}
