//! The program from outside: what it refuses, what it prints, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use predicates::prelude::*;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_farstep-executor");

fn refused(args: &[&str], status: i32, words: &str) {
    assert_cmd::Command::new(PROGRAM)
        .args(args)
        .assert()
        .code(status)
        .stdout("")
        .stderr(predicate::str::contains(words));
}

#[test]
fn an_address_others_can_reach_is_refused_with_the_reason_and_the_remedy() {
    for address in ["0.0.0.0:0", "[::]:0", "10.1.2.3:4500"] {
        let listen = format!("ws://{address}");
        refused(&["--listen", &listen], 2, "farstep-executor token new");
        refused(&["--listen", &listen], 2, "ssh -L");
    }
}

#[test]
fn a_new_token_is_printed_alone_or_written_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("token");
    let new = |arguments: &[&str]| {
        let mut command = assert_cmd::Command::new(PROGRAM);
        command.args(["token", "new"]).args(arguments).assert()
    };
    new(&[])
        .success()
        .stdout(predicate::str::is_match("^fst1_[0-9a-f]{72}\n$").unwrap())
        .stderr(predicate::str::is_match("sha256 .*: [0-9a-f]{64}\n$").unwrap());
    let file = out.to_str().unwrap();
    new(&["--out", file])
        .success()
        .stdout(predicate::str::starts_with("sha256: "));
    assert!(std::fs::read_to_string(&out).unwrap().starts_with("fst1_"));
    new(&["--out", file])
        .code(1)
        .stderr(predicate::str::contains("is there already"));
}

#[test]
fn what_is_no_place_to_listen_is_refused() {
    refused(
        &["--listen", "ws://localhost:0"],
        1,
        "must be an IP address",
    );
    for listen in [
        "ws://127.0.0.1",
        "ws://127.0.0.1:0/",
        "http://127.0.0.1:0",
        "elsewhere",
    ] {
        refused(&["--listen", listen], 1, "--listen takes ws://IP:PORT");
    }
    refused(&["--concurrent-requests", "0"], 1, "at least 1");
}

#[test]
fn an_audit_log_is_checked_and_what_was_changed_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit.jsonl");
    let mut executor = Command::new(PROGRAM)
        .args(["--listen", "stdio", "--audit-file"])
        .arg(&log)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(executor.wait().unwrap().success());
    let verify = || {
        let mut command = assert_cmd::Command::new(PROGRAM);
        command.args(["audit", "verify"]).arg(&log).assert()
    };
    verify()
        .success()
        .stdout("unbroken: 2 records, 1 to 2\n")
        .stderr("");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replacen("start", "begin", 1)).unwrap();
    verify()
        .code(1)
        .stdout("")
        .stderr(predicate::str::contains("line 2: does not follow"));
}

#[test]
fn every_flag_is_on_a_page() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
    let pages: String = std::fs::read_dir(docs)
        .unwrap()
        .map(|page| std::fs::read_to_string(page.unwrap().path()).unwrap())
        .collect();
    let help = Command::new(PROGRAM).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flags: Vec<&str> = help
        .split_whitespace()
        .filter(|word| word.starts_with("--"))
        .map(|word| word.trim_end_matches([':', ';', ',', '`', '.']))
        .collect();
    assert!(flags.contains(&"--listen") && flags.len() > 20, "{flags:?}");
    let missing: Vec<_> = flags
        .iter()
        .filter(|flag| !pages.contains(**flag))
        .collect();
    assert!(missing.is_empty(), "docs/ does not name {missing:?}");
}

#[test]
fn an_address_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listen = format!("ws://{address}");
    refused(
        &["--listen", &listen],
        1,
        &format!("failed to listen on {address}"),
    );
}

#[test]
fn the_bound_address_is_all_that_a_listener_prints() {
    let mut listener = start(&["--listen", "ws://127.0.0.1:0"]);
    let line = first_line(&mut listener);
    let address = line
        .strip_prefix("ws://")
        .and_then(|rest| rest.strip_suffix('\n'));
    let address: std::net::SocketAddr = address.unwrap().parse().unwrap();
    assert!(address.ip().is_loopback() && address.port() != 0);
    assert!(std::net::TcpStream::connect(address).is_ok());

    kill_process(Pid::from_child(&listener), Signal::TERM).unwrap();
    assert_eq!(listener.wait().unwrap().code(), Some(0));
}

#[test]
fn the_end_of_input_ends_a_stdio_executor_and_its_children() {
    for listen in ["stdio", "stdio://"] {
        let mut executor = start(&["--listen", listen]);
        let mut stdin = executor.stdin.take().unwrap();
        let mut lines = BufReader::new(executor.stdout.take().unwrap()).lines();
        stdin.write_all(HANDSHAKE).unwrap();
        let argv = r#"["/bin/sh","-c","echo $$; exec sleep 300"]"#;
        let start = format!(
            r#"{{"id":2,"method":"process/start","params":{{"processId":"p","argv":{argv},"cwd":"file:///","env":{{}},"tty":false}}}}"#
        );
        writeln!(stdin, "{start}").unwrap();
        // A poll that nothing would end for a minute.
        let poll = r#"{"id":3,"method":"process/read","params":{"processId":"p","afterSeq":1,"waitMs":60000}}"#;
        writeln!(stdin, "{poll}").unwrap();

        let mut next = || lines.next().unwrap().unwrap();
        assert!(next().contains(r#""sessionId""#));
        assert_eq!(
            next(),
            r#"{"id":2,"result":{"processId":"p","sandboxType":"none"}}"#
        );
        let child = announced_pid(&next());

        drop(stdin);
        assert_eq!(executor.wait().unwrap().code(), Some(0));
        assert!(
            test_kill_process(child).is_err(),
            "the child outlived the executor"
        );
    }
}

#[test]
fn a_stdio_executor_ends_with_a_message_when_its_caller_breaks_the_rules() {
    let mut executor = start(&["--listen", "stdio"]);
    let mut stdin = executor.stdin.take().unwrap();
    stdin.write_all(HANDSHAKE).unwrap();
    stdin
        .write_all(b"{\"method\":\"no/such/notification\"}\n")
        .unwrap();
    let (status, stderr) = end_of(executor);
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("unknown notification"), "{stderr}");
    drop(stdin);
}

#[test]
fn a_log_that_nobody_reads_stops_nobody() {
    let mut child = Command::new(PROGRAM)
        .args(["--audit-file", "off", "--listen", "stdio"])
        .env("FARSTEP_LOG", "trace")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    stdin.write_all(HANDSHAKE).unwrap();
    stdout.next().unwrap().unwrap();
    // Several lines each, of which a pipe holds a few hundred.
    for id in 0..2000 {
        writeln!(stdin, "{{\"id\":{id},\"method\":\"environment/status\"}}").unwrap();
        let answer = stdout.next().unwrap().unwrap();
        assert!(answer.contains("ready"), "{answer}");
    }
    // From now on somebody reads.
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = stderr.find(|line| {
        let status = b"{\"id\":1,\"method\":\"environment/status\"}\n";
        stdin.write_all(status).unwrap();
        stdout.next().unwrap().unwrap();
        line.as_ref()
            .unwrap()
            .contains("lines of the log were lost")
    });
    assert!(told.is_some());
    drop(stdin);
    for line in stderr {
        line.unwrap();
    }
    assert!(child.wait().unwrap().success());
}

const HANDSHAKE: &[u8] =
    b"{\"id\":1,\"method\":\"initialize\",\"params\":{\"clientName\":\"test\"}}\n{\"method\":\"initialized\"}\n";

fn start(args: &[&str]) -> Child {
    Command::new(PROGRAM)
        // The log of the person who runs the tests is not for them.
        .args(["--audit-file", "off"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    line
}

/// The process id a shell printed, from the event that carries it.
fn announced_pid(event: &str) -> Pid {
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    assert_eq!(event["method"], "process/output");
    let chunk = event["params"]["chunk"].as_str().unwrap();
    let text = base64_simd::STANDARD.decode_to_vec(chunk).unwrap();
    let pid: i32 = String::from_utf8(text).unwrap().trim().parse().unwrap();
    Pid::from_raw(pid).unwrap()
}

fn end_of(mut child: Child) -> (ExitStatus, String) {
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    (child.wait().unwrap(), stderr)
}
