//! A terminal of its own for a program, and somebody in front of it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, PATIENCE};
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// A terminal with a program on it, and somebody in front of it.
pub(crate) struct Desk {
    child: Child,
    /// Our end: the keyboard and the screen.
    pub(crate) keyboard: File,
    screen: mpsc::Receiver<Vec<u8>>,
    seen: String,
    /// The other end, to look at how the program has left it.
    line: File,
    found: Termios,
}

pub(crate) fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Desk {
    pub(crate) fn sit_down(lab: &Lab, arguments: &[&str]) -> Result<Desk> {
        Desk::sit_down_at(lab.farstep(arguments).env("TERM", "vt100"))
    }

    /// With a command of one's own.
    pub(crate) fn sit_down_at(command: &mut Command) -> Result<Desk> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?.into_string()?;
        let line = File::options().read(true).write(true).open(name)?;
        tcsetwinsize(&master, size(31, 97))?;
        let found = tcgetattr(&line)?;
        let child = command
            .stdin(Stdio::from(line.try_clone()?))
            .stdout(Stdio::from(line.try_clone()?))
            .stderr(Stdio::from(line.try_clone()?))
            .kill_on_drop(true)
            .spawn()?;
        let keyboard = File::from(master);
        let mut eyes = keyboard.try_clone()?;
        let (shown, screen) = mpsc::channel(1024);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = eyes.read(&mut buffer) {
                if count == 0 || shown.blocking_send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Desk {
            child,
            keyboard,
            screen,
            seen: String::new(),
            line,
            found,
        })
    }

    pub(crate) fn type_in(&mut self, keys: &str) -> Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes())?)
    }

    /// Waits until the screen has shown this, and forgets everything up to it.
    pub(crate) async fn see(&mut self, text: &str) -> Result<String> {
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return Ok(std::mem::replace(&mut self.seen, rest));
            }
            let shown = tokio::time::timeout(PATIENCE, self.screen.recv()).await;
            let shown = shown.with_context(|| format!("only {:?} came", self.seen))?;
            let shown = shown.context("the screen went dark")?;
            self.seen.push_str(&String::from_utf8_lossy(&shown));
        }
    }

    /// Everything that is shown until the program has ended and nothing more comes, and its exit code.
    pub(crate) async fn watch_to_the_end(self) -> Result<(String, Option<i32>)> {
        let Desk {
            mut child,
            line,
            mut screen,
            mut seen,
            ..
        } = self;
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
        let code = ended.context("the program did not end in time")??.code();
        // The last other end: from now on the screen goes dark.
        drop(line);
        while let Some(shown) = tokio::time::timeout(PATIENCE, screen.recv()).await? {
            seen.push_str(&String::from_utf8_lossy(&shown));
        }
        Ok((seen, code))
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.id().context("it ended already")?;
        let pid = Pid::from_raw(pid.try_into()?).context("0 is no process id")?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    pub(crate) fn is_raw(&self) -> Result<bool> {
        let modes = tcgetattr(&self.line)?.local_modes;
        Ok(!modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG))
    }

    /// Waits for the end of the program, and looks at what it has left behind.
    pub(crate) async fn end(mut self) -> Result<Option<i32>> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let code = ended.context("the program did not end in time")??.code();
        let left = tcgetattr(&self.line)?;
        ensure!(
            left.local_modes == self.found.local_modes
                && left.input_modes == self.found.input_modes
                && left.output_modes == self.found.output_modes
                && left.control_modes == self.found.control_modes,
            "the terminal was left as {left:?}, and was {:?}",
            self.found
        );
        Ok(code)
    }
}
