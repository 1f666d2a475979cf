//! Executors without an open port: our three programs, and what happens when the middle one goes.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use farstep_integration::{Lab, Recorder, Rendezvous, Running, Swallower, encode};
use farstep_protocol::noise::Identity;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};

/// A node, an executor behind it and an entry that leads there.
struct Scene {
    lab: Lab,
    node: Rendezvous,
    token: String,
    key: String,
    _executor: Running,
}

impl Scene {
    async fn start(more: &str) -> Result<Scene> {
        let lab = Lab::new()?;
        let node = Rendezvous::start(&lab).await?;
        let (executor, key) = {
            let token = node.token("executor").await?;
            node.executor(&lab, "box", &token).await?
        };
        lab.environments(&format!(
            "include_local = false\ndefault = \"box\"\n{}",
            node.entry("box", more)
        ))?;
        let token = node.token("harness").await?;
        Ok(Scene {
            lab,
            node,
            token,
            key,
            _executor: executor,
        })
    }

    fn farstep(&self, arguments: &[&str]) -> Result<Running> {
        let mut command = self.lab.farstep(arguments);
        Running::start(command.env("RDV_TOKEN", &self.token))
    }
}

#[tokio::test]
async fn an_executor_without_a_port_is_driven() -> Result<()> {
    let scene = Scene::start("").await?;
    let script = "printf err >&2; head -c 3000000 /dev/zero; exit 9";
    let done = scene.farstep(&["exec", "--", "sh", "-c", script])?;
    let done = done.finish().await?;
    ensure!(done.code == Some(9), "{:?} {}", done.code, done.err());
    ensure!(done.err().ends_with("err"), "{}", done.err());
    assert!(done.stdout == vec![0; 3_000_000], "{}", done.stdout.len());
    let tested = scene.farstep(&["env", "test", "box"])?.finish().await?;
    ensure!(tested.code == Some(0), "{}\n{}", tested.out(), tested.err());
    let listed = scene.node.admin(&["list"]).await?;
    ensure!(
        listed.contains("default/box") && listed.contains("online"),
        "{listed}"
    );
    ensure!(listed.contains(&scene.key), "{listed} lacks {}", scene.key);
    Ok(())
}

#[tokio::test]
async fn only_the_pinned_executor_is_talked_to() -> Result<()> {
    let scene = Scene::start(&format!("executor_key = \"fst1:{}\"", "a".repeat(26))).await?;
    let done = scene.farstep(&["exec", "--", "true"])?.finish().await?;
    ensure!(done.code != Some(0), "it was talked to");
    ensure!(done.err().contains(&scene.key), "{}", done.err());
    let pinned = format!("executor_key = \"{}\"", scene.key);
    let entry = scene.node.entry("box", &pinned);
    scene
        .lab
        .environments(&format!("default = \"box\"\n{entry}"))?;
    let done = scene.farstep(&["exec", "--", "true"])?.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    Ok(())
}

#[tokio::test]
async fn without_a_pin_the_first_executor_is_kept_in_mind_and_another_one_gets_nothing()
-> Result<()> {
    let scene = Scene::start("").await?;
    let done = scene.farstep(&["exec", "--", "true"])?.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    ensure!(
        done.err().contains("because it is the first"),
        "{}",
        done.err()
    );
    let done = scene.farstep(&["exec", "--", "true"])?.finish().await?;
    ensure!(
        done.code == Some(0) && done.err().is_empty(),
        "{}",
        done.err()
    );

    // As if somebody else had been the first.
    let file = scene.lab.state().join("farstep/known_hosts.json");
    let before = std::fs::read_to_string(&file)?;
    ensure!(before.contains(&scene.key), "{before}");
    let other = format!("fst1:{}", "a".repeat(26));
    std::fs::write(&file, before.replace(&scene.key, &other))?;
    let done = scene.farstep(&["exec", "--", "true"])?.finish().await?;
    ensure!(done.code == Some(255), "{:?} {}", done.code, done.err());
    for word in [&scene.key, &other, "`farstep env forget box`"] {
        ensure!(done.err().contains(word), "{word}: {}", done.err());
    }
    let done = scene.lab.run(&["env", "forget", "box"]).await?;
    ensure!(
        done.code == Some(0) && done.err().contains(&other),
        "{}",
        done.err()
    );
    let done = scene.farstep(&["exec", "--", "true"])?.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    let done = scene.lab.run(&["env", "forget", "nobody"]).await?;
    ensure!(
        done.code == Some(2) && done.err().contains("box"),
        "{}",
        done.err()
    );
    Ok(())
}

#[tokio::test]
async fn a_node_that_is_killed_amid_numbered_lines_costs_none_of_them() -> Result<()> {
    let mut scene = Scene::start("").await?;
    let script = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i; sleep 0.01; done";
    let mut running = scene.farstep(&["exec", "--", "sh", "-c", script])?;
    for expected in 1..=100 {
        assert_eq!(running.line().await?, expected.to_string());
    }
    scene.node.kill().await?;
    let restarted = Instant::now();
    scene.node.restart().await?;
    // What was under way may still come; the line behind it came through the new node.
    for expected in 101..=400 {
        assert_eq!(running.line().await?, expected.to_string());
    }
    let took = restarted.elapsed();
    ensure!(
        took < Duration::from_secs(30),
        "driven again after {took:?}"
    );
    let done = running.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    Ok(())
}

#[tokio::test]
async fn a_token_that_ends_amid_a_command_is_followed_by_the_one_in_its_file() -> Result<()> {
    let scene = Scene::start("").await?;
    let file = scene.lab.path().join("token");
    let keep = |token: &str| {
        std::fs::write(&file, token)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))
    };
    keep(&scene.token)?;
    let entry = scene.node.entry("box", "");
    let entry = entry.replace("env = \"RDV_TOKEN\"", &format!("file = {file:?}"));
    scene.lab.environments(&format!(
        "include_local = false\ndefault = \"box\"\n{entry}"
    ))?;
    let script = "echo begun; read word; echo $word";
    let mut running = scene.farstep(&["exec", "--", "sh", "-c", script])?;
    assert_eq!(running.line().await?, "begun");
    keep(&scene.node.token("harness").await?)?;
    let kid = scene.token.split('_').nth(1).context("a key id")?;
    let rotate = ["token", "rotate", kid, "--overlap-hours", "0"];
    scene.node.admin(&rotate).await?;
    let count = "rdv_stream_resets_total{by=\"relay\",reason=\"expired\"} 1";
    while !metrics(&scene.node).await?.contains(count) {
        tokio::task::yield_now().await;
    }
    running.say("on\n").await?;
    assert_eq!(running.line().await?, "on");
    let done = running.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    let said = "the credential that the stream was opened with expired";
    ensure!(done.err().contains(said), "{}", done.err());
    Ok(())
}

/// What a node counts.
async fn metrics(node: &Rendezvous) -> Result<String> {
    let address = node.url.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).await?;
    let request = "GET /metrics HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).await?;
    let mut page = String::new();
    socket.read_to_string(&mut page).await?;
    Ok(page)
}

#[tokio::test]
async fn what_crosses_the_relay_cannot_be_read() -> Result<()> {
    let lab = Lab::new()?;
    let mut node = Rendezvous::start(&lab).await?;
    let recorder = Recorder::start(&node.url).await?;
    node.move_behind(&recorder.url).await?;
    let token = node.token("executor").await?;
    let (_executor, _) = node.executor(&lab, "box", &token).await?;
    let entry = node.entry("box", "");
    lab.environments(&format!("default = \"box\"\n{entry}"))?;
    let marker = "marker-7d1f0c52-which-nobody-else-says";
    let mut command = lab.farstep(&["exec", "--", "echo", marker]);
    let token = node.token("harness").await?;
    let running = Running::start(command.env("RDV_TOKEN", token))?;
    let done = running.finish().await?;
    ensure!(done.out().contains(marker), "{} {}", done.out(), done.err());
    let bytes = recorder.bytes();
    // It did go this way, and the frames themselves are as they are.
    ensure!(has(&bytes, b"role=harness") && has(&bytes, b"role=environment"));
    ensure!(!has(&bytes, b"process/start") && !has(&bytes, b"sessionId"));
    ensure!(!has(&bytes, marker.as_bytes()), "the marker in clear");
    for shift in 0..3 {
        let shifted = format!("{}{marker}", " ".repeat(shift));
        let encoded = encode(shifted.as_bytes());
        // What stands around the marker changes the first and the last digits.
        let inner = encoded.get(4..encoded.len() - 8).context("too short")?;
        ensure!(!has(&bytes, inner.as_bytes()), "the marker in base64");
    }
    Ok(())
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_relay_that_swallows_a_record_is_noticed_and_costs_no_line() -> Result<()> {
    let lab = Lab::new()?;
    let mut node = Rendezvous::start(&lab).await?;
    let link = Swallower::start(&node.url).await?;
    node.move_behind(&link.url).await?;
    let token = node.token("executor").await?;
    let (_executor, _) = node.executor(&lab, "box", &token).await?;
    lab.environments(&format!("default = \"box\"\n{}", node.entry("box", "")))?;
    let script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; sleep 0.01; done";
    let mut command = lab.farstep(&["exec", "--", "sh", "-c", script]);
    let mut running = Running::start(command.env("RDV_TOKEN", node.token("harness").await?))?;
    for expected in 1..=50 {
        assert_eq!(running.line().await?, expected.to_string());
    }
    link.swallow();
    // Nobody is told: what follows waits for what is missing, until somebody asks.
    for expected in 51..=300 {
        assert_eq!(running.line().await?, expected.to_string());
    }
    ensure!(link.has_swallowed(), "everything arrived");
    let done = running.finish().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    Ok(())
}

#[tokio::test]
async fn what_a_tenant_signed_is_what_both_ends_believe() -> Result<()> {
    let lab = Lab::new()?;
    let node = Rendezvous::start(&lab).await?;
    let token = node.token("executor").await?;
    let (executor, key) = node.executor(&lab, "box", &token).await?;
    executor.signal(rustix::process::Signal::KILL)?;
    executor.finish().await?;
    let folder = lab.folder("tenant")?;
    let path = |name: &str| folder.join(name).display().to_string();
    let (secret, list, statement) = (path("key"), path("list"), path("statement"));
    let trusted = node.admin(&["attest", "key", &secret]).await?;
    let sign = |kind: &'static str, more: Vec<String>| {
        let begin = ["attest", kind, "--key", &secret, "--environment", "box"];
        let all: Vec<String> = begin.map(str::to_owned).into_iter().chain(more).collect();
        let node = &node;
        async move {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            node.admin(&all).await
        }
    };
    // Somebody else is on the list, for now.
    let nobody = format!("fst1:{}", "a".repeat(26));
    std::fs::write(&list, sign("harnesses", vec![nobody]).await?)?;
    let attested = vec!["--executor-key".to_owned(), key.clone()];
    std::fs::write(&statement, sign("executor", attested).await?)?;
    let flags = [
        ["--harness-keys", &list],
        ["--harness-keys-signer", &trusted],
        ["--key-attestation", &statement],
        ["--label", "rack=7"],
    ];
    let (_executor, again) = node
        .executor_with(&lab, "box", &token, flags.as_flattened())
        .await?;
    assert_eq!(again, key);
    let shown = node.admin(&["show", "box", "--json"]).await?;
    ensure!(
        shown.contains("\"attested\":true") && shown.contains("\"rack\":\"7\""),
        "{shown}"
    );
    let identity = path("identity");
    let entry = |trusted: &str| {
        let more = format!("identity_file = \"{identity}\"\nattestation_key = \"{trusted}\"");
        format!("default = \"box\"\n{}", node.entry("box", &more))
    };
    lab.environments(&entry(&trusted))?;
    let harness = node.token("harness").await?;
    let farstep = async || {
        let mut command = lab.farstep(&["exec", "--", "true"]);
        let running = Running::start(command.env("RDV_TOKEN", &harness))?;
        running.finish().await
    };
    ensure!(farstep().await?.code != Some(0), "it was let in");
    // Our own key is on the next list, which the executor sees by itself.
    let own = Identity::from_bytes(&std::fs::read(&identity)?)?;
    let own = vec![own.public().fingerprint()];
    std::fs::write(&list, sign("harnesses", own).await?)?;
    let done = farstep().await?;
    ensure!(done.code == Some(0), "{}", done.err());
    // Another tenant's key vouches for nothing.
    let other = node.admin(&["attest", "key", &path("other")]).await?;
    lab.environments(&entry(&other))?;
    ensure!(farstep().await?.code != Some(0), "it was believed");
    Ok(())
}

/// Follows a run until a line comes that was made after `back`, none missing in between.
async fn goes_on(mut run: Running, back: Duration) -> Result<Running> {
    let mut due = 2;
    loop {
        let line = run.line().await?;
        let (number, made) = line.split_once(' ').context("a number and a time")?;
        ensure!(
            number == due.to_string(),
            "{number} came where {due} was due"
        );
        if Duration::from_nanos(made.parse()?) > back {
            return Ok(run);
        }
        due += 1;
    }
}

#[tokio::test]
async fn twenty_runs_go_on_within_five_seconds_of_a_restart() -> Result<()> {
    const EXECUTORS: usize = 5;
    const RUNS: usize = 20;
    let lab = Lab::new()?;
    let mut node = Rendezvous::start(&lab).await?;
    let token = node.token("executor").await?;
    let harness = node.token("harness").await?;
    let (mut executors, mut entries) = (Vec::new(), String::new());
    for number in 0..EXECUTORS {
        let id = format!("box{number}");
        executors.push(node.executor(&lab, &id, &token).await?);
        entries.push_str(&node.entry(&id, ""));
    }
    lab.environments(&entries)?;
    let script = "i=0; while :; do i=$((i+1)); echo $i $(date +%s%N); sleep 0.1; done";
    let mut runs = Vec::new();
    for number in 0..RUNS {
        let id = format!("box{}", number % EXECUTORS);
        let mut command = lab.farstep(&["exec", "-e", &id, "--", "sh", "-c", script]);
        let mut run = Running::start(command.env("RDV_TOKEN", &harness))?;
        run.line().await?;
        runs.push(run);
    }
    node.kill().await?;
    node.restart().await?;
    let back = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let began = Instant::now();
    let mut under_way = tokio::task::JoinSet::new();
    for run in runs {
        under_way.spawn(async move {
            let run = goes_on(run, back).await?;
            anyhow::Ok((began.elapsed(), run))
        });
    }
    let mut took = Vec::new();
    let mut kept = Vec::new();
    while let Some(done) = under_way.join_next().await {
        let (after, run) = done??;
        took.push(after);
        kept.push(run);
    }
    took.sort_unstable();
    let p95 = took.get(RUNS * 95 / 100 - 1).context("twenty")?;
    eprintln!("driven again: {took:?}");
    ensure!(*p95 <= Duration::from_secs(5), "{took:?}");
    Ok(())
}
