//! `farstep` drives a real `codex exec-server`.

use anyhow::{Result, ensure};
use farstep_integration::{Lab, MockModel, Peer, need};

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
