//! What a new process needs to know, as the kernel wants it: prepared before the clone, because
//! the child may not allocate.

use std::ffi::{OsStr, OsString, c_char};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use super::room::{self, Given, STRINGS_MAX};
use super::{Command, SpawnError};
use crate::os::unix::facts::DEFAULT_PATH;

/// NUL-terminated strings in one allocation, and the list of pointers to them.
#[derive(Default)]
pub(super) struct Strings {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl fmt::Debug for Strings {
    /// How many there are: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.starts.len())
    }
}

impl Strings {
    fn with_room(strings: usize, bytes: usize) -> Strings {
        Strings {
            bytes: Vec::with_capacity(bytes),
            starts: Vec::with_capacity(strings),
        }
    }

    /// Adds one string made of `parts`; false if there is a NUL byte in it.
    fn add(&mut self, parts: &[&[u8]]) -> bool {
        self.starts.push(self.bytes.len());
        for part in parts {
            if part.contains(&0) {
                return false;
            }
            self.bytes.extend_from_slice(part);
        }
        self.bytes.push(0);
        true
    }

    /// The list as `execve` takes it; valid as long as `self` is not touched.
    pub(super) fn pointers(&self) -> Vec<*const c_char> {
        let start = |at: &usize| self.bytes[*at..].as_ptr().cast();
        let end = std::iter::once(ptr::null());
        self.starts.iter().map(start).chain(end).collect()
    }

    fn given(&self) -> Given {
        let ends = self.starts.iter().copied().skip(1);
        let ends = ends.chain(std::iter::once(self.bytes.len()));
        let lengths = self.starts.iter().zip(ends).map(|(start, end)| end - start);
        Given {
            strings: self.starts.len(),
            bytes: self.bytes.len(),
            longest: lengths.max().unwrap_or_default(),
        }
    }

    /// The strings themselves.
    #[cfg(any(test, not(target_os = "linux")))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &std::ffi::CStr> {
        self.starts
            .iter()
            .filter_map(|at| std::ffi::CStr::from_bytes_until_nul(&self.bytes[*at..]).ok())
    }
}

/// One command, ready to be executed.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) argv: Strings,
    pub(super) env: Strings,
    /// Where the program may be, in the order of trying.
    pub(super) candidates: Strings,
    /// The working folder, as the only string.
    pub(super) cwd: Strings,
}

impl Image {
    pub(super) fn prepare(command: &Command) -> Result<Image, SpawnError> {
        let program = command.argv.first().ok_or(SpawnError::EmptyProgram)?;
        if program.is_empty() {
            return Err(SpawnError::EmptyProgram);
        }
        if command.argv.len() + command.env.len() > STRINGS_MAX {
            return Err(SpawnError::TooManyStrings {
                program: shown(program),
            });
        }
        let no_nul = |fine: bool, place: &'static str| {
            let program = || shown(program);
            fine.then_some(()).ok_or_else(|| SpawnError::NulByte {
                program: program(),
                place,
            })
        };

        let size = command.argv.iter().map(|arg| arg.len() + 1).sum();
        let mut argv = Strings::with_room(command.argv.len(), size);
        let visible = command.arg0.as_ref().unwrap_or(program);
        for arg in std::iter::once(visible).chain(&command.argv[1..]) {
            no_nul(argv.add(&[arg.as_bytes()]), "an argument")?;
        }

        let size = |(name, value): &(OsString, OsString)| name.len() + value.len() + 2;
        let mut env = Strings::with_room(command.env.len(), command.env.iter().map(size).sum());
        for (name, value) in &command.env {
            let fine = env.add(&[name.as_bytes(), b"=", value.as_bytes()]);
            no_nul(fine, "the environment")?;
        }

        room::check(&shown(program), &argv.given(), &env.given())?;

        let mut cwd = Strings::default();
        no_nul(
            cwd.add(&[command.cwd.as_os_str().as_bytes()]),
            "the working folder",
        )?;

        let mut candidates = Strings::default();
        no_nul(
            look_up(program, &command.env, &mut candidates),
            "the name of the program",
        )?;
        Ok(Image {
            argv,
            env,
            candidates,
            cwd,
        })
    }
}

/// The program's name for people: never its arguments, and no more than fits on a line or two.
pub(super) fn shown(program: &OsStr) -> String {
    const CHARACTERS_MAX: usize = 256;
    let program = program.to_string_lossy();
    program.chars().take(CHARACTERS_MAX).collect()
}

/// Names with a slash are paths; others are looked for in the `PATH` the program will have.
fn look_up(program: &OsStr, env: &[(OsString, OsString)], candidates: &mut Strings) -> bool {
    let program = program.as_bytes();
    if program.contains(&b'/') {
        return candidates.add(&[program]);
    }
    // The last one counts, as it does for the program itself in every shell.
    let path = env.iter().rev().find(|(name, _)| name == "PATH");
    let path = path.map_or(DEFAULT_PATH.as_bytes(), |(_, value)| value.as_bytes());
    path.split(|byte| *byte == b':').all(|folder| {
        // An empty entry is the working folder, by old custom.
        let folder = if folder.is_empty() { b"." } else { folder };
        candidates.add(&[folder, b"/", program])
    })
}
