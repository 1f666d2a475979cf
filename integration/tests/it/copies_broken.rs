//! Copies whose connection breaks, whose executor dies and who are interrupted: they go on where
//! they were, and memory stays bounded however large a file is.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Executor, Fate, FaultyLink, Lab, PATIENCE, Running};
use rustix::process::Signal;
use tokio::time::timeout;

const MIB: u64 = 1 << 20;

/// What either end may have resident at most. A copy holds 16 blocks of 1 MiB, each for a moment
/// in two or three forms.
const MEMORY_MAX: u64 = 160 * MIB;

/// Between two looks at what gives no event.
const LOOK: Duration = Duration::from_millis(20);

/// How large the large file is; `FARSTEP_COPY_BYTES` asks for more.
fn large() -> Result<u64> {
    let is_ci = std::env::var("CI").as_deref() == Ok("true");
    match std::env::var("FARSTEP_COPY_BYTES") {
        Ok(bytes) => Ok(bytes.parse()?),
        Err(_) if is_ci => Ok(1024 * MIB),
        Err(_) => Ok(256 * MIB),
    }
}

/// A file in which no two blocks are the same.
fn furnish(path: &Path, size: u64) -> Result<()> {
    let mut block: Vec<u8> = (0..MIB as u32)
        .map(|n| (n.wrapping_mul(n) >> 11) as u8 | 1)
        .collect();
    let mut file = std::fs::File::create(path)?;
    let mut left = size;
    while left > 0 {
        block[..8].copy_from_slice(&left.to_le_bytes());
        let piece = usize::try_from(left.min(MIB))?;
        file.write_all(&block[..piece])?;
        left -= piece as u64;
    }
    Ok(())
}

fn same(a: &Path, b: &Path) -> Result<()> {
    let (mut a, mut b) = (std::fs::File::open(a)?, std::fs::File::open(b)?);
    ensure!(a.metadata()?.len() == b.metadata()?.len(), "lengths differ");
    let (mut of_a, mut of_b) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    loop {
        let read = a.read(&mut of_a)?;
        if read == 0 {
            return Ok(());
        }
        b.read_exact(&mut of_b[..read])?;
        ensure!(of_a[..read] == of_b[..read], "contents differ");
    }
}

/// The most memory a program has had resident, while it runs.
fn peak(running: &Running) -> Option<u64> {
    let path = format!("/proc/{}/status", running.pid().ok()?.as_raw_nonzero());
    let status = std::fs::read_to_string(path).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The partial file of a name, if there is one.
fn partial(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let (head, tail) = (format!(".{name}."), "farstep-partial");
    let found = names.find(|found| found.starts_with(&head) && found.ends_with(tail));
    Some(folder.join(found?))
}

/// Waits until the partial file of a name has so many bytes.
async fn grown(folder: &Path, name: &str, to: u64) -> Result<PathBuf> {
    let waiting = async {
        loop {
            if let Some(path) = partial(folder, name)
                && path.metadata().map_or(0, |found| found.len()) >= to
            {
                return path;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let waited = timeout(PATIENCE, waiting).await;
    waited.with_context(|| format!("{name} did not grow"))
}

/// Runs a copy to its end; gives its JSON lines and the most memory it took.
async fn copy(lab: &Lab, from: &str, to: &str) -> Result<(Vec<serde_json::Value>, u64)> {
    let running = Running::start(&mut lab.farstep(&["cp", "--json", from, to]))?;
    let mut most = 0;
    let pid = running.pid()?;
    let status = format!("/proc/{}/status", pid.as_raw_nonzero());
    let mut ended = std::pin::pin!(running.finish_within(10 * PATIENCE));
    let done = loop {
        tokio::select! {
            done = &mut ended => break done?,
            () = tokio::time::sleep(LOOK) => {}
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        if let Some(Ok(kilobytes)) = kilobytes.map(str::parse::<u64>) {
            most = kilobytes * 1024;
        }
    };
    ensure!(done.code == Some(0), "{}", done.err());
    ensure!(most > 0, "nobody looked");
    Ok((done.json_lines()?, most))
}

#[tokio::test]
async fn a_large_file_goes_over_a_link_that_breaks_in_bounded_memory() -> Result<()> {
    let size = large()?;
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    let link = FaultyLink::start(&far.url).await?;
    lab.websockets(&[("far", &link.url)])?;
    let (file, there, back) = (
        lab.path().join("large"),
        far.folder.join("there"),
        lab.path().join("back"),
    );
    furnish(&file, size)?;
    // Base64 makes it a third longer, so each way breaks three times.
    let third = size * 4 / 3 * 2 / 7;
    link.plan(Fate {
        cut_after_sent: Some(third),
        ..Fate::default()
    });
    let began = std::time::Instant::now();
    let (lines, ours) = copy(&lab, "large", "far:there").await?;
    ensure!(lines[0]["bytes"] == size, "{}", lines[0]);
    let connections = link.accepted();
    ensure!(connections > 3, "nothing broke");
    same(&file, &there)?;
    eprintln!(
        "there: {size} bytes, {connections} connections, {:?}, at most {} MiB here, {} MiB there",
        began.elapsed(),
        ours / MIB,
        far.memory()?.at_most / MIB
    );
    std::fs::remove_file(&file)?;
    link.plan(Fate {
        cut_after: Some(third),
        ..Fate::default()
    });
    let began = std::time::Instant::now();
    let (lines, again) = copy(&lab, "far:there", "back").await?;
    ensure!(lines[0]["bytes"] == size, "{}", lines[0]);
    ensure!(link.accepted() > connections + 3, "nothing broke");
    same(&there, &back)?;
    let theirs = far.memory()?.at_most;
    eprintln!(
        "back: {:?}, at most {} MiB here, {} MiB there",
        began.elapsed(),
        again / MIB,
        theirs / MIB
    );
    ensure!(
        ours.max(again) < MEMORY_MAX,
        "{} bytes here",
        ours.max(again)
    );
    ensure!(theirs < MEMORY_MAX, "{theirs} bytes there");
    Ok(())
}

/// A file that takes seconds over a link that takes its time.
const SLOW: u64 = 64 * MIB;

fn slowly() -> Fate {
    Fate {
        delay: Duration::from_millis(2),
        ..Fate::default()
    }
}

async fn interrupt(running: Running) -> Result<()> {
    running.signal(Signal::INT)?;
    let done = running.finish().await?;
    ensure!(done.code == Some(130), "{:?}", done.code);
    ensure!(done.err().contains("goes on from here"), "{}", done.err());
    Ok(())
}

/// Waits until the executor has the file open no more.
async fn let_go(far: &Executor, file: &Path) -> Result<()> {
    let file = file.canonicalize()?;
    let open = format!("/proc/{}/fd", far.running().pid()?.as_raw_nonzero());
    loop {
        let mut links = std::fs::read_dir(&open)?.filter_map(|fd| fd.ok()?.path().read_link().ok());
        if !links.any(|link| link == file) {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_copy_that_was_interrupted_goes_on_where_it_was() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    let link = FaultyLink::start(&far.url).await?;
    lab.websockets(&[("far", &link.url)])?;
    furnish(&lab.path().join("f"), SLOW)?;
    for (from, to, folder, sure) in [
        // What was under way may have been written out of order, and is written again.
        ("f", "far:g", far.folder.clone(), 8 * MIB),
        ("far:g", "h", lab.path().to_owned(), 0),
    ] {
        link.plan(slowly());
        let name = to.trim_start_matches("far:");
        let running = Running::start(&mut lab.farstep(&["cp", from, to]))?;
        let partial = grown(&folder, name, 20 * MIB).await?;
        interrupt(running).await?;
        // What the executor had already is written behind the end of the copy.
        timeout(PATIENCE, let_go(&far, &partial)).await??;
        let there = partial.metadata()?.len();
        ensure!(there < SLOW, "it was not interrupted");
        ensure!(
            !folder.join(name).exists(),
            "it appeared before it was whole"
        );
        link.plan(Fate::default());
        let (lines, _) = copy(&lab, from, to).await?;
        ensure!(
            lines[0]["resumedAt"] == there - sure,
            "{} of {there}",
            lines[0]
        );
        same(&lab.path().join("f"), &folder.join(name))?;
        ensure!(!partial.exists());
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_for_everybody_is_not_while_it_is_copied_either() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    let link = FaultyLink::start(&far.url).await?;
    lab.websockets(&[("far", &link.url)])?;
    let file = lab.path().join("f");
    furnish(&file, SLOW)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640))?;
    link.plan(slowly());
    for (from, to, folder) in [
        ("f", "far:g", far.folder.clone()),
        ("far:f", "h", lab.path().to_owned()),
    ] {
        if from == "far:f" {
            std::fs::copy(&file, far.folder.join("f"))?;
        }
        let name = to.trim_start_matches("far:");
        let running = Running::start(&mut lab.farstep(&["cp", from, to]))?;
        let partial = grown(&folder, name, 2 * MIB).await?;
        let mode = partial.metadata()?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{mode:o}");
        interrupt(running).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_there_of_another_file_is_not_gone_on_with() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    let link = FaultyLink::start(&far.url).await?;
    lab.websockets(&[("far", &link.url)])?;
    furnish(&lab.path().join("f"), SLOW)?;
    let other = vec![7; 11 * MIB as usize];
    std::fs::write(lab.path().join(".h.farstep-partial"), &other)?;
    link.plan(slowly());
    let running = Running::start(&mut lab.farstep(&["cp", "f", "far:g"]))?;
    let partial = grown(&far.folder, "g", 2 * MIB).await?;
    interrupt(running).await?;
    link.plan(Fate::default());
    std::fs::write(partial, &other)?;
    for (from, to) in [("f", "far:g"), ("far:g", "h")] {
        let (lines, _) = copy(&lab, from, to).await?;
        ensure!(lines[0]["resumedAt"] == 0, "{}", lines[0]);
    }
    same(&lab.path().join("f"), &lab.path().join("h"))?;
    // The same content is not asked about either when nobody wants that.
    let mut part = std::fs::read(lab.path().join("f"))?;
    part.truncate(11 * MIB as usize);
    std::fs::write(lab.path().join(".i.farstep-partial"), &part)?;
    let done = lab
        .run(&["cp", "--json", "--no-resume", "far:g", "i"])
        .await?;
    ensure!(done.json_lines()?[0]["resumedAt"] == 0, "{}", done.out());
    Ok(())
}

#[tokio::test]
async fn two_copies_to_one_place_do_not_write_into_each_other() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    std::fs::write(far.folder.join("f"), "x")?;
    let partial = std::fs::File::create(lab.path().join(".f.farstep-partial"))?;
    partial.lock()?;
    let done = lab.run(&["cp", "far:f", "."]).await?;
    ensure!(done.code == Some(1), "{}", done.err());
    ensure!(done.err().contains("under way"), "{}", done.err());
    partial.unlock()?;
    let done = lab.run(&["cp", "far:f", "."]).await?;
    ensure!(done.code == Some(0), "{}", done.err());
    Ok(())
}

/// An executor at a port that is known, so that another one can take its place when it has ended.
async fn executor_at(lab: &Lab, url: &str) -> Result<Executor> {
    let mut command = tokio::process::Command::new(&lab.programs().executor);
    command
        .args(["--listen", url])
        .env("XDG_STATE_HOME", lab.state());
    Executor::start(&mut command, lab.folder("far")?).await
}

#[tokio::test]
async fn a_copy_goes_on_with_the_executor_that_takes_the_place_of_one_that_died() -> Result<()> {
    let lab = Lab::new()?;
    let mut far = lab.executor("far").await?;
    let url = far.url.clone();
    let link = FaultyLink::start(&url).await?;
    lab.websockets(&[("far", &link.url)])?;
    furnish(&lab.path().join("f"), SLOW)?;
    for (from, to, folder) in [
        ("f", "far:g", far.folder.clone()),
        ("far:g", "h", lab.path().to_owned()),
    ] {
        link.plan(slowly());
        let name = to.trim_start_matches("far:");
        let running = Running::start(&mut lab.farstep(&["cp", from, to]))?;
        let partial = grown(&folder, name, 20 * MIB).await?;
        ensure!(peak(&running).is_some(), "it has ended already");
        link.plan(Fate::default());
        far.kill()?;
        far.finish().await?;
        far = executor_at(&lab, &url).await?;
        let done = running.finish().await?;
        ensure!(done.code == Some(0), "{}", done.err());
        same(&lab.path().join("f"), &folder.join(name))?;
        ensure!(!partial.exists());
    }
    Ok(())
}

#[tokio::test]
async fn an_executor_that_does_not_come_back_is_255_and_what_is_there_stays() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    let link = FaultyLink::start(&far.url).await?;
    lab.websockets(&[("far", &link.url)])?;
    std::fs::write(lab.home().join("config.toml"), "recovery_seconds = 1\n")?;
    furnish(&far.folder.join("f"), SLOW)?;
    link.plan(slowly());
    let running = Running::start(&mut lab.farstep(&["cp", "far:f", "f"]))?;
    let partial = grown(lab.path(), "f", 4 * MIB).await?;
    far.kill()?;
    let done = running.finish().await?;
    ensure!(done.code == Some(255), "{:?} {}", done.code, done.err());
    ensure!(done.err().contains("env test far"), "{}", done.err());
    ensure!(partial.metadata()?.len() >= 4 * MIB);
    Ok(())
}
