//! What this machine says about itself and its user.

use std::ffi::{CStr, OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::ptr;

use rustix::fs::{Access, access};

/// Where programs are looked for when an environment has no `PATH`.
pub(super) const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What a login sets, and nothing else.
pub const CORE_VARIABLES: &[&str] = &[
    "PATH", "SHELL", "HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LOGNAME", "USER",
    "USERNAME", "TMPDIR", "TEMP", "TMP", "TZ",
];

/// Whether `Path` and `PATH` are one variable.
pub const VARIABLES_IGNORE_CASE: bool = false;

/// Longest entry of the user database we accept; more is a broken database.
const USER_ENTRY_MAX: usize = 16 * 1024;

/// A command interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shell {
    /// `bash`, `zsh`, `sh`.
    pub name: String,
    pub path: PathBuf,
}

/// As callers know it.
pub fn os_name() -> &'static str {
    std::env::consts::OS
}

/// The folder `~` stands for, if the user has one.
pub fn home_folder() -> Option<PathBuf> {
    std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|home| home.is_absolute())
        .or_else(|| user().map(|user| user.home))
}

/// Where programs of this user keep what outlives them and matters to nobody else.
pub fn state_folder() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute());
    let folder = named.or_else(|| Some(home_folder()?.join(".local/state")));
    Some(folder?.join("farstep"))
}

/// Where they keep it as long as this machine runs, if the state folder cannot be used: each a folder
/// of its own, the best first.
pub fn fallback_folders() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|folder| folder.is_absolute());
    let user = rustix::process::geteuid().as_raw();
    // A single name, because nobody else can put another one there in a folder with the sticky bit.
    let temporary = std::env::temp_dir().join(format!("farstep-executor-{user}"));
    let runtime = runtime.map(|folder| folder.join("farstep/executor"));
    runtime.into_iter().chain([temporary]).collect()
}

/// The user's own shell if it can be used, else a common one.
pub fn default_shell() -> Shell {
    let usable = |path: &PathBuf| path.is_absolute() && is_interpreter(path);
    let own = std::env::var_os("SHELL").map(PathBuf::from);
    // The user database is asked only when it has to be: the first question loads its libraries.
    let path = own
        .filter(usable)
        .or_else(|| user().map(|user| user.shell).filter(usable))
        .or_else(|| {
            ["/bin/bash", "/usr/bin/bash"]
                .map(PathBuf::from)
                .into_iter()
                .find(usable)
        })
        .unwrap_or_else(|| PathBuf::from("/bin/sh"));
    let name = path.file_name().unwrap_or(OsStr::new("sh"));
    Shell {
        name: name.to_string_lossy().into_owned(),
        path,
    }
}

/// Accounts that may not log in have a "shell" that only says so.
fn is_interpreter(path: &Path) -> bool {
    let refuses = path.ends_with("nologin") || path.ends_with("false");
    !refuses && access(path, Access::EXEC_OK).is_ok()
}

/// The name of this machine.
pub fn host_name() -> String {
    let mut name = [0_u8; 256];
    // Why at all: neither the standard library nor our build of rustix asks for it.
    // Why sound: the kernel writes at most the given length into a buffer of that length, and
    // the last byte stays ours, so there is a NUL in any case.
    #[expect(unsafe_code, reason = "gethostname has no safe wrapper here")]
    unsafe {
        libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1);
    }
    let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
    name.to_string_lossy().into_owned()
}

struct User {
    home: PathBuf,
    shell: PathBuf,
}

/// The entry of the user we run as.
fn user() -> Option<User> {
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut strings = vec![0_u8; USER_ENTRY_MAX];
    let mut found = ptr::null_mut();
    let uid = rustix::process::getuid().as_raw();
    // Why at all: the user database is only reachable through libc.
    // Why sound: this is the reentrant call; entry and strings outlive the copies made below,
    // and the fields are read only if the call says that it filled them.
    #[expect(unsafe_code, reason = "getpwuid_r has no safe wrapper")]
    unsafe {
        let status = libc::getpwuid_r(
            uid,
            entry.as_mut_ptr(),
            strings.as_mut_ptr().cast(),
            strings.len(),
            &raw mut found,
        );
        if status != 0 || found.is_null() {
            return None;
        }
        let text = |field: *const libc::c_char| {
            (!field.is_null()).then(|| {
                PathBuf::from(OsString::from_vec(
                    CStr::from_ptr(field).to_bytes().to_vec(),
                ))
            })
        };
        Some(User {
            home: text((*found).pw_dir)?,
            shell: text((*found).pw_shell)?,
        })
    }
}
