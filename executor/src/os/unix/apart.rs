//! This program once more, apart from whoever starts it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::process::Stdio;

use tokio::process::{Child, Command};

/// This program, even if its file was replaced since.
#[cfg(target_os = "linux")]
fn program() -> io::Result<std::path::PathBuf> {
    Ok("/proc/self/exe".into())
}

#[cfg(not(target_os = "linux"))]
fn program() -> io::Result<std::path::PathBuf> {
    std::env::current_exe()
}

/// Starts it with these arguments. It has a pipe for its first words and `log` for all others, and
/// of ours nothing else. It outlives us once it has called [`settle_apart`].
pub fn start_apart(arguments: Vec<OsString>, log: File) -> io::Result<Child> {
    #[cfg(target_os = "linux")]
    super::spawn::seal_inherited();
    Command::new(program()?)
        .arg0("farstep-executor")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
}

/// Leaves the session of the login we were started in, so that its end is not ours.
pub fn settle_apart() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// From now on nobody hears what is said on standard output.
pub fn leave_stdout() -> io::Result<()> {
    let nowhere = File::options().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(nowhere)?)
}

/// From now on standard error is this file.
pub fn send_stderr_to(file: &File) -> io::Result<()> {
    Ok(rustix::stdio::dup2_stderr(file)?)
}
