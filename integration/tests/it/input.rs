//! What a command reads is what we read.

use anyhow::{Result, ensure};
use farstep_integration::{Lab, Luck, Running};
use tokio::io::AsyncWriteExt as _;

async fn piped(lab: &Lab, arguments: &[&str], input: Vec<u8>) -> Result<(Option<i32>, Vec<u8>)> {
    let mut command = lab.farstep(arguments);
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take();
    let feeding = async {
        if let Some(stdin) = &mut stdin {
            // A command that reads no further closes the pipe, in the end.
            let _ = stdin.write_all(&input).await;
        }
        stdin = None;
    };
    let waiting = child.wait_with_output();
    let all = async { tokio::join!(feeding, waiting).1 };
    let done = tokio::time::timeout(farstep_integration::PATIENCE, all).await??;
    Ok((done.status.code(), done.stdout))
}

#[tokio::test]
async fn megabytes_of_any_bytes_go_there_and_come_back() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let mut luck = Luck::new(7);
    let bytes: Vec<u8> = (0..375_000)
        .flat_map(|_| luck.draw().to_le_bytes())
        .collect();
    let (code, back) = piped(&lab, &["exec", "--", "cat"], bytes.clone()).await?;
    ensure!(
        code == Some(0) && back == bytes,
        "{} bytes came back",
        back.len()
    );
    Ok(())
}

#[tokio::test]
async fn a_command_that_reads_no_further_does_not_wait_for_the_rest() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let lines = b"first\n".repeat(2_000_000);
    let (code, out) = piped(&lab, &["exec", "--", "head", "-n", "1"], lines).await?;
    assert_eq!((code, out), (Some(0), b"first\n".to_vec()));
    Ok(())
}

#[tokio::test]
async fn a_command_that_reads_slowly_holds_our_reading_back() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let gate = far.folder.join("go");
    let script = format!(
        "until [ -e {} ]; do sleep 0.02; done; wc -c",
        gate.display()
    );
    let mut command = lab.farstep(&["exec", "--", "sh", "-c", &script]);
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let Some(mut stdin) = child.stdin.take() else {
        anyhow::bail!("no standard input");
    };
    let piece = vec![b'x'; 1 << 20];
    let mut written = 0;
    // Until nothing is taken for a while: the executor holds 4 MiB, and pipes and we a little more.
    let still = std::time::Duration::from_millis(1500);
    while let Ok(wrote) = tokio::time::timeout(still, stdin.write(&piece)).await {
        written += wrote?;
        ensure!(written < 32 << 20, "nothing holds us back");
    }
    std::fs::write(&gate, "")?;
    drop(stdin);
    let done = tokio::time::timeout(farstep_integration::PATIENCE, child.wait_with_output());
    let counted = String::from_utf8(done.await??.stdout)?;
    assert_eq!(counted.trim().parse::<usize>()?, written);
    Ok(())
}

#[tokio::test]
async fn without_standard_input_there_is_none() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    // Ours stays open, and nobody reads it.
    let mut running =
        Running::start(&mut lab.farstep(&["exec", "-n", "--", "sh", "-c", "cat; echo end"]))?;
    assert_eq!(running.line().await?, "end");
    Ok(())
}
