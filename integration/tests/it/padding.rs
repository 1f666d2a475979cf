//! What a relay can still see of a stream whose ends agreed to pad.

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Finished, Lab, Records, Rendezvous, Role, Running, Seen};
use farstep_protocol::noise::padding::BUCKETS;

/// A node behind a link that notes the sizes of records, and an executor behind both.
struct Scene {
    lab: Lab,
    node: Rendezvous,
    records: Records,
    harness: String,
    _executor: Running,
}

impl Scene {
    async fn start(flags: &[&str]) -> Result<Scene> {
        let lab = Lab::new()?;
        let mut node = Rendezvous::start(&lab).await?;
        let records = Records::start(&node.url).await?;
        node.move_behind(&records.url).await?;
        let token = node.token("executor").await?;
        let (executor, _) = node.executor_with(&lab, "box", &token, flags).await?;
        let harness = node.token("harness").await?;
        Ok(Scene {
            lab,
            node,
            records,
            harness,
            _executor: executor,
        })
    }

    /// What it is like with these lines in the entry, and which records that took.
    async fn exec(&self, entry: &str, script: &str) -> Result<(Finished, Vec<Seen>)> {
        let entry = self.node.entry("box", entry);
        self.lab
            .environments(&format!("default = \"box\"\n{entry}"))?;
        let mut command = self.lab.farstep(&["exec", "--", "sh", "-c", script]);
        let running = Running::start(command.env("RDV_TOKEN", &self.harness))?;
        let done = running.finish().await?;
        Ok((done, self.records.take()))
    }
}

fn sizes(seen: &[Seen], whose: Role) -> Vec<usize> {
    let whose = seen.iter().filter(|record| record.from == whose);
    whose.map(|record| record.bytes).collect()
}

fn is_bucket(size: &usize) -> bool {
    BUCKETS.contains(size)
}

#[tokio::test]
async fn a_relay_sees_a_few_sizes_and_everything_arrives_as_without() -> Result<()> {
    let scene = Scene::start(&[]).await?;
    let script = "head -c 500000 /dev/zero; printf well >&2; exit 9";
    for (entry, is_padded) in [
        ("padding = true", true),
        ("", false),
        ("padding = false", false),
    ] {
        let (done, seen) = scene.exec(entry, script).await?;
        ensure!(done.code == Some(9), "{:?} {}", done.code, done.err());
        ensure!(done.err().ends_with("well"), "{}", done.err());
        assert!(done.stdout == vec![0; 500_000], "{}", done.stdout.len());
        let (theirs, ours) = (sizes(&seen, Role::Executor), sizes(&seen, Role::Harness));
        ensure!(theirs.len() > 8 && ours.len() > 2, "{seen:?}");
        let begins = ours.iter().position(|size| *size == 0);
        if !is_padded {
            ensure!(begins.is_none() && !theirs.contains(&0), "{seen:?}");
            ensure!(!theirs.iter().all(is_bucket), "{seen:?}");
            continue;
        }
        // The executor's answer is padded already. What comes before the orchestrator knows is the
        // first exchange.
        let (first, rest) = theirs.split_first().context("something")?;
        ensure!(*first == 0 && rest.iter().all(is_bucket), "{theirs:?}");
        let begins = begins.context("the orchestrator never began")?;
        ensure!(begins <= 2, "{ours:?}");
        ensure!(ours[begins + 1..].iter().all(is_bucket), "{ours:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_executor_that_never_pads_is_told_nothing_by_who_insists() -> Result<()> {
    let scene = Scene::start(&["--padding", "never"]).await?;
    let (done, seen) = scene.exec("padding = true", "echo told").await?;
    ensure!(done.code == Some(255), "{:?} {}", done.code, done.out());
    ensure!(
        done.err().contains("`farstep.padding`") && done.err().contains("--padding never"),
        "{}",
        done.err()
    );
    // The first exchange, and no more.
    let ours = sizes(&seen, Role::Harness);
    ensure!(ours.len() <= 2 && !ours.contains(&0), "{seen:?}");
    let (done, _) = scene.exec("", "echo told").await?;
    ensure!(done.out() == "told\n", "{}", done.err());
    Ok(())
}

#[tokio::test]
async fn an_executor_that_always_pads_lets_in_only_who_does() -> Result<()> {
    let scene = Scene::start(&["--padding", "always"]).await?;
    let (done, seen) = scene.exec("", "echo told").await?;
    ensure!(done.code == Some(255), "{:?} {}", done.code, done.out());
    ensure!(done.err().contains("padding = true"), "{}", done.err());
    ensure!(!sizes(&seen, Role::Executor).contains(&0), "{seen:?}");
    let (done, _) = scene.exec("padding = true", "echo told").await?;
    ensure!(done.out() == "told\n", "{}", done.err());
    Ok(())
}

#[tokio::test]
async fn a_padded_session_goes_on_padded_when_the_node_was_away() -> Result<()> {
    let mut scene = Scene::start(&[]).await?;
    let entry = scene.node.entry("box", "padding = true");
    scene
        .lab
        .environments(&format!("default = \"box\"\n{entry}"))?;
    let script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; sleep 0.01; done";
    let mut command = scene.lab.farstep(&["exec", "--", "sh", "-c", script]);
    let mut running = Running::start(command.env("RDV_TOKEN", &scene.harness))?;
    for expected in 1..=50 {
        assert_eq!(running.line().await?, expected.to_string());
    }
    scene.node.move_behind(&scene.records.url).await?;
    for expected in 51..=300 {
        assert_eq!(running.line().await?, expected.to_string());
    }
    let done = running.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    let seen = scene.records.take();
    let mut streams: Vec<&str> = seen.iter().map(|record| record.stream.as_str()).collect();
    streams.sort_unstable();
    streams.dedup();
    ensure!(streams.len() > 1, "{streams:?}");
    for stream in streams {
        let of_it = seen.iter().filter(|record| record.stream == stream);
        let theirs = of_it.filter(|record| record.from == Role::Executor);
        let theirs: Vec<usize> = theirs.map(|record| record.bytes).collect();
        // An attempt that came too early was refused, and nothing agreed on.
        let is_refused = theirs.len() < 2 && !theirs.contains(&0);
        let rest = theirs.get(1..).unwrap_or_default();
        let is_padded = theirs.first() == Some(&0) && rest.iter().all(is_bucket);
        ensure!(is_refused || is_padded, "{theirs:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_gateway_does_not_offer_what_is_to_be_padded() -> Result<()> {
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    let entry = node.entry("box", "padding = true");
    lab.environments(&format!("default = \"box\"\n{entry}"))?;
    let mut command = lab.farstep(&["connect", "-e", "box"]);
    let done = Running::start(command.env("RDV_TOKEN", "t"))?
        .finish()
        .await?;
    ensure!(
        done.code == Some(2) && done.err().contains("`padding = true`"),
        "{:?} {}",
        done.code,
        done.err()
    );
    Ok(())
}
