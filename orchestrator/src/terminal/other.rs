//! Where we do not know how to lend a terminal.

use std::io;

use farstep_environments::process::Window;

use super::Change;

/// Nothing: there is none to lend.
#[derive(Debug)]
pub struct Terminal(());

impl Terminal {
    /// Fails.
    pub fn lend() -> io::Result<Terminal> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Unknown.
pub fn window() -> Option<Window> {
    None
}

/// Hears nothing.
#[derive(Debug)]
pub struct Changes(());

impl Changes {
    pub fn listen() -> io::Result<Changes> {
        Ok(Changes(()))
    }

    /// Never comes.
    pub async fn next(&mut self) -> Change {
        std::future::pending().await
    }
}
