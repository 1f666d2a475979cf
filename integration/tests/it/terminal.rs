//! `farstep exec --tty` and `farstep shell` on a terminal of their own.

use std::time::Duration;

use anyhow::{Result, ensure};
use farstep_integration::{Executor, Lab};
use rustix::process::Signal;
use rustix::termios::tcsetwinsize;

use crate::desk::{Desk, size};

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

#[tokio::test]
async fn the_log_has_colours_on_a_terminal_unless_no_color_forbids_them() -> Result<()> {
    let lab = Lab::new()?;
    let _far = far(&lab).await?;
    for (forbids, coloured) in [(None, true), (Some(""), true), (Some("0"), false)] {
        let mut command = lab.farstep(&["exec", "--", "true"]);
        command.env("FARSTEP_LOG", "debug").env_remove("NO_COLOR");
        if let Some(forbids) = forbids {
            command.env("NO_COLOR", forbids);
        }
        let desk = Desk::sit_down_at(&mut command)?;
        // It has a hand on the screen.
        drop(command);
        let (shown, code) = desk.watch_to_the_end().await?;
        ensure!(code == Some(0) && shown.contains("DEBUG"), "{shown}");
        assert_eq!(shown.contains('\u{1b}'), coloured, "{forbids:?}: {shown}");
    }
    Ok(())
}
