//! Starting a program with what every Unix has: the standard library's way, with one hook.
//!
//! Used where there is no `clone`, and compiled into the tests on Linux so that it keeps working.
//! It is slower, a program survives the sudden death of the executor, and a script without an
//! interpreter line is run by the shell instead of being refused.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{self, Stdio as StdStdio};
use std::thread;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::image::{Image, shown};
use super::{Child, Command, SpawnError, Stage, Streams, TheirSide};
use crate::os::unix::contain::Origin;
use crate::os::unix::{descriptors, pipe};

/// Those that every Unix has; of two of them the system keeps the say.
const ORDINARY_SIGNALS: libc::c_int = 31;
/// A thread that only waits needs hardly any stack.
const WAITER_STACK: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Starter(());

impl Starter {
    pub(super) fn new() -> Starter {
        Starter(())
    }

    #[expect(
        clippy::unused_self,
        clippy::needless_pass_by_ref_mut,
        reason = "the shape of the Linux one"
    )]
    pub(super) fn start(
        &mut self,
        command: &Command,
        origin: &Origin,
    ) -> Result<Child, SpawnError> {
        let program = || shown(&command.argv[0]);
        let image = Image::prepare(command)?;
        let no_resources = |(what, source)| SpawnError::NoResources {
            program: program(),
            what,
            source,
        };
        if let Err(source) = check_folder(command) {
            return Err(SpawnError::InChild {
                program: program(),
                stage: Stage::WorkingFolder(command.cwd.display().to_string()),
                source,
            });
        }
        let streams = Streams::open(command.stdio).map_err(no_resources)?;
        let mut child =
            execute(command, &image, &streams.theirs).map_err(|source| SpawnError::InChild {
                program: program(),
                stage: Stage::Exec,
                source,
            })?;
        drop(streams.theirs);
        let pid = Pid::from_child(&child);
        let ended = watch(pid).map_err(|error| {
            // Nobody would ever hear of it.
            let _ = child.kill().and_then(|()| child.wait());
            no_resources(("watch a process", error))
        })?;
        Ok(streams.ours.into_child(pid, ended, origin.clone()))
    }
}

fn check_folder(command: &Command) -> io::Result<()> {
    if std::fs::metadata(&command.cwd)?.is_dir() {
        Ok(())
    } else {
        Err(rustix::io::Errno::NOTDIR.into())
    }
}

fn execute(command: &Command, image: &Image, theirs: &TheirSide) -> io::Result<process::Child> {
    let mut complaint = io::Error::from(rustix::io::Errno::NOENT);
    for candidate in image.candidates.iter() {
        let mut attempt = process::Command::new(OsStr::from_bytes(candidate.to_bytes()));
        attempt
            .arg0(command.arg0.as_ref().unwrap_or(&command.argv[0]))
            .args(&command.argv[1..])
            .env_clear()
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&command.cwd);
        let stdio: [&OwnedFd; 3] = match theirs {
            TheirSide::Pipes {
                stdin,
                stdout,
                stderr,
            } => [stdin, stdout, stderr],
            TheirSide::Terminal(slave) => [slave; 3],
        };
        attempt
            .stdin(StdStdio::from(stdio[0].try_clone()?))
            .stdout(StdStdio::from(stdio[1].try_clone()?))
            .stderr(StdStdio::from(stdio[2].try_clone()?));
        let files = descriptors::limit_before();
        let has_terminal = matches!(theirs, TheirSide::Terminal(_));
        // Why at all: the standard library has no setting for a session or a terminal.
        // Why sound: after the fork only system calls are made, and nothing is allocated.
        #[expect(unsafe_code, reason = "system calls between fork and exec")]
        unsafe {
            attempt.pre_exec(move || {
                // What whoever started us ignores, as `nohup` does, is not the program's business.
                for signal in 1..=ORDINARY_SIGNALS {
                    libc::signal(signal, libc::SIG_DFL);
                }
                rustix::process::setsid()?;
                if let Some(files) = files {
                    rustix::process::setrlimit(rustix::process::Resource::Nofile, files)?;
                }
                if has_terminal {
                    let stdin = rustix::stdio::stdin();
                    rustix::process::ioctl_tiocsctty(stdin)?;
                }
                Ok(())
            });
        }
        match attempt.spawn() {
            Ok(child) => return Ok(child),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {}
                io::ErrorKind::PermissionDenied => complaint = error,
                _ => return Err(error),
            },
        }
    }
    Err(complaint)
}

/// A descriptor that becomes readable when the process ends.
fn watch(pid: Pid) -> io::Result<OwnedFd> {
    let (readable, held) = pipe::for_output()?;
    thread::Builder::new()
        .name("wait".to_owned())
        .stack_size(WAITER_STACK)
        .spawn(move || {
            let _held = held;
            // The zombie stays for its owner to collect, so the number cannot be reused.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let again = Err(rustix::io::Errno::INTR);
            while waitid(WaitId::Pid(pid), options).map(drop) == again {}
        })?;
    Ok(readable)
}
