//! `farstep exec`: one command, two streams, one exit code.

use anyhow::Result;
use farstep_integration::{Lab, Running};

#[tokio::test]
async fn streams_stay_apart_and_the_exit_code_comes_back() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let script = "printf 'out\\000\\377'; printf 'err\\n' >&2; exit 7";
    let done = lab.run(&["exec", "--", "sh", "-c", script]).await?;
    assert_eq!(done.stdout, b"out\0\xff");
    assert_eq!(done.err(), "err\n");
    assert_eq!(done.code, Some(7));
    Ok(())
}

#[tokio::test]
async fn the_command_runs_where_the_executor_is_or_where_it_is_told() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    let other = lab.folder("other")?;
    lab.websockets(&[("far", &far.url)])?;
    let done = lab.run(&["exec", "-e", "far", "--", "pwd"]).await?;
    assert_eq!(done.out(), format!("{}\n", far.folder.display()));
    let folder = other.to_string_lossy().into_owned();
    let done = lab.run(&["exec", "--cwd", &folder, "--", "pwd"]).await?;
    assert_eq!(done.out(), format!("{folder}\n"));
    Ok(())
}

#[tokio::test]
async fn ten_megabytes_arrive_byte_for_byte() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let script = "i=0; while [ $i -lt 20000 ]; do echo \"line $i of twenty thousand, and so on and so on\"; i=$((i+1)); done; head -c 10000000 /dev/zero";
    let done = lab.run(&["exec", "--", "sh", "-c", script]).await?;
    assert_eq!(done.code, Some(0), "{}", done.err());
    let mut expected = Vec::new();
    for number in 0..20_000 {
        expected.extend_from_slice(
            format!("line {number} of twenty thousand, and so on and so on\n").as_bytes(),
        );
    }
    expected.resize(expected.len() + 10_000_000, 0);
    assert!(done.stdout == expected, "{} bytes came", done.stdout.len());
    Ok(())
}

#[tokio::test]
async fn death_by_a_signal_is_128_and_the_signal() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let done = lab
        .run(&["exec", "--", "sh", "-c", "kill -TERM $$"])
        .await?;
    assert_eq!(done.code, Some(143), "{}", done.err());
    Ok(())
}

#[tokio::test]
async fn a_program_that_is_missing_is_named() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let done = lab.run(&["exec", "--", "no-such-program-here"]).await?;
    assert_eq!(done.code, Some(127), "{}", done.err());
    assert!(
        done.err().contains("no-such-program-here"),
        "{}",
        done.err()
    );
    assert_eq!(done.out(), "");
    Ok(())
}

#[tokio::test]
async fn a_lost_executor_is_255_with_the_reason() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    // It is not coming back, so nobody has to wait for it.
    std::fs::write(lab.home().join("config.toml"), "recovery_seconds = 1\n")?;
    let mut command = lab.farstep(&["exec", "--", "sh", "-c", "echo started; exec sleep 600"]);
    let mut running = Running::start(&mut command)?;
    assert_eq!(running.line().await?, "started");
    far.kill()?;
    let done = running.finish().await?;
    assert_eq!(done.code, Some(255), "{}", done.err());
    assert!(done.err().contains("far"), "{}", done.err());
    Ok(())
}

#[tokio::test]
async fn an_executor_that_is_not_there_is_255_with_its_address() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    far.kill()?;
    let address = far.url.clone();
    far.finish().await?;
    let done = lab.run(&["exec", "--", "true"]).await?;
    assert_eq!(done.code, Some(255), "{}", done.err());
    assert!(done.err().contains(&address), "{}", done.err());
    Ok(())
}

#[tokio::test]
async fn stdio_environments_serve_as_well() -> Result<()> {
    let lab = Lab::new()?;
    let folder = lab.folder("pipe")?;
    let program = lab.programs().executor.display().to_string();
    lab.environments(&format!(
        "default = \"pipe\"\n[[environments]]\nid = \"pipe\"\nprogram = '{program}'\n\
         args = [\"--listen\", \"stdio\"]\ncwd = '{}'\n[environments.env]\nMARK = \"seen\"\n",
        folder.display()
    ))?;
    let done = lab.run(&["exec", "--", "sh", "-c", "pwd; exit 3"]).await?;
    assert_eq!(
        (done.out(), done.code),
        (format!("{}\n", folder.display()), Some(3))
    );
    Ok(())
}

#[tokio::test]
async fn a_token_is_read_anew_for_each_connection_and_a_wrong_one_is_said() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new()?;
    let (theirs, ours) = (lab.home().join("theirs"), lab.home().join("ours"));
    let write = |path: &std::path::Path, text: &str, mode: u32| {
        std::fs::write(path, text)?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode))
    };
    write(&theirs, "sesame\n", 0o600)?;
    let path = theirs.display().to_string();
    let flags = ["--ws-auth", "capability-token", "--ws-token-file", &path];
    let far = lab.executor_with("far", &flags).await?;
    lab.environments(&format!(
        "default = \"far\"\n[[environments]]\nid = \"far\"\nurl = \"{}\"\n\
         [environments.farstep.auth]\nbearer = {{ file = \"ours\" }}\n",
        far.url
    ))?;
    for (token, mode, code, said) in [
        ("sesame\n", 0o600, 0, ""),
        ("guess\n", 0o600, 255, "farstep.auth.bearer"),
        ("sesame", 0o400, 0, ""),
        ("sesame", 0o640, 255, "chmod 600"),
    ] {
        let _ = std::fs::remove_file(&ours);
        write(&ours, token, mode)?;
        let done = lab.run(&["exec", "--", "true"]).await?;
        assert_eq!(done.code, Some(code), "{token:?} {mode:o}: {}", done.err());
        assert!(done.err().contains(said), "{}", done.err());
        assert!(!done.err().contains("sesame") && !done.err().contains("guess"));
    }
    Ok(())
}
