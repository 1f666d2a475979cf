//! What belongs to a session stays in it (SR-27, SR-28).

use std::collections::HashSet;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, SESSION_ATTACHED, Wire, encode, script};
use serde_json::json;

use crate::is_served;

#[tokio::test]
async fn session_ids_are_long_and_have_nothing_in_common() -> Result<()> {
    const SESSIONS: usize = 200;
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let mut ids = HashSet::new();
    for _ in 0..SESSIONS {
        let (_, session) = Wire::open(&executor.url).await?;
        ids.insert(session);
    }
    ensure!(ids.len() == SESSIONS);
    // Every hex digit but the few that a format fixes takes many values.
    let length = ids.iter().next().context("no id")?.len();
    ensure!(
        ids.iter()
            .all(|id| id.len() == length && id.chars().all(|c| c.is_ascii_hexdigit()))
    );
    let random = (0..length)
        .filter(|at| {
            ids.iter()
                .map(|id| id.as_bytes()[*at])
                .collect::<HashSet<_>>()
                .len()
                >= 12
        })
        .count();
    ensure!(random * 4 >= 128, "{random} random digits");
    Ok(())
}

#[tokio::test]
async fn an_attached_session_cannot_be_taken_and_an_unknown_one_tells_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (mut holder, session) = Wire::open(&executor.url).await?;
    let mut thief = Wire::dial(&executor.url).await?;
    for _ in 0..20 {
        let refused = thief.initialize(Some(&session)).await?;
        ensure!(refused.is_err_and(|refusal| refusal.code == SESSION_ATTACHED));
    }
    let mut texts = HashSet::new();
    let guesses = [
        "",
        "x",
        &session[1..],
        &session.to_uppercase(),
        &"0".repeat(1_000_000),
    ];
    for guess in guesses {
        let refusal = thief
            .initialize(Some(guess))
            .await?
            .err()
            .context("it exists")?;
        ensure!(refusal.code == -32600, "{guess}");
        texts.insert(refusal.message);
    }
    ensure!(texts.len() == 1, "{texts:?}");
    is_served(&mut holder).await
}

#[tokio::test]
async fn processes_and_handles_of_another_session_do_not_exist() -> Result<()> {
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let file = lab.path().join("file");
    std::fs::write(&file, "content")?;
    let (mut owner, _) = Wire::open(&executor.url).await?;
    owner.done("process/start", script("p", "exec cat")).await?;
    let open =
        json!({"path": format!("file://{}", file.display()), "handleId": "h", "mode": "read"});
    owner.done("fs/open", open.clone()).await?;

    let (mut other, _) = Wire::open(&executor.url).await?;
    let write = json!({"processId": "p", "writeId": "1", "chunk": encode(b"injected\n")});
    let unknown = other.done("process/write", write.clone()).await?;
    ensure!(unknown == json!({"status": "unknownProcess"}));
    ensure!(
        other
            .refused("process/read", json!({"processId": "p"}))
            .await?
            == -32600
    );
    let signal = json!({"processId": "p", "signal": "interrupt"});
    ensure!(other.done("process/signal", signal).await? == json!({}));
    let ended = other
        .done("process/terminate", json!({"processId": "p"}))
        .await?;
    ensure!(ended == json!({"running": false}));
    let block = json!({"handleId": "h", "offset": 0, "len": 10});
    ensure!(other.refused("fs/readBlock", block.clone()).await? == -32004);
    other.done("fs/close", json!({"handleId": "h"})).await?;
    // Both names are free here.
    other
        .done("process/start", script("p", "exec sleep 1000"))
        .await?;
    other.done("fs/open", open).await?;

    // And the owner's are as they were: one write, one line.
    owner.done("fs/readBlock", block).await?;
    let write = json!({"processId": "p", "writeId": "1", "chunk": encode(b"own\n")});
    owner.done("process/write", write).await?;
    let read = json!({"processId": "p", "waitMs": 30_000});
    let page = owner.done("process/read", read).await?;
    ensure!(page["chunks"][0]["chunk"] == encode(b"own\n"), "{page}");
    Ok(())
}

#[tokio::test]
async fn of_many_that_resume_at_once_one_gets_the_session() -> Result<()> {
    const RIVALS: usize = 20;
    let lab = Lab::new()?;
    let executor = lab.executor("far").await?;
    let (wire, session) = Wire::open(&executor.url).await?;
    drop(wire);
    // It may be noticed only now that the old connection is gone.
    drop(Wire::resume(&executor.url, &session).await?);
    let mut rivals = tokio::task::JoinSet::new();
    for _ in 0..RIVALS {
        let (url, session) = (executor.url.clone(), session.clone());
        rivals.spawn(async move {
            let mut wire = Wire::dial(&url).await?;
            let resumed = wire.initialize(Some(&session)).await?;
            anyhow::Ok((wire, resumed))
        });
    }
    // Everybody keeps his connection until all have asked.
    let mut held = Vec::new();
    while let Some(rival) = rivals.join_next().await {
        held.push(rival??);
    }
    let winners = held.iter().filter(|(_, resumed)| resumed.is_ok()).count();
    let refused = |refusal: &farstep_integration::Refusal| refusal.code == SESSION_ATTACHED;
    let losers = held
        .iter()
        .filter(|(_, resumed)| resumed.as_ref().is_err_and(refused))
        .count();
    // At first the last holder may still have had it.
    ensure!(
        winners <= 1 && winners + losers == RIVALS,
        "{winners} winners, {losers} losers"
    );
    Ok(())
}
