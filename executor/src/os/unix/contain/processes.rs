//! The processes of this machine, one after the other, and a way to end one without ever hitting
//! another that got its number.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Room for about a thousand entries at a time.
const BUFFER: usize = 32 * 1024;

/// A look at `/proc` that needs no descriptor later, when a fork storm may have taken them all.
#[derive(Debug)]
pub(super) struct Processes {
    proc: OwnedFd,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Processes {
    pub(super) fn open() -> io::Result<Processes> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut buffer = Vec::with_capacity(BUFFER);
        buffer.resize_with(BUFFER, MaybeUninit::uninit);
        Ok(Processes {
            proc: rustix::fs::open(c"/proc", flags, Mode::empty())?,
            buffer,
        })
    }

    /// Calls `visit` with each process there is, in ascending order, those included that begin
    /// meanwhile with a higher number, as most do.
    pub(super) fn each(&mut self, mut visit: impl FnMut(Pid)) -> io::Result<()> {
        rustix::fs::seek(&self.proc, SeekFrom::Start(0))?;
        let mut entries = RawDir::new(self.proc.as_fd(), &mut self.buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let number = entry.file_name().to_str().ok();
            let number = number.and_then(|name| name.parse().ok());
            if let Some(pid) = number.and_then(Pid::from_raw) {
                visit(pid);
            }
        }
        Ok(())
    }
}

/// The parent of a process.
pub(super) fn parent(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name may hold anything, but nothing behind it holds a parenthesis.
    let behind_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields = std::str::from_utf8(stat.get(behind_name..)?).ok()?;
    let parent = fields.split_ascii_whitespace().nth(1)?;
    parent.parse().ok().and_then(Pid::from_raw)
}

/// Kills a process if `is_meant` still says so when it can no longer be mistaken for another.
/// `None` if it has ended already, or was not meant; otherwise what becomes readable at its end.
pub(super) fn kill(pid: Pid, is_meant: impl Fn(Pid) -> bool) -> io::Result<Option<OwnedFd>> {
    let gone = |outcome: Result<OwnedFd, Errno>| match outcome {
        Err(Errno::SRCH) => Ok(None),
        other => other.map(Some).map_err(io::Error::from),
    };
    let Some(process) = gone(pidfd_open(pid, PidfdFlags::empty()))? else {
        return Ok(None);
    };
    // From here on the descriptor means one process for ever. If the number went to another one
    // just before, that one is judged; if it goes to another one after, nobody is hit.
    if has_ended(&process) || !is_meant(pid) {
        return Ok(None);
    }
    let sent = pidfd_send_signal(&process, Signal::KILL);
    gone(sent.map(|()| process))
}

/// Waits until all of them have ended, or it has taken too long.
pub(super) fn wait_for_end(mut processes: Vec<OwnedFd>, patience: Duration) {
    let deadline = Instant::now() + patience;
    while !processes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let mut fds: Vec<_> = processes
            .iter()
            .map(|process| PollFd::new(process, PollFlags::IN))
            .collect();
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let Ok(_) = poll(&mut fds, Some(&timeout)) else {
            continue;
        };
        let mut ended = fds.iter().map(|fd| !fd.revents().is_empty());
        let ended: Vec<bool> = ended.by_ref().collect();
        drop(fds);
        let mut ended = ended.into_iter();
        processes.retain(|_| !ended.next().unwrap_or(true));
    }
}

/// A zombie has ended, though its number is still taken.
fn has_ended(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok_and(|readable| readable > 0)
}
