//! `farstep cp`: what is left out of a tree and told, times that are kept, and copies that go to
//! one place at the same time.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Fate, FaultyLink, Lab, PATIENCE, Running};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

/// A tree with a link of every kind and a FIFO.
fn furnish(root: &Path) -> Result<()> {
    let at = |name: &str| root.join(name);
    std::fs::create_dir_all(at("d/e"))?;
    std::fs::write(at("d/e/f"), "f")?;
    symlink("e/f", at("d/to-file"))?;
    symlink("d/e", at("to-dir"))?;
    symlink("/etc/hostname", at("d/out"))?;
    symlink("gone", at("d/gone\nline"))?;
    symlink("..", at("d/e/up"))?;
    mkfifoat(CWD, at("pipe"), Mode::from_raw_mode(0o600))?;
    Ok(())
}

/// Every path below a folder that is a file or a directory.
fn plain(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        ensure!(kind.is_dir() || kind.is_file(), "{name} was made");
        if kind.is_dir() {
            let inner = plain(&entry.path())?;
            found.extend(inner.into_iter().map(|inner| format!("{name}/{inner}")));
        }
        found.push(name);
    }
    found.sort();
    Ok(found)
}

/// What was left out and why, in order.
fn left_out(lines: &[Value]) -> Vec<(String, String)> {
    let told = lines.iter().filter(|line| line["leftOut"].is_string());
    let mut told: Vec<_> = told
        .map(|line| {
            let source = line["source"].as_str().unwrap_or_default();
            let name = source.split_once("tree/").map_or(source, |(_, name)| name);
            let why = line["leftOut"].as_str().unwrap_or_default();
            // A path of an environment that cannot be typed is shown as a URI.
            (name.replace("%0A", "\n"), why.to_owned())
        })
        .collect();
    told.sort();
    told
}

fn told<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(name, why)| (name.into(), why.into())).into()
}

#[tokio::test]
async fn what_is_neither_file_nor_directory_is_left_out_and_told() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    furnish(&lab.folder("tree")?)?;
    furnish(&lab.folder("far/tree")?)?;
    let everything = told([
        ("d/e/up", "link"),
        ("d/gone\nline", "link"),
        ("d/out", "link"),
        ("d/to-file", "link"),
        ("pipe", "special"),
        ("to-dir", "link"),
    ]);
    for (from, to, copy) in [
        ("tree", "far:copy", far.folder.join("copy")),
        ("far:tree", "copy", lab.path().join("copy")),
    ] {
        let done = lab.run(&["cp", "-r", "--json", from, to]).await?;
        ensure!(done.code == Some(0), "{}", done.err());
        let lines = done.json_lines()?;
        assert_eq!(left_out(&lines), everything, "{from}");
        let last = lines.last().context("no summary")?;
        assert_eq!((&last["files"], &last["leftOut"]), (&json!(1), &json!(6)));
        assert_eq!(plain(&copy)?, ["d", "d/e", "d/e/f"]);
        // A person reads one line for each kind.
        let again = lab.run(&["cp", "-r", from, to]).await?;
        ensure!(again.code == Some(0), "{}", again.err());
        ensure!(again.out().is_empty(), "{}", again.out());
        ensure!(
            again.err().contains("left out 5 links: "),
            "{}",
            again.err()
        );
        ensure!(again.err().contains("--links follow"), "{}", again.err());
        ensure!(
            again.err().contains("left out 1 thing that is neither"),
            "{}",
            again.err()
        );
        assert_eq!(again.err().lines().count(), 3, "{}", again.err());
    }
    Ok(())
}

#[tokio::test]
async fn links_are_followed_inside_of_the_tree_when_that_is_asked_for() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    furnish(&lab.folder("tree")?)?;
    furnish(&lab.folder("far/tree")?)?;
    let rest = told([
        ("d/e/up", "loop"),
        ("d/gone\nline", "dangling"),
        ("d/out", "outside"),
        ("pipe", "special"),
        ("to-dir/up", "loop"),
    ]);
    for (from, to, copy) in [
        ("tree", "far:copy", far.folder.join("copy")),
        ("far:tree", "copy", lab.path().join("copy")),
        ("far:tree", "far:within", far.folder.join("within")),
    ] {
        let done = lab
            .run(&["cp", "-r", "--json", "--links", "follow", from, to])
            .await?;
        ensure!(done.code == Some(0), "{}", done.err());
        assert_eq!(left_out(&done.json_lines()?), rest, "{from}");
        assert_eq!(
            plain(&copy)?,
            ["d", "d/e", "d/e/f", "d/to-file", "to-dir", "to-dir/f"]
        );
        assert_eq!(std::fs::read_to_string(copy.join("d/to-file"))?, "f");
    }
    Ok(())
}

#[tokio::test]
async fn a_directory_that_is_named_through_a_link_is_copied() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    std::fs::create_dir(far.folder.join("real"))?;
    std::fs::write(far.folder.join("real/f"), "f")?;
    symlink("real", far.folder.join("link"))?;
    let done = lab.run(&["cp", "-r", "far:link", "copy"]).await?;
    ensure!(done.code == Some(0), "{}", done.err());
    assert_eq!(plain(&lab.path().join("copy"))?, ["f"]);
    Ok(())
}

fn set_time(path: &Path, ms: u64) -> Result<()> {
    let time = UNIX_EPOCH + Duration::from_millis(ms);
    Ok(std::fs::File::open(path)?.set_modified(time)?)
}

fn time(path: &Path) -> Result<u128> {
    let modified = path.metadata()?.modified()?;
    Ok(modified.duration_since(UNIX_EPOCH)?.as_millis())
}

#[tokio::test]
async fn copies_are_as_old_as_what_they_are_copied_from_when_that_is_asked_for() -> Result<()> {
    let lab = Lab::new()?;
    let (one, two) = (lab.executor("one").await?, lab.executor("two").await?);
    lab.websockets(&[("one", &one.url), ("two", &two.url)])?;
    let tree = lab.folder("tree")?;
    std::fs::create_dir_all(tree.join("d/empty"))?;
    std::fs::write(tree.join("d/f"), "small")?;
    std::fs::write(tree.join("long"), vec![7; 3 * MIB])?;
    std::fs::set_permissions(tree.join("long"), std::fs::Permissions::from_mode(0o600))?;
    let times = [
        ("d/empty", 981_173_106_789),
        ("d/f", 1_000_000_000_001),
        ("long", 1_234_567_890_123),
        ("d", 1_111_111_111_111),
        ("", 1_500_000_000_500),
    ];
    for (name, ms) in times {
        set_time(&tree.join(name), ms)?;
    }
    // Twice: what is there already becomes as old, too.
    for round in 0..2 {
        for (from, to, copy) in [
            ("tree/.", "one:copy", one.folder.join("copy")),
            ("one:copy/.", "two:copy", two.folder.join("copy")),
            ("two:copy/.", "back", lab.path().join("back")),
            ("one:copy/.", "one:within", one.folder.join("within")),
        ] {
            let done = lab.run(&["cp", "-rp", from, to]).await?;
            ensure!(done.code == Some(0), "{}", done.err());
            for (name, ms) in times {
                let found = time(&copy.join(name))?;
                assert_eq!(found, u128::from(ms), "{to} {name} {round}");
            }
        }
    }
    // Without the flag they are new.
    let before = SystemTime::now() - Duration::from_secs(60);
    let done = lab.run(&["cp", "one:copy/long", "new"]).await?;
    ensure!(done.code == Some(0), "{}", done.err());
    ensure!(lab.path().join("new").metadata()?.modified()? > before);
    Ok(())
}

/// Bytes without a pattern that repeats soon.
fn bytes(count: usize, salt: u8) -> Vec<u8> {
    (0..count as u32)
        .map(|n| (n.wrapping_mul(n) >> 9) as u8 ^ salt)
        .collect()
}

/// Waits until so many partial files in a folder have grown.
async fn growing(folder: &Path, count: usize) -> Result<()> {
    let waiting = async {
        loop {
            let mut grown = 0;
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let size = entry.metadata().map_or(0, |found| found.size());
                grown += usize::from(name.ends_with(".farstep-partial") && size > MIB as u64);
            }
            if grown >= count {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .context("nothing grew")?
}

#[tokio::test]
async fn two_uploads_to_one_place_do_not_spoil_each_other() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    let link = FaultyLink::start(&far.url).await?;
    link.plan(Fate {
        delay: Duration::from_millis(2),
        ..Fate::default()
    });
    lab.websockets(&[("far", &link.url)])?;
    let (one, two) = (bytes(24 * MIB, 1), bytes(24 * MIB, 2));
    std::fs::write(lab.path().join("one"), &one)?;
    std::fs::write(lab.path().join("two"), &two)?;
    let first = Running::start(&mut lab.farstep(&["cp", "one", "far:f"]))?;
    let second = Running::start(&mut lab.farstep(&["cp", "two", "far:f"]))?;
    growing(&far.folder, 2).await?;
    // The same one once more is told that it is under way.
    let third = lab.run(&["cp", "one", "far:f"]).await?;
    ensure!(third.code == Some(1), "{:?}", third.code);
    ensure!(third.err().contains("under way"), "{}", third.err());
    for running in [first, second] {
        let done = running.finish().await?;
        ensure!(done.code == Some(0), "{}", done.err());
    }
    let there = std::fs::read(far.folder.join("f"))?;
    ensure!(there == one || there == two, "they were mixed");
    // Nothing of ours is left.
    assert_eq!(std::fs::read_dir(&far.folder)?.count(), 1);
    Ok(())
}
