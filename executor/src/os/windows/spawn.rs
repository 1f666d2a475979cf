//! Starting a program, and every way that can fail.
//!
//! ```text
//!   Command ──▶ line (what the system is told) ──▶ suspended process ──▶ into its job ──▶ runs
//! ```
//!
//! The process inherits the three ends of its streams and nothing else of ours, and it belongs to
//! its job before its first instruction.

mod line;

use std::fmt;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;

use tokio::sync::Semaphore;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT, CreateProcessW,
    DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT, InitializeProcThreadAttributeList,
    LPPROC_THREAD_ATTRIBUTE_LIST, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
    PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE, PROCESS_INFORMATION, ResumeThread, STARTF_USESTDHANDLES,
    STARTUPINFOEXW, STARTUPINFOW, UpdateProcThreadAttribute,
};

use self::line::Line;
use super::call::{check, len_u32};
use super::child::{Child, Console, ExitWatch, Group, Leader};
use super::input::Input;
use super::job::{Ended, Lineage, Origin};
use super::output::Output;
use super::overlapped::Overlapped;
use super::pipe;
use super::terminal::Terminal;
use crate::os::shared::{Command, Stdio};

/// Arguments and variables of one program together: far more than programs are given, and few
/// enough to count in no time. More are refused before anything is started.
pub const STRINGS_MAX: usize = 65_536;

/// Starts at a time; each takes a thread of the runtime for a moment.
const STARTS_MAX: usize = 4;

/// Why a program was not started. Nothing is left behind by any of them.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("start a program without a name")]
    EmptyProgram,
    #[error("start {program}: a NUL byte in {place}")]
    NulByte {
        program: String,
        place: &'static str,
    },
    #[error("start {program}: more than {STRINGS_MAX} arguments and variables")]
    TooManyStrings { program: String },
    #[error("start {program}: {what}: {bytes} characters, where {max} are the most")]
    TooLong {
        program: String,
        what: &'static str,
        bytes: usize,
        max: usize,
    },
    #[error(
        "start {program}: a batch file cannot be given an argument with a quote, a percent sign or \
         a line break, because the command interpreter would take it for a command; call it \
         through cmd.exe with a line of your own"
    )]
    BatchArgument { program: String },
    #[error("start {program}: {what}: {source}")]
    NoResources {
        program: String,
        what: &'static str,
        source: io::Error,
    },
    #[error("start {program}: {stage}: {source}")]
    InChild {
        program: String,
        stage: Stage,
        source: io::Error,
    },
    #[error("start {program}: the executor is shutting down")]
    ShuttingDown { program: String },
}

/// The step at which the start was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The working folder, named here.
    WorkingFolder(String),
    /// The program itself: missing, not a program, or not for this machine.
    Exec,
    /// Its job, without which it could not be ended.
    Job,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::WorkingFolder(cwd) => write!(f, "enter the working folder {cwd}"),
            Stage::Exec => f.write_str("execute"),
            Stage::Job => f.write_str("enter a job"),
        }
    }
}

/// Starts programs.
#[derive(Debug)]
pub struct Spawner {
    starts: Arc<Semaphore>,
    ended: Arc<Ended>,
}

impl Default for Spawner {
    fn default() -> Self {
        Spawner::new()
    }
}

impl Spawner {
    pub fn new() -> Spawner {
        Spawner {
            starts: Arc::new(Semaphore::new(STARTS_MAX)),
            ended: Arc::default(),
        }
    }

    /// A new lineage, for the programs of one session.
    pub fn lineage(&self) -> Lineage {
        Lineage::new(Arc::clone(&self.ended))
    }

    /// Waits until everything is gone that was to be ended.
    pub async fn settled(&self) {
        self.ended.settled().await;
    }

    /// Starts a program of a lineage; on return it is being executed. Dropping the future gives
    /// the start up: if the program runs by then, it is killed.
    pub async fn spawn(&self, lineage: &Lineage, command: Command) -> Result<Child, SpawnError> {
        let program = command.argv.first().map(|program| line::shown(program));
        let program = program.unwrap_or_default();
        let shutting_down = || SpawnError::ShuttingDown {
            program: program.clone(),
        };
        let starts = Arc::clone(&self.starts);
        let permit = starts.acquire_owned().await.map_err(|_| shutting_down())?;
        let origin = lineage.origin().map_err(|source| SpawnError::NoResources {
            program: program.clone(),
            what: "make a job",
            source,
        })?;
        // Looking for the program and making the process both take their time.
        let started = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            start(&command, origin)
        });
        started.await.unwrap_or_else(|_| Err(shutting_down()))
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.starts.close();
    }
}

fn start(command: &Command, origin: Origin) -> Result<Child, SpawnError> {
    let line = Line::prepare(command)?;
    let program = || line::shown(&command.argv[0]);
    let no_resources = |what| {
        move |source| SpawnError::NoResources {
            program: program(),
            what,
            source,
        }
    };
    let in_child = |stage| {
        move |source| SpawnError::InChild {
            program: program(),
            stage,
            source,
        }
    };
    let cwd = || Stage::WorkingFolder(command.cwd.display().to_string());
    match std::fs::metadata(&command.cwd) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(in_child(cwd())(io::ErrorKind::NotADirectory.into())),
        Err(error) => return Err(in_child(cwd())(error)),
    }
    let streams = Streams::open(command.stdio).map_err(no_resources("make its streams"))?;
    let process = create(&line, &streams).map_err(in_child(Stage::Exec))?;
    // Dropping it, until the job has it, ends it.
    let process = process.enter(&origin).map_err(in_child(Stage::Job))?;
    let pid = process.pid;
    streams
        .into_child(pid, process.handle, origin)
        .map_err(no_resources("watch it"))
}

/// The two sides of a program's streams.
enum Streams {
    Pipes {
        input: Option<OwnedHandle>,
        stdout: OwnedHandle,
        stderr: OwnedHandle,
        /// Input, output and errors, for the program.
        theirs: [OwnedHandle; 3],
    },
    Terminal {
        keyboard: OwnedHandle,
        screen: OwnedHandle,
        terminal: Terminal,
    },
}

impl Streams {
    fn open(stdio: Stdio) -> io::Result<Streams> {
        if let Stdio::Terminal(size) = stdio {
            let (their_keyboard, keyboard) = pipe::for_input()?;
            let (screen, their_screen) = pipe::for_output()?;
            let terminal = Terminal::open(size, &their_keyboard, &their_screen)?;
            return Ok(Streams::Terminal {
                keyboard,
                screen,
                terminal,
            });
        }
        let (stdout, their_stdout) = pipe::for_output()?;
        let (stderr, their_stderr) = pipe::for_output()?;
        let (their_stdin, input) = if stdio == Stdio::PipesWithInput {
            let (theirs, ours) = pipe::for_input()?;
            (theirs, Some(ours))
        } else {
            (pipe::null()?, None)
        };
        let theirs = [their_stdin, their_stdout, their_stderr];
        for end in &theirs {
            pipe::make_inheritable(end)?;
        }
        Ok(Streams::Pipes {
            input,
            stdout,
            stderr,
            theirs,
        })
    }

    /// The whole child, once it runs.
    fn into_child(self, pid: u32, process: OwnedHandle, origin: Origin) -> io::Result<Child> {
        let (input, stdout, stderr, terminal) = match self {
            Streams::Pipes {
                input,
                stdout,
                stderr,
                theirs,
            } => {
                drop(theirs);
                let input = input.map(Input::new).transpose()?;
                let stderr = Some(Output::pipe(stderr)?);
                (input, Output::pipe(stdout)?, stderr, None)
            }
            Streams::Terminal {
                keyboard,
                screen,
                terminal,
            } => {
                let console = Console {
                    keyboard: Overlapped::new(keyboard.try_clone()?)?,
                    terminal,
                };
                let input = Some(Input::new(keyboard)?);
                (input, Output::terminal(screen)?, None, Some(console))
            }
        };
        let ended = process.try_clone()?;
        let group = Arc::new(Group::new(pid, process, Leader { terminal }, origin));
        Ok(Child {
            input,
            stdout,
            stderr,
            exit: ExitWatch::new(ended, Arc::clone(&group))?,
            group,
        })
    }
}

/// A process that has not begun.
struct Suspended {
    pid: u32,
    handle: OwnedHandle,
    thread: OwnedHandle,
}

struct Running {
    pid: u32,
    handle: OwnedHandle,
}

impl Suspended {
    /// Lets it run as part of its job. If that cannot be it never runs.
    fn enter(self, origin: &Origin) -> io::Result<Running> {
        let entered = origin.job.adopt(&self.handle).and_then(|()| self.resume());
        if let Err(error) = entered {
            // Not in the job, perhaps, so the job's end would not be its.
            self.end();
            return Err(error);
        }
        Ok(Running {
            pid: self.pid,
            handle: self.handle,
        })
    }

    fn resume(&self) -> io::Result<()> {
        // Why at all: the standard library knows no threads of others. Why sound: the handle is
        // open.
        #[expect(unsafe_code, reason = "a suspended thread goes on")]
        let before = unsafe { ResumeThread(self.thread.as_raw_handle()) };
        if before == u32::MAX {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn end(&self) {
        // Why at all: it is not a process of the standard library. Why sound: the handle is open.
        #[expect(unsafe_code, reason = "the end of a process that never ran")]
        unsafe {
            windows_sys::Win32::System::Threading::TerminateProcess(self.handle.as_raw_handle(), 1);
        }
    }
}

fn create(line: &Line, streams: &Streams) -> io::Result<Suspended> {
    let mut startup = STARTUPINFOEXW::default();
    startup.StartupInfo.cb = len_u32(size_of::<STARTUPINFOEXW>());
    // With a terminal too: else it would get what our own standard streams are.
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    let mut flags = CREATE_SUSPENDED | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT;
    let mut attributes = Attributes::new()?;
    let handles: [HANDLE; 3];
    let inherits = match streams {
        Streams::Pipes { theirs, .. } => {
            handles = [0, 1, 2].map(|end: usize| theirs[end].as_raw_handle());
            [
                startup.StartupInfo.hStdInput,
                startup.StartupInfo.hStdOutput,
                startup.StartupInfo.hStdError,
            ] = handles;
            let bytes = size_of_val(&handles);
            attributes.set(
                PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
                handles.as_ptr().cast(),
                bytes,
            )?;
            flags |= CREATE_NO_WINDOW;
            true
        }
        Streams::Terminal { terminal, .. } => {
            [
                startup.StartupInfo.hStdInput,
                startup.StartupInfo.hStdOutput,
                startup.StartupInfo.hStdError,
            ] = [ptr::null_mut(); 3];
            let console = terminal.as_raw();
            // The value itself stands for the pointer.
            attributes.set(
                PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE,
                console as *const _,
                size_of_val(&console),
            )?;
            false
        }
    };
    startup.lpAttributeList = attributes.list();
    let mut command_line = line.command_line.clone();
    let mut process = PROCESS_INFORMATION::default();
    // Why at all: the standard library starts no process that is suspended, in a terminal, or
    // with named handles only. Why sound: all strings end with a NUL, the environment with two,
    // and they, the attributes and the handles outlive the call; what is returned is owned once.
    #[expect(unsafe_code, reason = "a new process")]
    unsafe {
        check(CreateProcessW(
            line.program.as_ptr(),
            command_line.as_mut_ptr(),
            ptr::null(),
            ptr::null(),
            i32::from(inherits),
            flags,
            line.environment.as_ptr().cast(),
            line.cwd.as_ptr(),
            ptr::from_ref(&startup).cast::<STARTUPINFOW>(),
            &raw mut process,
        ))?;
        Ok(Suspended {
            pid: process.dwProcessId,
            handle: OwnedHandle::from_raw_handle(process.hProcess),
            thread: OwnedHandle::from_raw_handle(process.hThread),
        })
    }
}

/// What a new process is told beyond the ordinary. Room for one attribute.
struct Attributes {
    /// In words, so that it is aligned for pointers.
    room: Vec<usize>,
}

impl Attributes {
    fn new() -> io::Result<Attributes> {
        let mut bytes = 0;
        // Why at all: only the system knows how much room it needs. Why sound: without a list it
        // writes the size alone.
        #[expect(unsafe_code, reason = "the size of an attribute list")]
        unsafe {
            InitializeProcThreadAttributeList(ptr::null_mut(), 1, 0, &raw mut bytes);
        }
        let mut room = vec![0_usize; bytes.div_ceil(size_of::<usize>()).max(1)];
        // Why at all: as above. Why sound: there is as much room as it said, aligned.
        #[expect(unsafe_code, reason = "a new attribute list")]
        let done = unsafe {
            InitializeProcThreadAttributeList(room.as_mut_ptr().cast(), 1, 0, &raw mut bytes)
        };
        check(done)?;
        Ok(Attributes { room })
    }

    fn set(
        &mut self,
        attribute: u32,
        value: *const std::ffi::c_void,
        bytes: usize,
    ) -> io::Result<()> {
        // Why at all: as above. Why sound: the list is initialised with room for one, and the
        // caller keeps the value until the process is made.
        #[expect(unsafe_code, reason = "an attribute of a new process")]
        let done = unsafe {
            UpdateProcThreadAttribute(
                self.list(),
                0,
                attribute as usize,
                value,
                bytes,
                ptr::null_mut(),
                ptr::null(),
            )
        };
        check(done)
    }

    fn list(&mut self) -> LPPROC_THREAD_ATTRIBUTE_LIST {
        self.room.as_mut_ptr().cast()
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // Why at all: the system may keep something for it. Why sound: it is initialised, and
        // used no more.
        #[expect(unsafe_code, reason = "the end of an attribute list")]
        unsafe {
            DeleteProcThreadAttributeList(self.list());
        }
    }
}
