//! What attackers can make an executor hold (SR-24, SR-26).

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, Wire, script};
use serde_json::json;

use crate::{MIB, is_served};

#[tokio::test]
async fn large_answers_nobody_reads_are_not_made() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut other, _) = Wire::open(&executor.url).await?;
    let file = lab.path().join("big");
    std::fs::write(&file, vec![b'x'; 40 << 20])?;
    let file = json!({"path": format!("file://{}", file.display())});
    let before = executor.memory()?.now;
    let mut asked = Vec::new();
    for _ in 0..8 {
        let (mut wire, _) = Wire::open(&executor.url).await?;
        for _ in 0..8 {
            wire.post("fs/readFile", file.clone()).await?;
        }
        asked.push(wire);
    }
    for _ in 0..20 {
        is_served(&mut other).await?;
    }
    // 64 answers of 53 MiB were asked for.
    let grown = executor.memory()?.at_most.saturating_sub(before);
    ensure!(grown < 128 * MIB, "{} MiB", grown / MIB);
    Ok(())
}

#[tokio::test]
async fn finished_processes_do_not_fill_the_memory() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut wire, _) = Wire::open(&executor.url).await?;
    let before = executor.memory()?.now;
    for process in 0..150 {
        let write = "exec head -c 2500000 /dev/zero";
        wire.done("process/start", script(&process.to_string(), write))
            .await?;
        loop {
            let message = wire.notification().await?.context("the connection ended")?;
            if message["method"] == "process/closed" {
                break;
            }
        }
    }
    // 375 MB were written; 256 MiB may be kept, and what is kept is worth less with time.
    let grown = executor.memory()?.at_most.saturating_sub(before);
    ensure!(grown < 300 * MIB, "{} MiB", grown / MIB);
    is_served(&mut wire).await
}
