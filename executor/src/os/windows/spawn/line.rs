//! What the system is told of a program: which file it is, one line of arguments, one block of
//! variables.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::ERROR_FILE_NOT_FOUND;

use super::{Command, STRINGS_MAX, SpawnError, Stage};
use crate::os::windows::call::wide;
use crate::os::windows::facts::system_folder;

/// The longest line of arguments, in UTF-16 units with the NUL (`CreateProcessW`).
const LINE_MAX: usize = 32_767;

/// What a name without an extension may have been short for, where no variable says it.
const EXTENSIONS: &str = ".COM;.EXE;.BAT;.CMD";

/// A program that works needs this; without it not even a socket can be opened.
const SYSTEM_ROOT: &str = "SystemRoot";

const QUOTE: u16 = b'"' as u16;
const BACKSLASH: u16 = b'\\' as u16;
const BLANK: u16 = b' ' as u16;
const TAB: u16 = b'\t' as u16;
const EQUALS: u16 = b'=' as u16;

/// A program as the system is told of it. Everything ends with a NUL.
pub(super) struct Line {
    pub(super) program: Vec<u16>,
    pub(super) command_line: Vec<u16>,
    pub(super) environment: Vec<u16>,
    pub(super) cwd: Vec<u16>,
}

impl Line {
    pub(super) fn prepare(command: &Command) -> Result<Line, SpawnError> {
        let Some(name) = command.argv.first().filter(|name| !name.is_empty()) else {
            return Err(SpawnError::EmptyProgram);
        };
        let program = || shown(name);
        if command.argv.len() + command.env.len() > STRINGS_MAX {
            return Err(SpawnError::TooManyStrings { program: program() });
        }
        let nul = |place| {
            move |_: io::Error| SpawnError::NulByte {
                program: program(),
                place,
            }
        };
        for argument in command.argv.iter().chain(&command.arg0) {
            wide(argument).map_err(nul("an argument"))?;
        }
        for (name, value) in &command.env {
            wide(name)
                .and_then(|_| wide(value))
                .map_err(nul("a variable"))?;
        }
        let cwd = wide(&command.cwd).map_err(nul("the working folder"))?;
        let found = find(name, command).ok_or_else(|| SpawnError::InChild {
            program: program(),
            stage: Stage::Exec,
            source: io::Error::from_raw_os_error(ERROR_FILE_NOT_FOUND.cast_signed()),
        })?;
        let (file, command_line) = if is_batch(&found) {
            batch_line(&found, command)?
        } else {
            let arg0 = command.arg0.as_ref().unwrap_or(name);
            let line = line(arg0, &command.argv[1..]);
            (found, line)
        };
        if command_line.len() > LINE_MAX {
            return Err(SpawnError::TooLong {
                program: program(),
                what: "all arguments together",
                bytes: command_line.len() - 1,
                max: LINE_MAX - 1,
            });
        }
        Ok(Line {
            program: wide(&file).map_err(nul("the program's name"))?,
            command_line,
            environment: environment(&command.env),
            cwd,
        })
    }
}

/// A program's name for messages.
pub(super) fn shown(program: &OsStr) -> String {
    program.to_string_lossy().into_owned()
}

/// Arguments as nearly every program takes them apart again (the rules of the C runtime).
fn line(arg0: &OsStr, arguments: &[OsString]) -> Vec<u16> {
    let mut line = Vec::new();
    push_program(&mut line, arg0);
    for argument in arguments {
        line.push(BLANK);
        push_argument(&mut line, argument, false);
    }
    line.push(0);
    line
}

/// The first one is taken apart by simpler rules: quotes begin and end it, and mean nothing else.
fn push_program(line: &mut Vec<u16>, arg0: &OsStr) {
    line.push(QUOTE);
    line.extend(arg0.encode_wide().filter(|unit| *unit != QUOTE));
    line.push(QUOTE);
}

fn push_argument(line: &mut Vec<u16>, argument: &OsStr, always: bool) {
    let units: Vec<u16> = argument.encode_wide().collect();
    let special = |unit: &u16| matches!(*unit, BLANK | TAB | QUOTE);
    if !always && !units.is_empty() && !units.iter().any(special) {
        return line.extend(units);
    }
    line.push(QUOTE);
    let mut backslashes = 0;
    for unit in units {
        match unit {
            BACKSLASH => backslashes += 1,
            QUOTE => {
                // Each backslash before a quote counts half, and one more makes it an ordinary one.
                line.extend(std::iter::repeat_n(BACKSLASH, backslashes + 1));
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        line.push(unit);
    }
    line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
    line.push(QUOTE);
}

fn is_batch(file: &Path) -> bool {
    file.extension().is_some_and(|extension| {
        ["bat", "cmd"]
            .iter()
            .any(|batch| extension.eq_ignore_ascii_case(batch))
    })
}

/// A batch file is read by the command interpreter, which takes its own look at the arguments: what
/// it would take for more than text is refused (CVE-2024-24576).
fn batch_line(file: &Path, command: &Command) -> Result<(PathBuf, Vec<u16>), SpawnError> {
    let dangerous = |argument: &OsString| {
        argument
            .encode_wide()
            .any(|unit| matches!(u8::try_from(unit), Ok(b'"' | b'%' | b'\r' | b'\n')))
    };
    let arguments = &command.argv[1..];
    if arguments.iter().any(dangerous) || dangerous(&file.as_os_str().to_owned()) {
        return Err(SpawnError::BatchArgument {
            program: shown(&command.argv[0]),
        });
    }
    let interpreter = system_folder().join("cmd.exe");
    let mut line = Vec::new();
    push_program(&mut line, interpreter.as_os_str());
    // No delayed expansion, no commands of the user's registry; the outermost quotes are taken off.
    line.extend(r#" /e:ON /v:OFF /d /s /c ""#.encode_utf16());
    push_argument(&mut line, file.as_os_str(), true);
    for argument in arguments {
        line.push(BLANK);
        push_argument(&mut line, argument, true);
    }
    line.push(QUOTE);
    line.push(0);
    Ok((interpreter, line))
}

/// `NAME=VALUE`, each with a NUL, sorted without regard to case, and one NUL more. Of two names that
/// differ in case only the last one counts.
fn environment(variables: &[(OsString, OsString)]) -> Vec<u16> {
    let mut sorted = BTreeMap::new();
    for (name, value) in variables {
        sorted.insert(folded(name), (name.clone(), value.clone()));
    }
    if let Some(root) = std::env::var_os(SYSTEM_ROOT) {
        let name = OsString::from(SYSTEM_ROOT);
        sorted.entry(folded(&name)).or_insert((name, root));
    }
    let mut block = Vec::new();
    for (name, value) in sorted.values() {
        block.extend(name.encode_wide());
        block.push(EQUALS);
        block.extend(value.encode_wide());
        block.push(0);
    }
    if block.is_empty() {
        block.push(0);
    }
    block.push(0);
    block
}

/// Names as the system compares them, near enough: simple upper case.
fn folded(name: &OsStr) -> Vec<u16> {
    name.encode_wide()
        .map(|unit| {
            let upper = char::from_u32(u32::from(unit)).map(char::to_uppercase);
            match upper.map(|mut upper| (upper.next(), upper.next())) {
                Some((Some(one), None)) => u16::try_from(u32::from(one)).unwrap_or(unit),
                _ => unit,
            }
        })
        .collect()
}

fn variable<'a>(command: &'a Command, name: &str) -> Option<&'a OsStr> {
    let found = command
        .env
        .iter()
        .rfind(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_os_str())
}

/// The file that is meant. Not in the working folder, unless the name says so: anybody may have put
/// something there.
fn find(name: &OsStr, command: &Command) -> Option<PathBuf> {
    let extensions = variable(command, "PATHEXT").map_or_else(
        || EXTENSIONS.to_owned(),
        |extensions| extensions.to_string_lossy().into_owned(),
    );
    let extensions: Vec<&str> = extensions
        .split(';')
        .filter(|extension| extension.starts_with('.'))
        .collect();
    let path = Path::new(name);
    if path.components().count() > 1 || path.has_root() {
        return with_extension(&command.cwd.join(path), &extensions);
    }
    let folders = variable(command, "PATH").unwrap_or_default();
    std::env::split_paths(folders)
        .filter(|folder| folder.is_absolute())
        .chain([system_folder()])
        .find_map(|folder| with_extension(&folder.join(path), &extensions))
}

fn with_extension(file: &Path, extensions: &[&str]) -> Option<PathBuf> {
    // A name with an extension is meant as it is; but `tool-1.2` may be short for `tool-1.2.exe`.
    if file.extension().is_some() && file.is_file() {
        return Some(file.to_owned());
    }
    let longer = extensions.iter().find_map(|extension| {
        let mut longer = file.as_os_str().to_owned();
        longer.push(extension);
        let longer = PathBuf::from(longer);
        longer.is_file().then_some(longer)
    });
    longer.or_else(|| file.is_file().then(|| file.to_owned()))
}
