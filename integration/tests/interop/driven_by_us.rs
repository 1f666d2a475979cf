//! `farstep` drives a real `codex exec-server`.

use anyhow::{Result, ensure};
use farstep_integration::{Finished, Lab, MockModel, Peer, Running, need};

fn found() -> Option<Peer> {
    need(Peer::find(), "the peer: FARSTEP_CODEX names no program")
}

fn stdio_entry(peer: &Peer, lab: &Lab) -> Result<String> {
    let folder = lab.folder("far")?;
    Ok(format!(
        "default = \"far\"\n[[environments]]\nid = \"far\"\nprogram = '{}'\n\
         args = [\"exec-server\", \"--listen\", \"stdio\"]\ncwd = '{}'\n\
         [environments.env]\nCODEX_HOME = '{}'\n",
        peer.program().display(),
        folder.display(),
        peer.home().display()
    ))
}

#[tokio::test]
async fn we_exec_on_the_peer_by_websocket_and_by_stdio() -> Result<()> {
    let Some(peer) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let far = peer.executor(&lab, "far").await?;
    let websocket = format!(
        "default = \"far\"\n[[environments]]\nid = \"far\"\nurl = \"{}\"\n",
        far.url
    );
    for file in [websocket, stdio_entry(&peer, &lab)?] {
        lab.environments(&file)?;
        let script = "pwd; printf 'err' >&2; head -c 3000000 /dev/zero; exit 9";
        let done = lab.run(&["exec", "--", "sh", "-c", script]).await?;
        ensure!(done.code == Some(9), "{:?} {}", done.code, done.err());
        assert_eq!(done.err(), "err");
        let mut expected = format!("{}\n", far.folder.display()).into_bytes();
        expected.resize(expected.len() + 3_000_000, 0);
        assert!(done.stdout == expected, "{} bytes came", done.stdout.len());
        let tested = lab.run(&["env", "test", "far"]).await?;
        ensure!(tested.code == Some(0), "{}\n{}", tested.out(), tested.err());
    }
    Ok(())
}

#[tokio::test]
async fn we_run_a_model_on_the_peer() -> Result<()> {
    let Some(peer) = found() else { return Ok(()) };
    let Some(_) = need(
        MockModel::find(),
        "the mock model server beside the checkout",
    ) else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let far = peer.executor(&lab, "far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let mock = MockModel::play(&lab, "exec_and_poll.json", &[]).await?;
    let url = mock.url.clone();
    let done = lab
        .run(&[
            "run",
            "go on",
            "--json",
            "--model",
            "mock",
            "--base-url",
            &url,
        ])
        .await?;
    let verdict = mock.verdict().await?;
    ensure!(
        done.code == Some(0) && verdict.code == Some(0),
        "farstep said:\n{}\n{}\nthe script:\n{}",
        done.out(),
        done.err(),
        verdict.err()
    );
    assert_eq!(
        std::fs::read_to_string(far.folder.join("notes/one.txt"))?,
        "first\n"
    );
    Ok(())
}

/// Whether the machine of the test lets the peer confine anything or not: nothing is written that
/// must not be.
#[tokio::test]
async fn what_runs_on_the_peer_is_confined_or_does_not_run() -> Result<()> {
    let Some(peer) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let far = peer.executor(&lab, "far").await?;
    let entry = |profile: &str| {
        format!(
            "default = \"far\"\n[[environments]]\nid = \"far\"\nurl = \"{}\"\n\
             farstep = {{ permission_profile = \"{profile}\" }}\n",
            far.url
        )
    };
    lab.environments(&entry("read-only"))?;
    let done = lab.run(&["exec", "--", "touch", "by-exec"]).await?;
    ensure!(done.code != Some(0), "{}", done.err());
    let here = lab.path().join("source");
    std::fs::write(&here, "x")?;
    let copied = lab.farstep(&["cp", "source", "far:by-cp"]).output().await?;
    ensure!(!copied.status.success(), "{copied:?}");
    ensure!(!far.folder.join("by-exec").exists() && !far.folder.join("by-cp").exists());

    lab.environments(&entry("workspace-write"))?;
    let outside = peer.home().join("outside");
    let script = format!("touch '{}' || touch inside", outside.display());
    let done = lab.run(&["exec", "--", "sh", "-c", &script]).await?;
    ensure!(!outside.exists(), "{}", done.err());
    // Where the peer can confine, the workspace is still there to work in.
    ensure!(
        (done.code == Some(0)) == far.folder.join("inside").exists(),
        "{:?} {}",
        done.code,
        done.err()
    );
    Ok(())
}

/// Runs a command whose standard input is a file of this content.
async fn with_input(lab: &Lab, arguments: &[&str], input: &str) -> Result<Finished> {
    let file = lab.path().join("input");
    std::fs::write(&file, input)?;
    // `Running` has an input of its own, so a shell opens the file.
    let mut command = tokio::process::Command::new("sh");
    let farstep = lab.farstep(arguments);
    let farstep = farstep.as_std();
    command
        .args(["-c", "exec \"$@\" < input", "sh"])
        .arg(farstep.get_program())
        .args(farstep.get_args())
        .current_dir(lab.path());
    for (name, value) in farstep.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Running::start(&mut command)?.finish().await
}

#[tokio::test]
async fn the_peer_cannot_be_told_the_end_of_an_input_so_it_gets_none_or_types_it() -> Result<()> {
    let Some(peer) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let far = peer.executor(&lab, "far").await?;
    lab.websockets(&[("far", &far.url)])?;
    // A reader ends at once, and the person learns why and what to do.
    let done = with_input(&lab, &["exec", "--", "cat"], "hello\n").await?;
    ensure!(done.code == Some(0), "{:?} {}", done.code, done.err());
    assert_eq!(done.out(), "");
    assert_eq!(
        done.err(),
        "farstep: standard input is not passed on: `far` cannot be told its end\n  try: copy it \
         there with `farstep cp` and read that file, or pass --tty: then it is typed, and Ctrl-D \
         follows\n"
    );
    // Whoever has nothing to say hears nothing.
    let done = with_input(&lab, &["exec", "--", "cat"], "").await?;
    assert_eq!((done.code, done.err().as_str()), (Some(0), ""));
    // On a terminal the end is a key. What is typed is shown as well.
    let script = "stty -echo; echo ready; cat; echo \"ended $?\"";
    let done = with_input(
        &lab,
        &["exec", "--tty", "--", "sh", "-c", script],
        "typed\n",
    )
    .await?;
    ensure!(done.code == Some(0), "{:?} {}", done.code, done.err());
    ensure!(done.out().contains("typed\r\nended 0"), "{}", done.out());
    // The way round.
    std::fs::write(lab.path().join("in"), "b\na\n")?;
    let done = lab.run(&["cp", "in", "far:in"]).await?;
    ensure!(done.code == Some(0), "{}", done.err());
    let done = lab.run(&["exec", "--", "sh", "-c", "sort < in"]).await?;
    assert_eq!(done.out(), "a\nb\n");
    Ok(())
}
