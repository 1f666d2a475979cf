//! Our executor at another implementation of the rendezvous (`integration/peer/contract.py`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, PATIENCE, Running, need};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio_util::task::AbortOnDropHandle;

#[tokio::test]
async fn our_executor_keeps_the_contract_of_the_peers_rendezvous() -> Result<()> {
    let python = std::env::var_os("FARSTEP_PYTHON");
    let Some(python) = need(python, "a Python with websockets: FARSTEP_PYTHON") else {
        return Ok(());
    };
    let lab = Lab::new()?;
    let folder = lab.folder("box")?;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("peer/contract.py");
    let mut command = Command::new(python);
    command.arg(program).args(["box", "tok-en"]).arg(&folder);
    let mut contract = Running::start(&mut command)?;
    let url = contract.line().await.context("it does not listen")?;
    let mut command = Command::new(&lab.programs().executor);
    command
        .args(["--remote", &url, "--environment-id", "box", "--allow-root"])
        .current_dir(&folder)
        .env("XDG_STATE_HOME", lab.state())
        .env("FARSTEP_API_KEY", "tok-en");
    let _executor = Running::start(&mut command)?;
    // Ten seconds of it are health that has to be seen, and its cipher is slow.
    let done = contract.finish_within(2 * PATIENCE).await?;
    ensure!(done.code == Some(0), "{}\n{}", done.out(), done.err());
    let checks = done
        .out()
        .lines()
        .filter(|line| line.starts_with("ok "))
        .count();
    ensure!(checks >= 43, "{checks} checks:\n{}", done.out());
    Ok(())
}

/// Answers every request with 401, and counts them.
async fn refuse(listener: tokio::net::TcpListener, counted: Arc<AtomicUsize>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = vec![0; 8192];
        let _ = stream.read(&mut request).await;
        counted.fetch_add(1, Ordering::SeqCst);
        let answer = "HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

#[tokio::test]
async fn a_credential_that_is_refused_is_not_hammered_with() -> Result<()> {
    let lab = Lab::new()?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let counted = Arc::new(AtomicUsize::new(0));
    let _refusing = AbortOnDropHandle::new(tokio::spawn(refuse(listener, Arc::clone(&counted))));
    let mut command = Command::new(&lab.programs().executor);
    command
        .args(["--remote", &url, "--environment-id", "box", "--allow-root"])
        .current_dir(lab.folder("box")?)
        .env("XDG_STATE_HOME", lab.state())
        .env("FARSTEP_API_KEY", "tok-en");
    let done = Running::start(&mut command)?.finish().await?;
    ensure!(done.code == Some(1), "{:?} {}", done.code, done.err());
    ensure!(done.err().contains("401"), "{}", done.err());
    ensure!(!done.err().contains("tok-en"), "{}", done.err());
    let asked = counted.load(Ordering::SeqCst);
    ensure!((1..=3).contains(&asked), "it asked {asked} times");
    Ok(())
}
