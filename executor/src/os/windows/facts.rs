//! What this machine says about itself and its user.

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::SystemInformation::{
    ComputerNamePhysicalDnsHostname, GetComputerNameExW, GetSystemDirectoryW,
};

use super::call::len_u32;

/// What a login sets, and what programs cannot do without.
pub const CORE_VARIABLES: &[&str] = &[
    "PATH",
    "PATHEXT",
    "SHELL",
    "COMSPEC",
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "WINDIR",
    "HOMEDRIVE",
    "HOMEPATH",
    "USERPROFILE",
    "USERNAME",
    "USERDOMAIN",
    "APPDATA",
    "LOCALAPPDATA",
    "PROGRAMDATA",
    "PROGRAMFILES",
    "PROGRAMFILES(X86)",
    "PROGRAMW6432",
    "TEMP",
    "TMP",
    "TZ",
    "LANG",
    "NUMBER_OF_PROCESSORS",
    "PROCESSOR_ARCHITECTURE",
    "OS",
];

/// Whether `Path` and `PATH` are one variable.
pub const VARIABLES_IGNORE_CASE: bool = true;

/// A command interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shell {
    /// `pwsh`, `powershell`, `cmd`.
    pub name: String,
    pub path: PathBuf,
}

/// As callers know it.
pub fn os_name() -> &'static str {
    std::env::consts::OS
}

/// The folder `~` stands for, if the user has one.
pub fn home_folder() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute())
}

/// Where programs of this user keep what outlives them and matters to nobody else.
pub fn state_folder() -> Option<PathBuf> {
    let named = std::env::var_os("LOCALAPPDATA")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute());
    let folder = named.or_else(|| Some(home_folder()?.join(r"AppData\Local")))?;
    Some(folder.join("farstep"))
}

/// There is no executor in the background here, and so nothing that would need them.
pub fn fallback_folders() -> Vec<PathBuf> {
    Vec::new()
}

/// PowerShell if it is where it always is, else the command interpreter. Under Wine, whose
/// PowerShell does nothing, the latter.
pub fn default_shell() -> Shell {
    let system = system_folder();
    let powershell = system.join(r"WindowsPowerShell\v1.0\powershell.exe");
    if powershell.is_file() && !is_wine() {
        return Shell {
            name: "powershell".to_owned(),
            path: powershell,
        };
    }
    Shell {
        name: "cmd".to_owned(),
        path: system.join("cmd.exe"),
    }
}

fn is_wine() -> bool {
    // Why at all: Wine says so by a function that the real system does not have. Why sound: the
    // library is in every process, both names end with a NUL, and the function is not called.
    #[expect(unsafe_code, reason = "a look for a function")]
    unsafe {
        let library = GetModuleHandleW(windows_sys::w!("ntdll.dll"));
        !library.is_null() && GetProcAddress(library, windows_sys::s!("wine_get_version")).is_some()
    }
}

/// The name of this machine.
pub fn host_name() -> String {
    let mut name = [0_u16; 256];
    let mut len = len_u32(name.len());
    // Why at all: the standard library does not ask for it. Why sound: the system writes at most
    // `len` units, which is what there is room for, and says how many.
    #[expect(unsafe_code, reason = "the computer's name")]
    let done = unsafe {
        GetComputerNameExW(
            ComputerNamePhysicalDnsHostname,
            name.as_mut_ptr(),
            &raw mut len,
        )
    };
    let len = if done == 0 { 0 } else { len as usize };
    String::from_utf16_lossy(name.get(..len).unwrap_or_default())
}

/// Where the system's own programs are.
pub(super) fn system_folder() -> PathBuf {
    let mut folder = [0_u16; 512];
    // Why at all: a variable may say anything. Why sound: the system writes at most as many units
    // as there is room for, and says how many.
    #[expect(unsafe_code, reason = "the system's folder")]
    let len = unsafe { GetSystemDirectoryW(folder.as_mut_ptr(), len_u32(folder.len())) };
    match folder.get(..len as usize) {
        Some(name) if !name.is_empty() => PathBuf::from(OsString::from_wide(name)),
        _ => Path::new(r"C:\Windows\System32").to_owned(),
    }
}
