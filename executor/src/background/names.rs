//! What the sockets of executors in the background are called.
//!
//! `MACHINE-PLACE-BUILD.sock`: the machine by its name, to tell what somebody else's machine left
//! in a home they share; the place, as [`os::here`] has it; and the program with its arguments, so
//! that who asks for other limits gets another executor.

use std::ffi::OsString;
use std::time::UNIX_EPOCH;

use sha2::{Digest as _, Sha256};

use crate::os;

const END: &str = ".sock";
/// Of each sum.
const SHOWN: usize = 6;

/// The name of ours, and what it has in common with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    machine: String,
    place: String,
    build: String,
}

impl Names {
    /// Those of this program when it is started with these arguments.
    pub(super) fn of(arguments: &[OsString]) -> Names {
        let file = file();
        let build = [env!("CARGO_PKG_VERSION").as_bytes(), file.as_bytes()];
        let arguments = arguments.iter().map(|argument| os::bytes_of(argument));
        Names {
            machine: sum([os::host_name().as_bytes()]),
            place: sum([os::here().as_bytes()]),
            build: sum(build.into_iter().chain(arguments)),
        }
    }

    pub(super) fn own(&self) -> OsString {
        let Names {
            machine,
            place,
            build,
        } = self;
        format!("{machine}-{place}-{build}{END}").into()
    }

    /// Whether a session of ours may be behind this one too.
    pub(super) fn is_here(&self, name: &str) -> bool {
        name.starts_with(&format!("{}-{}-", self.machine, self.place)) && name.ends_with(END)
    }
}

/// Whether both were made on machines of the same name, so that it can be told from here whether
/// anybody listens.
pub(super) fn is_of_same_machine(name: &str, own: &str) -> bool {
    let machine = own.split('-').next().unwrap_or_default();
    !machine.is_empty() && name.split('-').next() == Some(machine) && name.ends_with(END)
}

/// What tells one file of this program from another.
fn file() -> String {
    let found = std::env::current_exe().and_then(std::fs::metadata);
    let Ok(found) = found else {
        return String::new();
    };
    let changed = found.modified().ok();
    let changed = changed.and_then(|changed| changed.duration_since(UNIX_EPOCH).ok());
    format!("{} {changed:?}", found.len())
}

fn sum<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut sum = Sha256::new();
    for part in parts {
        sum.update(part);
        sum.update([0]);
    }
    let sum = sum.finalize();
    let shown = sum.iter().take(SHOWN);
    shown.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_arguments_are_another_executor_at_the_same_place() {
        let plain = Names::of(&[]);
        let other = Names::of(&["--idle-seconds".into(), "5".into()]);
        let text = |names: &Names| names.own().into_string().unwrap();
        assert_eq!(plain, Names::of(&[]));
        assert_ne!(plain.own(), other.own());
        assert!(plain.is_here(&text(&other)) && is_of_same_machine(&text(&other), &text(&plain)));
        let elsewhere = Names {
            place: sum([b"another".as_slice()]),
            ..plain.clone()
        };
        assert!(!plain.is_here(&text(&elsewhere)));
        assert!(is_of_same_machine(&text(&elsewhere), &text(&plain)));
        assert!(!is_of_same_machine("x-y-z.sock", &text(&plain)));
    }
}
