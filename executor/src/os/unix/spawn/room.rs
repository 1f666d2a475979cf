//! How much a program may be given: what the kernel would refuse is refused before there is a
//! process, and with words that say which part was too much.

use super::SpawnError;

/// Arguments and variables of one program together: far more than programs are given, and few
/// enough to count in no time. More are refused before anything is started.
pub const STRINGS_MAX: usize = 65_536;
/// Of one argument or variable, with its end; Linux counts 32 pages, whatever their size here.
#[cfg(target_os = "linux")]
const STRING_BYTES_MAX: usize = 32 * 4096;

/// Arguments or variables that were put together for the kernel.
pub(super) struct Given {
    pub(super) strings: usize,
    pub(super) bytes: usize,
    pub(super) longest: usize,
}

/// Whether a program takes all of it.
#[cfg(target_os = "linux")]
pub(super) fn check(program: &str, argv: &Given, env: &Given) -> Result<(), SpawnError> {
    for (given, what) in [(argv, "an argument"), (env, "a variable")] {
        if given.longest > STRING_BYTES_MAX {
            return Err(SpawnError::TooLong {
                program: program.to_owned(),
                what,
                bytes: given.longest,
                max: STRING_BYTES_MAX,
            });
        }
    }
    let strings = argv.strings + env.strings;
    let bytes = argv.bytes + env.bytes + strings * size_of::<*const u8>();
    let max = bytes_max();
    if bytes > max {
        return Err(SpawnError::TooLong {
            program: program.to_owned(),
            what: "arguments and variables together",
            bytes,
            max,
        });
    }
    Ok(())
}

/// Elsewhere the kernel says it when it is asked to execute.
#[cfg(not(target_os = "linux"))]
pub(super) fn check(_program: &str, _argv: &Given, _env: &Given) -> Result<(), SpawnError> {
    Ok(())
}

/// A quarter of the stack, within the kernel's own bounds.
#[cfg(target_os = "linux")]
fn bytes_max() -> usize {
    const AT_LEAST: u64 = 128 * 1024;
    const AT_MOST: u64 = 6 * 1024 * 1024;
    let stack = rustix::process::getrlimit(rustix::process::Resource::Stack);
    let quarter = stack.current.map_or(AT_MOST, |stack| stack / 4);
    usize::try_from(quarter.clamp(AT_LEAST, AT_MOST)).unwrap_or(usize::MAX)
}
