//! Starting a program the way `vfork` does, on Linux.
//!
//! The child shares our memory until it executes the program, and the thread that made it stands
//! still meanwhile: nothing is copied, so a start costs the same however large the executor is.
//! The price is discipline. Until the exec the child may only make system calls and touch what
//! was prepared for it: no allocation, no lock, no panic. All of it is in [`child`].

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::{Pid, WaitId, WaitIdOptions, getpid, waitid};

use super::image::{Image, shown};
use super::{Child, Command, SpawnError, Stage, Streams, TheirSide};
use crate::os::unix::contain::Origin;
use crate::os::unix::{descriptors, harden, signals};

/// More than the few frames the child needs, libc's own included.
const CHILD_STACK: usize = 64 * 1024;
/// What the kernel and every ABI ask of a stack.
const STACK_ALIGN: usize = 16;
/// What a shell answers when it could not start a program; nobody sees it here.
const NEVER_RAN: c_int = 127;
/// Signals count from 1 to here, and a set of them has this many bytes (twice that on MIPS,
/// which we do not build for).
const LAST_SIGNAL: c_int = 64;
const KERNEL_SIGSET_SIZE: usize = 8;
/// The kernel's own `sigaction` is never larger, and all zeros means the default.
const KERNEL_SIGACTION_WORDS: usize = 8;
/// Signals that a program of ours may come to handle or ignore after this was found out. Those that
/// are none of ours by then stay as they were.
const ALWAYS_RESET: [c_int; 10] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGCHLD,
    libc::SIGWINCH,
];
/// The first descriptor a program has no use for.
const ABOVE_STDIO: libc::c_uint = 3;

/// One thread's means to start programs.
#[derive(Debug)]
pub(super) struct Starter {
    stack: Box<[MaybeUninit<u8>]>,
    /// What a program would not find as it expects.
    signals: Box<[c_int]>,
}

impl Starter {
    /// Call on the thread that will start the programs: it takes no signals from then on, because
    /// a handler running in a child would run in our memory.
    pub(super) fn new() -> Starter {
        signals::block_all();
        seal_inherited();
        Starter {
            stack: Box::new_uninit_slice(CHILD_STACK),
            signals: signals_to_reset(),
        }
    }

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
        let streams = Streams::open(command.stdio).map_err(no_resources)?;
        let mark = origin.keeper.mark(origin.branch);
        let limits = [
            mark.map(|mark| (libc::RLIMIT_LOCKS, mark.for_kernel())),
            harden::core_limit().map(|core| (libc::RLIMIT_CORE, for_kernel(core))),
            descriptors::limit_before().map(|files| (libc::RLIMIT_NOFILE, for_kernel(files))),
        ];
        let (pid, pidfd) = self
            .clone_and_exec(&image, &streams.theirs, limits)
            .map_err(|failure| match failure {
                Failure::Clone(source) => no_resources(("make a process", source)),
                Failure::InChild(step, source) => SpawnError::InChild {
                    program: program(),
                    stage: step.stage(command),
                    source,
                },
            })?;
        drop(streams.theirs);
        origin.keeper.remember(pid, origin.branch);
        Ok(streams.ours.into_child(pid, pidfd, origin.clone()))
    }

    fn clone_and_exec(
        &mut self,
        image: &Image,
        theirs: &TheirSide,
        limits: [Option<Limit>; LIMITS],
    ) -> Result<(Pid, OwnedFd), Failure> {
        let (stdio, has_terminal) = match theirs {
            TheirSide::Pipes {
                stdin,
                stdout,
                stderr,
            } => ([stdin, stdout, stderr].map(AsRawFd::as_raw_fd), false),
            TheirSide::Terminal(slave) => ([slave.as_raw_fd(); 3], true),
        };
        let (argv, env) = (image.argv.pointers(), image.env.pointers());
        let (candidates, cwd) = (image.candidates.pointers(), image.cwd.pointers());
        let plan = Plan {
            argv: argv.as_ptr(),
            env: env.as_ptr(),
            candidates: candidates.as_ptr(),
            cwd: cwd[0],
            stdio,
            has_terminal,
            limits,
            signals: &self.signals,
            parent: getpid().as_raw_nonzero().get(),
            failure: Cell::new(None),
        };
        let mut pidfd: c_int = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        let top = self.stack.as_mut_ptr_range().end;
        let top = top.wrapping_sub(top.addr() % STACK_ALIGN);
        // Why at all: the standard library cannot start a program in its own session without
        // copying our page tables first, and gives no descriptor for its end.
        // Why sound: CLONE_VFORK suspends this thread until the child has executed or ended, so
        // `plan`, the strings it points to, `pidfd` and the stack are neither moved nor used
        // meanwhile, and nobody else knows them. The stack grows down from its aligned end and is
        // this starter's alone (`&mut self`). `child` keeps to the rules at its head, and never
        // returns, so nothing of ours is dropped twice.
        #[expect(unsafe_code, reason = "a child that shares our memory")]
        let pid = unsafe {
            let plan = ptr::from_ref(&plan).cast_mut().cast::<c_void>();
            libc::clone(child, top.cast(), flags, plan, &raw mut pidfd)
        };
        if pid < 0 {
            return Err(Failure::Clone(io::Error::last_os_error()));
        }
        // Why at all: the kernel hands descriptors over as numbers.
        // Why sound: the clone succeeded with CLONE_PIDFD, so this one is open and ours alone.
        #[expect(unsafe_code, reason = "a descriptor fresh from the kernel")]
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        let Some(pid) = Pid::from_raw(pid) else {
            return Err(Failure::Clone(io::ErrorKind::Other.into()));
        };
        match plan.failure.get() {
            None => Ok((pid, pidfd)),
            Some((step, errno)) => {
                // It has ended already; this only takes its zombie away.
                let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
                Err(Failure::InChild(step, io::Error::from_raw_os_error(errno)))
            }
        }
    }
}

/// The signals that are handled or ignored here, which each start would otherwise find out by asking
/// for all of them: a tenth of what it costs.
fn signals_to_reset() -> Box<[c_int]> {
    (1..=LAST_SIGNAL)
        .filter(|signal| ALWAYS_RESET.contains(signal) || !is_default(*signal))
        .collect()
}

/// Also true of what cannot be asked for.
fn is_default(signal: c_int) -> bool {
    let mut action = [0_u64; KERNEL_SIGACTION_WORDS];
    // Why at all: libc keeps some signals to itself, and the standard library tells of none.
    // Why sound: the kernel writes no more than there is room for, and changes nothing.
    #[expect(unsafe_code, reason = "a system call without a wrapper")]
    let status = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            ptr::null::<c_void>(),
            action.as_mut_ptr(),
            KERNEL_SIGSET_SIZE,
        )
    };
    // The handler stands first; zero is the default, and one that ignores is one.
    status < 0 || action[0] == libc::SIG_DFL as u64
}

/// What a program may have of some resources.
const LIMITS: usize = 3;

/// A resource and what a program may have of it.
type Limit = (Resource, libc::rlimit64);

/// The number of a limit, for which the C libraries have types of their own.
#[cfg(target_env = "musl")]
type Resource = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Resource = libc::__rlimit_resource_t;

fn for_kernel(limit: rustix::process::Rlimit) -> libc::rlimit64 {
    libc::rlimit64 {
        rlim_cur: limit.current.unwrap_or(libc::RLIM64_INFINITY),
        rlim_max: limit.maximum.unwrap_or(libc::RLIM64_INFINITY),
    }
}

enum Failure {
    Clone(io::Error),
    InChild(Step, io::Error),
}

/// Where the child gave up, without any words: it cannot allocate.
#[derive(Clone, Copy)]
enum Step {
    Parent,
    Session,
    Descriptors,
    Terminal,
    WorkingFolder,
    Exec,
}

impl Step {
    fn stage(self, command: &Command) -> Stage {
        match self {
            Step::Parent => Stage::Orphaned,
            Step::Session => Stage::Session,
            Step::Descriptors => Stage::Descriptors,
            Step::Terminal => Stage::Terminal,
            Step::WorkingFolder => Stage::WorkingFolder(command.cwd.display().to_string()),
            Step::Exec => Stage::Exec,
        }
    }
}

/// What the child is to do. It only reads this, except for the one cell it may answer in.
struct Plan<'a> {
    argv: *const *const c_char,
    env: *const *const c_char,
    /// Ends with a null pointer, like the two above.
    candidates: *const *const c_char,
    cwd: *const c_char,
    stdio: [RawFd; 3],
    has_terminal: bool,
    limits: [Option<Limit>; LIMITS],
    signals: &'a [c_int],
    parent: libc::pid_t,
    failure: Cell<Option<(Step, c_int)>>,
}

/// Everything between the clone and the exec, in the memory of the parent, whose calling thread
/// is suspended. System calls only: no allocation, no lock, nothing that can panic or unwind.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // Why at all: this is how a pointer comes through `clone`.
    // Why sound: it points at the `Plan` on the stack of the suspended thread.
    #[expect(unsafe_code, reason = "the argument of a clone is an untyped pointer")]
    let plan: &Plan<'_> = unsafe { &*plan.cast::<Plan<'_>>() };
    let failed = match become_program(plan) {
        Ok(never) => match never {},
        Err(failed) => failed,
    };
    plan.failure.set(Some(failed));
    // Why at all: returning would unwind into a stack that is not ours, and `exit` would run the
    // parent's handlers.
    // Why sound: it only ends this process.
    #[expect(unsafe_code, reason = "end without running anything")]
    unsafe {
        libc::_exit(NEVER_RAN)
    }
}

/// Why at all: these calls must happen in the child, and the safe wrappers of the standard library
/// may allocate or take locks. Why sound: each is a bare system call with pointers from the plan,
/// which stay valid until the exec; none touches memory of ours except `errno`, which belongs to
/// the suspended thread and is read by nobody after.
#[expect(unsafe_code, reason = "system calls between clone and exec")]
fn become_program(plan: &Plan<'_>) -> Result<std::convert::Infallible, (Step, c_int)> {
    unsafe {
        // Handlers must be gone before signals are let in: they would run in the parent's memory.
        // Ignored signals would stay ignored in the program. The few that refuse do not matter.
        // Not by `sigaction`: libc keeps some signals to itself, and takes a lock for one.
        let default = [0_u64; KERNEL_SIGACTION_WORDS];
        for signal in plan.signals {
            let nowhere = ptr::null_mut::<c_void>();
            libc::syscall(
                libc::SYS_rt_sigaction,
                *signal,
                default.as_ptr(),
                nowhere,
                KERNEL_SIGSET_SIZE,
            );
        }
        // A session of its own, hence a group of its own, and no way to our terminal.
        check(Step::Session, libc::setsid())?;
        let death = libc::SIGKILL as libc::c_ulong;
        check(Step::Parent, libc::prctl(libc::PR_SET_PDEATHSIG, death))?;
        // If the parent died before the line above, nobody will ever tell us.
        if libc::getppid() != plan.parent {
            return Err((Step::Parent, libc::ESRCH));
        }
        for (target, fd) in (0..).zip(plan.stdio) {
            check(Step::Descriptors, libc::dup2(fd, target))?;
        }
        if plan.has_terminal {
            check(Step::Terminal, libc::ioctl(0, libc::TIOCSCTTY, 0))?;
        }
        // Ours are close-on-exec anyhow; this is for what somebody else in our process forgot.
        // Kernels before 5.11 do not know the call, and then `seal_inherited` has to do.
        close_on_exec_from(ABOVE_STDIO);
        // Where one of them cannot be set, the program runs all the same: its group is still ours.
        for (which, limit) in plan.limits.iter().flatten() {
            libc::prlimit64(0, *which, limit, ptr::null_mut());
        }
        check(Step::WorkingFolder, libc::chdir(plan.cwd))?;
        let none = [0_u64; KERNEL_SIGSET_SIZE / size_of::<u64>()];
        let nowhere = ptr::null_mut::<c_void>();
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            none.as_ptr(),
            nowhere,
            KERNEL_SIGSET_SIZE,
        );
        Err((Step::Exec, execute(plan)))
    }
}

/// Tries one place after the other; returns what to complain about.
#[expect(
    unsafe_code,
    reason = "system calls between clone and exec; see `become_program`"
)]
fn execute(plan: &Plan<'_>) -> c_int {
    let mut complaint = libc::ENOENT;
    let mut candidate = plan.candidates;
    unsafe {
        while !(*candidate).is_null() {
            libc::execve(*candidate, plan.argv, plan.env);
            match errno() {
                libc::ENOENT | libc::ENOTDIR => {}
                // Somebody further down the path may have one that can be executed.
                libc::EACCES => complaint = libc::EACCES,
                other => return other,
            }
            candidate = candidate.add(1);
        }
    }
    complaint
}

fn check(step: Step, result: c_int) -> Result<(), (Step, c_int)> {
    if result < 0 {
        Err((step, errno()))
    } else {
        Ok(())
    }
}

#[expect(
    unsafe_code,
    reason = "errno without the detour over an allocating error type"
)]
fn errno() -> c_int {
    // Why at all: `io::Error` is more machinery than a child may touch.
    // Why sound: libc gives a pointer to this thread's own errno.
    unsafe { *libc::__errno_location() }
}

/// Descriptors that whoever started us left open do not reach our children either.
pub(in crate::os::unix) fn seal_inherited() {
    if close_on_exec_from(ABOVE_STDIO) {
        return;
    }
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers: Vec<RawFd> = open
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd >= ABOVE_STDIO.cast_signed())
        .collect();
    for fd in numbers {
        // Why at all: the descriptor has no owner here to borrow from.
        // Why sound: a flag that every descriptor of ours has already is set on one that may even
        // be closed by now; then the call fails and nothing happens.
        #[expect(unsafe_code, reason = "descriptors known by number only")]
        unsafe {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
}

/// False on kernels that do not know the call.
fn close_on_exec_from(first: libc::c_uint) -> bool {
    // Why at all: libc has no wrapper for it on every target.
    // Why sound: it sets a flag that every descriptor of ours has already; plain numbers only.
    #[expect(unsafe_code, reason = "a system call without a wrapper")]
    let status = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    status == 0
}
