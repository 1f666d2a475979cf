//! `farstep exec --tty` and `farstep shell` on a terminal of their own.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Executor, Lab, PATIENCE};
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use tokio::process::Child;
use tokio::sync::mpsc;

/// A terminal with a program on it, and somebody in front of it.
struct Desk {
    child: Child,
    /// Our end: the keyboard and the screen.
    keyboard: File,
    screen: mpsc::Receiver<Vec<u8>>,
    seen: String,
    /// The other end, to look at how the program has left it.
    line: File,
    found: Termios,
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Desk {
    fn sit_down(lab: &Lab, arguments: &[&str]) -> Result<Desk> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?.into_string()?;
        let line = File::options().read(true).write(true).open(name)?;
        tcsetwinsize(&master, size(31, 97))?;
        let found = tcgetattr(&line)?;
        let child = lab
            .farstep(arguments)
            .env("TERM", "vt100")
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

    fn type_in(&mut self, keys: &str) -> Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes())?)
    }

    /// Waits until the screen has shown this, and forgets everything up to it.
    async fn see(&mut self, text: &str) -> Result<String> {
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

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.child.id().context("it ended already")?;
        let pid = Pid::from_raw(pid.try_into()?).context("0 is no process id")?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    fn is_raw(&self) -> Result<bool> {
        let modes = tcgetattr(&self.line)?.local_modes;
        Ok(!modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG))
    }

    /// Waits for the end of the program, and looks at what it has left behind.
    async fn end(mut self) -> Result<Option<i32>> {
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

async fn far(lab: &Lab) -> Result<Executor> {
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    Ok(far)
}

#[tokio::test]
async fn a_shell_has_our_size_our_keys_and_its_own_exit_code() -> Result<()> {
    let lab = Lab::new()?;
    let _far = far(&lab).await?;
    let mut desk = Desk::sit_down(&lab, &["shell", "far"])?;
    desk.type_in("stty size; echo $TERM; echo up-$((1+1))\r")?;
    let shown = desk.see("up-2").await?;
    ensure!(shown.contains("31 97"), "{shown}");
    ensure!(shown.contains("vt100"), "{shown}");
    ensure!(desk.is_raw()?);
    // Another window, which only a program with a terminal of its own would be told by the kernel.
    tcsetwinsize(&desk.keyboard, size(20, 60))?;
    desk.signal(Signal::WINCH)?;
    // The size travels behind the key strokes or before them, so it is asked for until it is there.
    let mut look = tokio::time::interval(Duration::from_millis(50));
    loop {
        look.tick().await;
        desk.type_in("echo size=$(stty size)=\r")?;
        // Once as it is echoed, once as it is answered.
        desk.see("size=$(stty size)=").await?;
        desk.see("size=").await?;
        if desk.see("=").await? == "20 60=" {
            break;
        }
    }
    // Control-C is for the program there, and not for us. It has the terminal when it speaks; until
    // then Control-C would be the shell's.
    desk.type_in("sh -c 'echo on-$((1+1)); exec sleep 600'\r")?;
    desk.see("on-2").await?;
    desk.type_in("\u{3}")?;
    desk.type_in("exit 7\r")?;
    assert_eq!(desk.end().await?, Some(7));
    Ok(())
}

#[tokio::test]
async fn however_it_ends_the_terminal_is_given_back() -> Result<()> {
    let lab = Lab::new()?;
    let far = far(&lab).await?;
    std::fs::write(lab.home().join("config.toml"), "recovery_seconds = 1\n")?;
    let script = "stty raw -echo; echo up; cat";
    let arguments = ["exec", "--tty", "--", "sh", "-c", script];
    for (signal, code) in [
        (Signal::TERM, 130),
        (Signal::HUP, 130),
        (Signal::INT, 130),
        (Signal::QUIT, 130),
    ] {
        let mut desk = Desk::sit_down(&lab, &arguments)?;
        desk.see("up").await?;
        ensure!(desk.is_raw()?);
        desk.signal(signal)?;
        assert_eq!(desk.end().await?, Some(code), "{signal:?}");
    }
    // Somebody leaves.
    let mut desk = Desk::sit_down(&lab, &arguments)?;
    desk.see("up").await?;
    desk.type_in("not here ~.\r")?;
    desk.see("not here ~.").await?;
    desk.type_in("~.")?;
    desk.see("farstep: left").await?;
    assert_eq!(desk.end().await?, Some(255));
    // The executor goes.
    let mut desk = Desk::sit_down(&lab, &arguments)?;
    desk.see("up").await?;
    far.kill()?;
    desk.see("failed to follow the command in `far`").await?;
    assert_eq!(desk.end().await?, Some(255));
    // There is none.
    let desk = Desk::sit_down(&lab, &arguments)?;
    assert_eq!(desk.end().await?, Some(255));
    Ok(())
}

#[tokio::test]
async fn a_lent_terminal_is_steered_but_nothing_beyond_it() -> Result<()> {
    let lab = Lab::new()?;
    let _far = far(&lab).await?;
    let script = r"printf 'a\033[31mb\033]52;c;ZXZpbA==\007c\005\033[21td'; echo '|'";
    for (flags, shown) in [
        (&["--tty"][..], "a\u{1b}[31mbcd|"),
        (
            &["--tty", "--raw"],
            "a\u{1b}[31mb\u{1b}]52;c;ZXZpbA==\u{7}c\u{5}\u{1b}[21td|",
        ),
        (&[], "a\\x1b[31mb\\x1b]52;c;ZXZpbA==\\x07c\\x05\\x1b[21td|"),
    ] {
        let arguments = [&["exec"], flags, &["--", "sh", "-c", script]].concat();
        let mut desk = Desk::sit_down(&lab, &arguments)?;
        assert_eq!(desk.see("|").await?, shown, "{flags:?}");
        assert_eq!(desk.end().await?, Some(0));
    }
    Ok(())
}
