//! Our calls against the executor we are compatible with: a real `codex exec-server`.
//!
//! `FARSTEP_CODEX` names its binary. Without it nothing is tested and a line says so; with
//! `FARSTEP_REQUIRE_PEER=1` that is a failure.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use farstep_environments::fs::WalkOptions;
use farstep_environments::process::{EnvPolicy, Inherit, StartParams};
use farstep_environments::{
    CallError, Environment, Executor, LocalExecutor, Overflow, Process, ProcessEvent, Registry,
    Status, WriteStatus, config,
};
use farstep_path_uri::PathUri;
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

fn peer() -> Option<PathBuf> {
    let peer = std::env::var_os("FARSTEP_CODEX").map(PathBuf::from);
    if peer.is_none() {
        let required = std::env::var_os("FARSTEP_REQUIRE_PEER").is_some_and(|value| value == "1");
        assert!(!required, "FARSTEP_CODEX is not set");
        eprintln!("skipped: FARSTEP_CODEX is not set");
    }
    peer
}

/// The peer refuses a home below the temporary folder.
fn home() -> TempDir {
    tempfile::tempdir_in("/var/tmp").expect("a folder")
}

fn registry(entry: &str) -> Registry {
    let text = format!("[[environments]]\nid = \"box\"\n{entry}");
    let config = config::parse(&text, Path::new("/")).expect("valid");
    let local = LocalExecutor {
        program: PathBuf::from("/no/such/executor"),
        args: Vec::new(),
        cwd: PathBuf::from("/"),
    };
    Registry::new(&config, local)
}

/// The peer over its own pipes.
fn over_stdio(peer: &Path, home: &TempDir) -> Registry {
    registry(&format!(
        "program = {peer:?}\nargs = [\"exec-server\", \"--listen\", \"stdio\"]\n\
         env = {{ CODEX_HOME = {:?} }}\ninitialize_timeout_sec = 30",
        home.path()
    ))
}

/// The peer as a listener, one request at a time as it comes.
async fn over_websocket(peer: &Path, home: &TempDir) -> (Registry, Child) {
    let mut child = Command::new(peer)
        .args(["exec-server", "--listen", "ws://127.0.0.1:0"])
        .env("CODEX_HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    let stdout = child.stdout.take().expect("a pipe");
    let url = BufReader::new(stdout).lines().next_line().await;
    let url = url.expect("readable").expect("a line");
    (registry(&format!("url = {url:?}\n")), child)
}

fn environment(registry: &Registry) -> Arc<Environment> {
    registry.get("box").expect("configured")
}

fn uri(path: &Path) -> PathUri {
    PathUri::from_host(path).expect("a path")
}

fn shell(id: &str, script: &str) -> StartParams {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let mut params = StartParams::new(id, argv, uri(Path::new("/")));
    params.env_policy = Some(EnvPolicy {
        inherit: Inherit::All,
        ignore_default_excludes: true,
        exclude: Vec::new(),
        set: std::collections::BTreeMap::new(),
        include_only: Vec::new(),
    });
    params
}

/// Everything a process says, and how it ended.
async fn finish(mut process: Process) -> (Vec<u8>, Option<i64>, Option<ProcessEvent>) {
    let (mut said, mut code, mut last) = (Vec::new(), None, None);
    while let Some(event) = process.next().await {
        match event {
            ProcessEvent::Output { bytes, .. } => said.extend_from_slice(&bytes),
            ProcessEvent::Exited { code: exit, .. } => code = Some(exit),
            other => last = Some(other),
        }
    }
    (said, code, last)
}

async fn until(process: &mut Process, text: &str) -> String {
    let mut said = String::new();
    while !said.contains(text) {
        match process.next().await {
            Some(ProcessEvent::Output { bytes, .. }) => {
                said.push_str(&String::from_utf8_lossy(&bytes));
            }
            other => panic!("{other:?} after {said:?}"),
        }
    }
    said
}

async fn files(executor: &Executor) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = uri(folder.path());
    let deep = root.join_descendant("a b/c").expect("a path");
    executor
        .create_directory(&deep, true)
        .await
        .expect("created");
    let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let paths: Vec<_> = (0..10)
        .map(|n| deep.join_descendant(&format!("f{n}")).expect("a path"))
        .collect();
    let writes = join_all(paths.iter().map(|path| executor.write_file(path, &content))).await;
    assert!(writes.iter().all(Result::is_ok), "{writes:?}");
    for read in join_all(paths.iter().map(|path| executor.read_file(path))).await {
        assert_eq!(read.expect("read"), content);
    }
    let metadata = executor.metadata(&paths[0]).await.expect("there");
    assert_eq!((metadata.is_file, metadata.size), (true, 300_000));
    let copy = root.join_descendant("copy").expect("a path");
    executor.copy(&deep, &copy, true).await.expect("copied");
    assert_eq!(
        executor.read_directory(&copy).await.expect("listed").len(),
        10
    );
    let options = WalkOptions {
        max_depth: 8,
        max_directories: 100,
        max_entries: 1000,
        follow_directory_symlinks: false,
        prune_hidden_directories: false,
        everything: false,
    };
    let walked = executor.walk(&root, options).await.expect("walked");
    assert_eq!((walked.entries.len(), walked.truncated), (23, false));
    let same = executor.canonicalize(&deep).await.expect("there");
    assert!(same.same_location(&deep), "{same}");
    executor.remove(&deep, true, false).await.expect("removed");
    let gone = executor.metadata(&deep).await;
    assert!(
        matches!(&gone, Err(CallError::Refused(error)) if error.code == -32004),
        "{gone:?}"
    );
}

async fn processes(executor: &Executor) {
    let process = executor.start(shell("exit", "echo out; echo err >&2; exit 7"));
    let (said, code, last) = finish(process.await.expect("started")).await;
    assert_eq!(said.len(), 8, "{said:?}");
    assert_eq!((code, last), (Some(7), Some(ProcessEvent::Closed)));
    // The peer keeps the id of an ended process for a while, also when asked to end it.
    let again = executor.start(shell("exit", "true")).await;
    assert!(matches!(again, Err(CallError::Refused(_))), "{again:?}");
    let process = executor.start(shell("killed", "kill -9 $$"));
    assert_eq!(finish(process.await.expect("started")).await.1, Some(137));

    let mut params = shell("input", "read -r a; read -r b; echo \"[$a$b]\"; exec cat");
    params.pipe_stdin = true;
    let mut process = executor.start(params).await.expect("started");
    for line in ["one\n", "two\n"] {
        let status = process.write(line.as_bytes()).await.expect("written");
        assert_eq!(status, WriteStatus::Accepted);
    }
    until(&mut process, "[onetwo]\n").await;
    process.interrupt().await.expect("interrupted");
    let (_, code, _) = finish(process).await;
    assert_eq!(code, Some(130));

    let mut params = shell(
        "terminal",
        "echo ready; read -r a; echo \"<$a>\"; sleep 600",
    );
    params.tty = true;
    let mut process = executor.start(params).await.expect("started");
    until(&mut process, "ready").await;
    process.write(b"x\r").await.expect("written");
    until(&mut process, "<x>").await;
    assert!(process.terminate().await.expect("terminated"));
    let (_, code, last) = finish(process).await;
    assert!(code.is_some());
    assert_eq!(last, Some(ProcessEvent::Closed));

    let missing = executor.start(StartParams::new(
        "missing",
        vec!["no-such-program".to_owned()],
        uri(Path::new("/")),
    ));
    assert!(matches!(missing.await, Err(CallError::Refused(_))));
}

async fn floods(executor: &Executor) {
    let script = "head -c 30000000 /dev/zero";
    let process = executor.start_with(shell("flood", script), Overflow::Wait);
    let (said, code, _) = finish(process.await.expect("started")).await;
    assert_eq!((said.len(), code), (30_000_000, Some(0)));

    // Nobody reads the first; the second and the probe do not notice.
    let lazy = executor
        .start(shell("lazy", script))
        .await
        .expect("started");
    let process = executor
        .start(shell("next", "echo hi"))
        .await
        .expect("started");
    assert_eq!(finish(process).await.0, b"hi\n");
    executor.status().await.expect("alive");
    let mut taken = 0;
    let mut lazy = lazy;
    while let Some(event) = lazy.next().await {
        match event {
            ProcessEvent::Output { bytes, .. } => taken += bytes.len() as u64,
            ProcessEvent::Truncated { bytes } => taken += bytes,
            _ => {}
        }
    }
    assert_eq!(taken, 30_000_000, "taken and counted as dropped");
}

/// A dropped handle, and what is left of the process afterwards.
async fn let_go(executor: &Executor) {
    let mut process = executor
        .start(shell("forgotten", "echo $$; exec sleep 600"))
        .await
        .expect("started");
    let pid = until(&mut process, "\n").await.trim().to_owned();
    drop(process);
    // Answered behind the end, because the peer does one thing after the other.
    executor.status().await.expect("alive");
    wait_for_end(&pid).await;
}

async fn wait_for_end(pid: &str) {
    let path = format!("/proc/{pid}/stat");
    let ended = async {
        while std::fs::read_to_string(&path).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), ended).await;
    assert!(in_time.is_ok(), "process {pid} was left behind");
}

#[tokio::test]
async fn a_listening_peer_serves_every_call() {
    let Some(peer) = peer() else { return };
    let home = home();
    let (registry, mut server) = over_websocket(&peer, &home).await;
    let executor = environment(&registry).executor().await.expect("connected");
    assert!(!executor.info().shell.path.is_empty());
    files(&executor).await;
    processes(&executor).await;
    floods(&executor).await;
    let_go(&executor).await;

    // What still runs when we close does not outlive us.
    let mut process = executor
        .start(shell("left", "echo $$; exec sleep 600"))
        .await
        .expect("started");
    let pid = until(&mut process, "\n").await.trim().to_owned();
    registry.close().await;
    wait_for_end(&pid).await;
    server.kill().await.expect("killed");
}

#[tokio::test]
async fn a_started_peer_serves_every_call() {
    let Some(peer) = peer() else { return };
    let home = home();
    let registry = over_stdio(&peer, &home);
    let executor = environment(&registry).executor().await.expect("connected");
    files(&executor).await;
    processes(&executor).await;
    floods(&executor).await;
    let_go(&executor).await;
    registry.close().await;
}

#[tokio::test]
async fn a_peer_that_dies_is_told_and_one_that_is_back_is_used() {
    let Some(peer) = peer() else { return };
    let home = home();
    let registry = over_stdio(&peer, &home);
    let environment = environment(&registry);
    let executor = environment.executor().await.expect("connected");
    // Its own parent, that is the peer: the command runs as its direct child.
    let mut process = executor
        .start(shell("killer", "echo $PPID; exec sleep 600"))
        .await
        .expect("started");
    let pid = until(&mut process, "\n").await;
    let pid = pid
        .trim()
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let signal = rustix::process::Signal::KILL;
    rustix::process::kill_process(pid.expect("a pid"), signal).expect("killed");
    let (_, code, last) = finish(process).await;
    assert_eq!(code, None);
    assert!(matches!(last, Some(ProcessEvent::Lost { .. })), "{last:?}");
    assert!(!executor.is_connected());
    assert!(matches!(environment.status(), Status::Disconnected { .. }));
    let again = environment.executor().await.expect("connected again");
    again.status().await.expect("alive");
    registry.close().await;
}
