//! Which of our executors fits a machine, and where it lies on this one.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{SshError, SshHop, script};
use crate::config::Os;
use crate::terms::architecture;

/// A machine, as its own programs describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `uname -s`
    pub system: String,
    /// `uname -m`
    pub arch: String,
    /// The version of the GNU C library, where that is the C library.
    pub glibc: Option<String>,
    /// Whether one logs in as root.
    pub is_root: bool,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.system, self.arch)?;
        match &self.glibc {
            Some(version) => write!(f, ", glibc {version}"),
            None => Ok(()),
        }
    }
}

impl Platform {
    /// What an entry calls its system.
    pub fn os(&self) -> Option<Os> {
        match self.system.as_str() {
            "Linux" => Some(Os::Linux),
            "Darwin" => Some(Os::Macos),
            _ => None,
        }
    }

    /// What an entry calls its processor.
    pub fn arch_name(&self) -> String {
        architecture(&self.arch)
    }
}

/// Where executors for other machines lie on this one.
#[derive(Clone, Debug, Default)]
pub struct Executors {
    /// The one to use, whatever the machine.
    pub file: Option<PathBuf>,
    /// Folders that hold `TARGET/farstep-executor`, in the order in which they are looked at.
    pub folders: Vec<PathBuf>,
    /// The one that serves our own machine; it fits machines of the same kind.
    pub own: Option<PathBuf>,
}

impl Executors {
    /// The executor for `platform`. A static one is preferred: it runs whatever is installed there.
    pub fn find(&self, platform: &Platform) -> Result<PathBuf, SshError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let targets = targets(platform)?;
        let places = self.folders.iter().flat_map(|folder| {
            let file = |target: &String| folder.join(target).join(script::FILE);
            targets.iter().map(file).collect::<Vec<_>>()
        });
        let own = self.own.iter().filter(|_| is_ours(platform)).cloned();
        let candidates: Vec<PathBuf> = places.chain(own).collect();
        let found = candidates.iter().find(|path| path.is_file());
        found.cloned().ok_or_else(|| {
            let looked: Vec<String> = candidates.iter().map(|path| shown(path)).collect();
            SshError {
                hop: SshHop::Executor,
                reason: format!(
                    "there is no executor for {platform}; looked at: {}",
                    looked.join(", ")
                ),
                remedy: format!(
                    "build one with `cargo build --release --bin farstep-executor --target {}` and \
                     name it with --executor FILE",
                    targets.first().map_or("TARGET", String::as_str)
                ),
            }
        })
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// What Rust calls executables for that machine, the best first.
fn targets(platform: &Platform) -> Result<Vec<String>, SshError> {
    let arch = arch(&platform.arch);
    let system = platform.system.as_str();
    let is_windows = ["MINGW", "MSYS", "CYGWIN", "Windows"];
    if is_windows.iter().any(|name| system.starts_with(name)) {
        return Err(SshError::windows());
    }
    match system {
        "Linux" => Ok(match platform.glibc {
            Some(_) => vec![
                format!("{arch}-unknown-linux-musl"),
                format!("{arch}-unknown-linux-gnu"),
            ],
            None => vec![format!("{arch}-unknown-linux-musl")],
        }),
        "Darwin" => Ok(vec![format!("{arch}-apple-darwin")]),
        other => Err(SshError {
            hop: SshHop::Executor,
            reason: format!("there are no executors for {other}"),
            remedy: "executors run on Linux, macOS and Windows".to_owned(),
        }),
    }
}

fn arch(machine: &str) -> &str {
    match machine {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "i386" | "i586" => "i686",
        "riscv64" => "riscv64gc",
        "armv7l" | "armv8l" => "armv7",
        other => other,
    }
}

/// Whether that machine is of the kind this program was built for.
fn is_ours(platform: &Platform) -> bool {
    let system = match platform.system.as_str() {
        "Linux" => "linux",
        "Darwin" => "macos",
        _ => return false,
    };
    system == std::env::consts::OS && arch(&platform.arch) == std::env::consts::ARCH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(system: &str, arch: &str, glibc: Option<&str>) -> Platform {
        Platform {
            system: system.to_owned(),
            arch: arch.to_owned(),
            glibc: glibc.map(str::to_owned),
            is_root: false,
        }
    }

    #[test]
    fn a_static_executor_comes_first_then_one_for_the_c_library_then_our_own() {
        let folder = tempfile::tempdir().unwrap();
        let place = |target: &str| {
            let folder = folder.path().join(target);
            std::fs::create_dir_all(&folder).unwrap();
            let file = folder.join("farstep-executor");
            std::fs::write(&file, "").unwrap();
            file
        };
        let own = place("own");
        let executors = Executors {
            file: None,
            folders: vec![folder.path().join("none"), folder.path().to_owned()],
            own: Some(own.clone()),
        };
        let arch = std::env::consts::ARCH;
        if cfg!(target_os = "linux") {
            let here = machine("Linux", arch, Some("2.36"));
            assert_eq!(executors.find(&here), Ok(own));
            let gnu = place(&format!("{arch}-unknown-linux-gnu"));
            assert_eq!(executors.find(&here), Ok(gnu));
            let musl = place(&format!("{arch}-unknown-linux-musl"));
            assert_eq!(executors.find(&here), Ok(musl));
        }
        let arm = place("aarch64-apple-darwin");
        assert_eq!(executors.find(&machine("Darwin", "arm64", None)), Ok(arm));
        let given = Executors {
            file: Some("/given".into()),
            ..executors
        };
        assert_eq!(
            given.find(&machine("Plan9", "vax", None)),
            Ok("/given".into())
        );
    }

    #[test]
    fn what_is_missing_is_named_with_how_to_make_it() {
        let executors = Executors {
            folders: vec!["/executors".into()],
            ..Executors::default()
        };
        let missing = executors
            .find(&machine("Linux", "riscv64", None))
            .unwrap_err();
        assert!(
            missing
                .reason
                .contains("/executors/riscv64gc-unknown-linux-musl"),
            "{missing}"
        );
        assert!(
            missing
                .remedy
                .contains("--target riscv64gc-unknown-linux-musl"),
            "{missing}"
        );
        for system in ["MINGW64_NT-10.0-19045", "SunOS"] {
            let error = executors
                .find(&machine(system, "x86_64", None))
                .unwrap_err();
            assert_eq!(error.hop, SshHop::Executor);
        }
    }
}
