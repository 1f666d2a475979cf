//! What a program gets of the executor, what it does not, and that it cannot take the executor's
//! attention away. Real processes, from outside.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod bench;

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use bench::{Executor, PROGRAM, Place, Wire, until};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

/// Somebody who may do nothing special.
const NOBODY: &str = "65534";

/// What runs `program` as somebody who is not root, if we are.
fn as_nobody(command: &mut Command) {
    if rustix::process::geteuid().is_root() {
        let state = command
            .get_envs()
            .find(|(name, _)| *name == "XDG_STATE_HOME");
        let state = state.unwrap().1.unwrap().to_owned();
        std::os::unix::fs::chown(&state, Some(65534), Some(65534)).unwrap();
        let mut other = Command::new("setpriv");
        other
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
            .args([PROGRAM, "--listen", "ws://127.0.0.1:0"])
            .env("XDG_STATE_HOME", state)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null());
        *command = other;
    }
}

async fn run(wire: &mut Wire, id: &str, script: &str, policy: Value) -> String {
    let params = json!({
        "processId": id, "argv": ["/bin/sh", "-c", script], "cwd": "file:///", "tty": false,
        "env": {"ASKED": "asked"}, "envPolicy": policy,
    });
    wire.call("process/start", params).await.unwrap();
    wire.output(id).await
}

#[tokio::test]
async fn the_executors_own_secrets_reach_no_program_under_any_policy() {
    let executor = Executor::with(|command| {
        command
            .env("FARSTEP_WS_TOKEN", "canary-own")
            .env("FARSTEP_SHARED_SECRET", "canary-own")
            .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=canary-own")
            .env("CLOUD_SECRET_ACCESS_KEY", "canary-users")
            .env("Forge_Token", "canary-users")
            .env("HARMLESS", "harmless");
    });
    let mut wire = Wire::open(&executor.url).await;
    let mut tried = 0;
    for inherit in [None, Some("all"), Some("core"), Some("none")] {
        for keep in [false, true] {
            let policy = inherit.map(|inherit| {
                json!({
                    "inherit": inherit, "ignoreDefaultExcludes": keep,
                    "exclude": [], "set": {}, "includeOnly": [],
                })
            });
            tried += 1;
            let id = tried.to_string();
            let said = run(&mut wire, &id, "/usr/bin/env", json!(policy)).await;
            let case = format!("{inherit:?} {keep} {said}");
            assert!(said.contains("ASKED=asked"), "{case}");
            assert!(!said.contains("canary-own"), "{case}");
            let all = inherit == Some("all");
            assert_eq!(said.contains("harmless"), all, "{case}");
            assert_eq!(said.contains("canary-users"), all && keep, "{case}");
        }
    }
}

#[tokio::test]
async fn the_executor_cannot_be_looked_into_by_what_it_runs() {
    let executor = Executor::with(|command| {
        as_nobody(command);
        command.env("FARSTEP_WS_TOKEN", "canary-own");
    });
    let of_process = format!("/proc/{}", executor.pid().as_raw_nonzero());
    // The kernel's sign for "not to be dumped or attached to": nobody's process is root's.
    let status = std::fs::read_to_string(format!("{of_process}/status")).unwrap();
    let uid = status
        .lines()
        .find(|line| line.starts_with("Uid:"))
        .unwrap();
    assert!(!uid.contains("\t0\t"), "{uid}");
    assert_eq!(
        std::fs::metadata(format!("{of_process}/environ"))
            .unwrap()
            .uid(),
        0
    );

    let mut wire = Wire::open(&executor.url).await;
    let script = "cat /proc/$PPID/environ /proc/$PPID/maps 2>&1; ls /proc/$PPID/fd 2>&1; \
                  stat -c %u /proc/$$/environ; id -u";
    let said = run(&mut wire, "p", script, Value::Null).await;
    assert!(!said.contains("canary-own"), "{said}");
    assert_eq!(said.matches("ermission denied").count(), 3, "{said}");
    // And the program itself is an ordinary one.
    let own: Vec<_> = said.lines().rev().take(2).collect();
    assert_eq!(own[0], own[1], "{said}");
}

#[tokio::test]
async fn core_dumps_are_off_and_files_many_for_the_executor_and_both_as_before_for_programs() {
    let executor = Executor::with(|command| {
        let mut limited = Command::new("prlimit");
        limited
            .args(["--core=4096:8192", "--nofile=300:3000"])
            .args([PROGRAM, "--listen", "ws://127.0.0.1:0"])
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null());
        *command = limited;
    });
    let both = |limits: &str| {
        ["Max core file size", "Max open files"].map(|name| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name));
            let limits = line.unwrap().split_whitespace().take(2);
            limits.map(str::to_owned).collect::<Vec<_>>()
        })
    };
    let pid = executor.pid().as_raw_nonzero();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    assert_eq!(both(&limits), [["0", "8192"], ["3000", "3000"]]);
    let mut wire = Wire::open(&executor.url).await;
    let said = run(&mut wire, "p", "cat /proc/$$/limits", Value::Null).await;
    assert_eq!(both(&said), [["4096", "8192"], ["300", "3000"]]);
}

#[tokio::test]
async fn a_program_cannot_type_into_a_terminal_that_is_not_its_own() {
    // The executor itself has a terminal here, which `script` makes for it.
    let place = Place::new();
    let url = place.path().join("url");
    let run_it = format!("{PROGRAM} --listen ws://127.0.0.1:0 > {}", url.display());
    let mut with_terminal = Command::new("script")
        .args(["-qec", &run_it, "/dev/null"])
        .env("XDG_STATE_HOME", place.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let address = || std::fs::read_to_string(&url).unwrap_or_default();
    until("the executor listens", || address().ends_with('\n')).await;
    let mut wire = Wire::open(address().trim()).await;
    // TIOCSTI goes to the controlling terminal only: there is none, or one that nobody else reads.
    let said = run(
        &mut wire,
        "pipes",
        "(: < /dev/tty) 2>&1; cut -d' ' -f7 /proc/$$/stat",
        Value::Null,
    );
    let said = said.await;
    assert!(said.contains("No such device"), "{said}");
    assert!(said.ends_with("\n0\n"), "{said}");
    let script = "[ $(stat -Lc %t,%T /dev/fd/0) = $(stat -c %t,%T $(tty)) ] && echo own; exec 2>&1; \
                  cut -d' ' -f7 /proc/$$/stat; cut -d' ' -f7 /proc/$PPID/stat";
    wire.start("terminal", true, script).await;
    let said = wire.output("terminal").await;
    let lines: Vec<_> = said.lines().map(str::trim).collect();
    assert_eq!(lines[0], "own", "{said}");
    assert_ne!(lines[1], lines[2], "{said}");
    rustix::process::kill_process(Pid::from_child(&with_terminal), Signal::TERM).unwrap();
    with_terminal.wait().unwrap();
}

#[tokio::test]
async fn a_command_that_forks_all_the_time_holds_up_no_control_call() {
    let executor = Executor::start();
    let (mut wire, mut other) = (
        Wire::open(&executor.url).await,
        Wire::open(&executor.url).await,
    );
    let place = Place::new();
    // Ends by itself long after the calls below, should nobody end it.
    let storm = "n=0; while [ $n -lt 100000 ]; do (setsid true &); n=$((n+1)); \
                 [ $n = 300 ] && @/sleep 0; done";
    std::fs::write(place.path().join("storm"), place.script(storm)).unwrap();
    for id in ["one", "two"] {
        wire.start(id, false, &place.script("exec sh @/storm"))
            .await;
    }
    for call in 0..100 {
        for wire in [&mut wire, &mut other] {
            let status = wire.call("environment/status", json!({})).await.unwrap();
            assert_eq!(status["status"], "ready", "{call}");
        }
        other
            .start(&format!("started {call}"), false, "exit 3")
            .await;
        other.output(&format!("started {call}")).await;
    }
    // All of it was answered while both went on: neither has ended yet.
    assert!(wire.terminate("one").await && wire.terminate("two").await);
    place.until_gone("the storm").await;
}

#[tokio::test]
async fn the_last_process_of_a_session_is_its_256th() {
    let executor = Executor::start();
    let mut wire = Wire::open(&executor.url).await;
    let argv = ["/bin/sleep", "1000"];
    for number in 1..=256 {
        wire.try_start(&number.to_string(), false, &argv)
            .await
            .unwrap();
    }
    let refused = wire.try_start("257", false, &argv).await.unwrap_err();
    assert_eq!(
        refused,
        json!({"code": -32600, "message": "this session has 256 processes already"})
    );
    // Another session has its own.
    let mut other = Wire::open(&executor.url).await;
    other.try_start("1", false, &argv).await.unwrap();
    // One that ends makes room.
    assert!(wire.terminate("1").await);
    wire.output("1").await;
    wire.try_start("257", false, &argv).await.unwrap();
}

#[tokio::test]
async fn an_ordinary_users_executor_leaves_nothing_behind_either() {
    let executor = Executor::with(as_nobody);
    let mut wire = Wire::open(&executor.url).await;
    let place = Place::new();
    // The folder is for its owner only, the programs in it are for everybody.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), open).unwrap();
    let daemon = place.script("(env -i setsid sh -c '(exec @/sleep 1000 &)' &); exec @/sleep 999");
    for id in ["terminated", "killed"] {
        wire.start(id, false, &daemon).await;
    }
    place.until_sleeping(4, "two daemons").await;
    assert!(wire.terminate("terminated").await);
    until("two are left", || place.sleeping() == 2).await;
    executor.end(Signal::KILL);
    place.until_gone("an ordinary user's daemon").await;
}
