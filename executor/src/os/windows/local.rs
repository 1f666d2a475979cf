//! There are no sockets here that are files of their owner alone, and so no executor in the
//! background: what asks for one is refused before any of this is called.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use tokio::net::TcpStream;
use tokio::process::Child;

/// Whether there are any.
pub const HAS_LOCAL_SOCKETS: bool = false;

/// Stands for what there is none of.
pub type LocalStream = TcpStream;

/// As elsewhere; there is none.
#[derive(Debug)]
pub enum SocketFolder {}

/// As elsewhere; there is none.
#[derive(Debug)]
pub enum FolderLock {}

/// As elsewhere; there is none.
#[derive(Debug)]
pub enum LocalListener {}

impl SocketFolder {
    pub fn own(_path: &Path) -> io::Result<SocketFolder> {
        Err(nothing())
    }

    pub fn of(_socket: &Path) -> io::Result<(SocketFolder, &OsStr)> {
        Err(nothing())
    }

    pub fn path(&self) -> &Path {
        match *self {}
    }

    pub async fn lock(&self) -> io::Result<FolderLock> {
        match *self {}
    }

    pub fn sockets(&self) -> io::Result<Vec<String>> {
        match *self {}
    }

    pub async fn connect(&self, _name: &OsStr) -> io::Result<LocalStream> {
        match *self {}
    }

    pub fn bind(&self, _name: &OsStr) -> io::Result<LocalListener> {
        match *self {}
    }

    pub fn clear(&self, _name: &OsStr) -> io::Result<()> {
        match *self {}
    }
}

impl LocalListener {
    pub async fn accept(&self) -> io::Result<LocalStream> {
        match *self {}
    }

    pub fn path(&self) -> &Path {
        match *self {}
    }

    pub fn remove(&self) {
        match *self {}
    }
}

pub fn user_name_of_sockets() -> String {
    String::new()
}

pub fn here() -> String {
    String::new()
}

pub fn bytes_of(text: &OsStr) -> &[u8] {
    text.as_encoded_bytes()
}

pub fn text_of(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}

pub fn start_apart(_arguments: Vec<OsString>, _log: File) -> io::Result<Child> {
    Err(nothing())
}

pub fn settle_apart() -> io::Result<()> {
    Err(nothing())
}

pub fn leave_stdout() -> io::Result<()> {
    Err(nothing())
}

pub fn send_stderr_to(_file: &File) -> io::Result<()> {
    Err(nothing())
}

fn nothing() -> io::Error {
    io::Error::new(ErrorKind::Unsupported, "not on Windows")
}
