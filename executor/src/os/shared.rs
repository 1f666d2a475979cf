//! What the halves of every system speak of in the same words.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;

/// How many processors this program may use, of its quota if it has one, when that was first asked: the
/// answer takes the system a dozen files.
pub fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get))
}

/// A program to start: everything about it is explicit, nothing is inherited.
#[derive(Clone)]
pub struct Command {
    /// The program and its arguments, verbatim.
    pub argv: Vec<OsString>,
    /// What the program sees as its own name instead of `argv[0]`.
    pub arg0: Option<OsString>,
    /// Its whole environment. `PATH` in it also says where the program is looked for.
    pub env: Vec<(OsString, OsString)>,
    /// Its working folder.
    pub cwd: PathBuf,
    /// What its standard streams are. It has nothing else that is open here.
    pub stdio: Stdio,
}

impl fmt::Debug for Command {
    /// Without arguments and variables: both may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("cwd", &self.cwd)
            .field("stdio", &self.stdio)
            .finish_non_exhaustive()
    }
}

/// What a program's standard streams are connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// Two output pipes; input from nowhere.
    Pipes,
    /// Two output pipes and an input pipe.
    PipesWithInput,
    /// A new terminal, which is its own.
    Terminal(WindowSize),
}

/// How large a terminal is, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
}

impl Default for WindowSize {
    /// What a caller expects who did not say.
    fn default() -> Self {
        WindowSize {
            rows: 24,
            columns: 80,
        }
    }
}

/// How a service is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// By whoever manages services, or by the end of the system.
    Terminate,
    /// By somebody at a terminal.
    Interrupt,
}

/// What one attempt to read found.
#[derive(Debug)]
pub enum Read {
    /// Some bytes were added to the buffer, fewer than fit: there is not much more right now.
    Some,
    /// As many bytes were added to the buffer as fit: there may be more.
    Filled,
    /// Nothing right now.
    Nothing,
    /// Nothing any more: every writer has closed its end.
    End,
}

/// What a lookup does with symbolic links in any component of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    Follow,
    Refuse,
}

/// What a directory entry or an open file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    /// A symbolic link, or a junction of Windows.
    Symlink,
    /// A FIFO, a socket, a device: what is no place for bytes.
    Special,
    /// The file system does not say in its listings; a lookup can tell.
    Unknown,
}
