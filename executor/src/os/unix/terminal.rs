//! Pseudo-terminals: one end for a program, one for us.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::Pid;
use rustix::pty::OpenptFlags;
use rustix::termios::{Winsize, tcgetpgrp, tcsetwinsize};

use super::pipe::set_nonblocking;
use crate::os::shared::WindowSize;

/// The non-blocking end for us, and the end that becomes a program's standard streams.
pub(super) fn open(size: WindowSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    rustix::io::fcntl_setfd(&master, rustix::io::FdFlags::CLOEXEC)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let slave = open_slave(&master)?;
    resize(&master, size)?;
    set_nonblocking(&master)?;
    Ok((master, slave))
}

/// Changes the size; the program in the foreground is told by the kernel.
pub(super) fn resize(terminal: impl AsFd, size: WindowSize) -> io::Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(terminal, size)?)
}

/// Which group of processes the terminal listens to.
pub(super) fn foreground(terminal: impl AsFd) -> Option<Pid> {
    tcgetpgrp(terminal).ok()
}

/// A second descriptor of the same end, so that reading and writing can be waited for apart.
pub(super) fn duplicate(terminal: impl AsFd) -> io::Result<OwnedFd> {
    const ABOVE_STDIO: i32 = 3;
    Ok(rustix::io::fcntl_dupfd_cloexec(terminal, ABOVE_STDIO)?)
}

#[cfg(target_os = "linux")]
fn open_slave(master: &OwnedFd) -> io::Result<OwnedFd> {
    // Not by name: the name may mean another terminal in this process's view of the file system.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    Ok(rustix::pty::ioctl_tiocgptpeer(master, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn open_slave(master: &OwnedFd) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let name = rustix::pty::ptsname(master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(name, flags, Mode::empty())?)
}
