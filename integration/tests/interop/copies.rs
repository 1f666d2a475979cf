//! `farstep cp` to and from a real `codex exec-server`, as far as its wire goes: it has no rename,
//! no digest, no modes and no handle that does not empty its file, so its shell stands in.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use farstep_integration::{Fate, FaultyLink, Lab, Peer, need};

fn found() -> Option<Peer> {
    need(Peer::find(), "the peer: FARSTEP_CODEX names no program")
}

/// Bytes without a pattern that repeats soon.
fn bytes(count: u32) -> Vec<u8> {
    (0..count)
        .map(|n| (n.wrapping_mul(n) >> 9) as u8 ^ (n >> 20) as u8)
        .collect()
}

#[tokio::test]
async fn a_tree_goes_to_the_peer_and_comes_back_with_its_modes() -> Result<()> {
    let Some(peer) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let far = peer.executor(&lab, "far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let tree = lab.folder("tree")?;
    std::fs::create_dir(tree.join("d"))?;
    let files = [
        ("crlf", b"a\r\nb\0".to_vec(), 0o600),
        ("d/empty", Vec::new(), 0o644),
        ("d/run", b"#!/bin/sh\n".to_vec(), 0o755),
        ("d/long", bytes(3_000_000), 0o640),
    ];
    let set_mode = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    };
    for (name, content, mode) in &files {
        std::fs::write(tree.join(name), content)?;
        set_mode(&tree.join(name), *mode)?;
    }
    set_mode(&tree.join("d"), 0o711)?;
    for (from, to) in [("tree", "far:there"), ("far:there", "back")] {
        let done = lab.run(&["cp", "-r", from, to]).await?;
        ensure!(done.code == Some(0), "{}", done.err());
    }
    for place in [far.folder.join("there"), lab.path().join("back")] {
        let mode = |name: &str| -> Result<u32> {
            Ok(place.join(name).metadata()?.permissions().mode() & 0o7777)
        };
        for (name, content, wanted) in &files {
            ensure!(std::fs::read(place.join(name))? == *content, "{name}");
            assert_eq!(mode(name)?, *wanted, "{name}");
        }
        assert_eq!(mode("d")?, 0o711);
        assert_eq!(
            std::fs::read_dir(&place)?.count(),
            2,
            "something is left over"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_copy_to_and_from_the_peer_survives_a_link_that_breaks() -> Result<()> {
    const SIZE: u32 = 40 << 20;
    let Some(peer) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let far = peer.executor(&lab, "far").await?;
    let link = FaultyLink::start(&far.url).await?;
    lab.websockets(&[("far", &link.url)])?;
    let content = bytes(SIZE);
    std::fs::write(lab.path().join("f"), &content)?;
    for (from, to, fate) in [
        (
            "f",
            "far:g",
            Fate {
                cut_after_sent: Some(24 << 20),
                ..Fate::default()
            },
        ),
        (
            "far:g",
            "h",
            Fate {
                cut_after: Some(24 << 20),
                ..Fate::default()
            },
        ),
    ] {
        link.plan(fate);
        let before = link.accepted();
        let done = lab.run(&["cp", from, to]).await?;
        ensure!(done.code == Some(0), "{}", done.err());
        ensure!(link.accepted() > before + 2, "nothing broke");
    }
    for path in [far.folder.join("g"), lab.path().join("h")] {
        ensure!(std::fs::read(&path)? == content, "{}", path.display());
    }
    // Neither a partial file nor what followed it.
    assert_eq!(std::fs::read_dir(&far.folder)?.count(), 1);
    Ok(())
}

#[tokio::test]
async fn links_of_the_peer_are_told_and_times_are_kept_to_the_second() -> Result<()> {
    use std::os::unix::fs::symlink;
    use std::time::{Duration, UNIX_EPOCH};
    let Some(peer) = found() else { return Ok(()) };
    let lab = Lab::new()?;
    let far = peer.executor(&lab, "far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let tree = far.folder.join("tree");
    std::fs::create_dir_all(tree.join("d"))?;
    std::fs::write(tree.join("d/f"), "f")?;
    symlink("d/f", tree.join("file"))?;
    symlink("gone", tree.join("d/gone"))?;
    symlink("/etc", tree.join("d/out"))?;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, tree.join("d/pipe"), mode)?;
    let old = UNIX_EPOCH + Duration::from_millis(1_111_111_111_987);
    for name in ["d/f", "d", ""] {
        std::fs::File::open(tree.join(name))?.set_modified(old)?;
    }
    let done = lab
        .run(&["cp", "-rp", "--json", "far:tree", "here"])
        .await?;
    ensure!(done.code == Some(0), "{}", done.err());
    let lines = done.json_lines()?;
    let mut told: Vec<_> = lines
        .iter()
        .filter(|line| line["leftOut"].is_string())
        .map(|line| line["leftOut"].as_str().unwrap_or_default().to_owned())
        .collect();
    told.sort();
    assert_eq!(told, ["link", "link", "link", "special"], "{}", done.out());
    let done = lab
        .run(&["cp", "-rp", "--links", "follow", "far:tree", "followed"])
        .await?;
    ensure!(done.code == Some(0), "{}", done.err());
    assert_eq!(
        std::fs::read_to_string(lab.path().join("followed/file"))?,
        "f"
    );
    for gone in ["d/gone", "d/out", "d/pipe"] {
        let path = lab.path().join("followed").join(gone);
        ensure!(path.symlink_metadata().is_err(), "{gone}");
    }
    // Its `touch` knows whole seconds; what is read is exact.
    let done = lab.run(&["cp", "-rp", "here", "far:there"]).await?;
    ensure!(done.code == Some(0), "{}", done.err());
    let second = UNIX_EPOCH + Duration::from_secs(1_111_111_111);
    for name in ["d/f", "d", ""] {
        let here = lab.path().join("here").join(name).metadata()?;
        let there = far.folder.join("there").join(name).metadata()?;
        assert_eq!(here.modified()?, old, "{name}");
        assert_eq!(there.modified()?, second, "{name}");
    }
    Ok(())
}
