//! Terminals as POSIX has them.

use std::io;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use farstep_environments::process::Window;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Change;

/// How the terminal was found, while it is lent. Here and not in the [`Terminal`], because a panic
/// has to find it.
static FOUND: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal of standard input, lent. Dropping it gives it back.
#[derive(Debug)]
pub struct Terminal(());

impl Terminal {
    /// Makes it raw.
    pub fn lend() -> io::Result<Terminal> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                hook(panic);
            }));
        });
        let now = tcgetattr(io::stdin())?;
        *found() = Some(now.clone());
        let terminal = Terminal(());
        make_raw(now)?;
        Ok(terminal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

fn make_raw(mut modes: Termios) -> io::Result<()> {
    modes.make_raw();
    // What was printed before is printed as it was meant.
    Ok(tcsetattr(io::stdin(), OptionalActions::Drain, &modes)?)
}

fn give_back() {
    if let Some(modes) = found().take()
        && let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, &modes)
    {
        tracing::debug!(%error, "the terminal is gone");
    }
}

fn found() -> MutexGuard<'static, Option<Termios>> {
    FOUND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The size of our terminal, if we have one that knows it.
pub fn window() -> Option<Window> {
    let size = tcgetwinsize(io::stdin()).or_else(|_| tcgetwinsize(io::stdout()));
    let size = size
        .ok()
        .filter(|size| size.ws_row > 0 && size.ws_col > 0)?;
    Some(Window {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Hears what becomes of the terminal.
#[derive(Debug)]
pub struct Changes {
    resized: Signal,
    /// After a stop the shell has used the terminal in its own way.
    continued: Signal,
    quit: Signal,
}

impl Changes {
    pub fn listen() -> io::Result<Changes> {
        let continued = rustix::process::Signal::CONT.as_raw();
        Ok(Changes {
            resized: signal(SignalKind::window_change())?,
            continued: signal(SignalKind::from_raw(continued))?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// The next change. May be dropped and called again.
    pub async fn next(&mut self) -> Change {
        loop {
            tokio::select! {
                _ = self.resized.recv() => {}
                _ = self.continued.recv() => {
                    if let Some(modes) = found().clone()
                        && let Err(error) = make_raw(modes)
                    {
                        tracing::debug!(%error, "the terminal is gone");
                    }
                }
                _ = self.quit.recv() => return Change::MustEnd,
            }
            if let Some(window) = window() {
                return Change::Resized(window);
            }
        }
    }
}
