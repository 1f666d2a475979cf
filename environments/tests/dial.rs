//! Real programs and real sockets at the other end: what a connection costs, and what a failure
//! says. The programs are a few lines of shell; no executor is needed.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use farstep_environments::config::{self, Config};
use farstep_environments::{
    Conditions, ConnectError, Environment, LocalExecutor, Registry, Status,
};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// Answers the handshake and stays until its input ends.
const POLITE: &str = r#"read -r _; printf '%s\n' '{"id":1,"result":{"sessionId":"s","environmentInfo":{"shell":{"name":"sh","path":"/bin/sh"}}}}'; while read -r _; do :; done"#;

fn registry(text: &str) -> Registry {
    let config = config::parse(text, Path::new("/")).expect("valid");
    built(&config, &[])
}

fn built(config: &Config, credentials: &[&str]) -> Registry {
    let local = LocalExecutor {
        program: PathBuf::from("/no/such/executor"),
        args: Vec::new(),
        cwd: PathBuf::from("/"),
    };
    let credentials = credentials.iter().map(|name| (*name).to_owned()).collect();
    let conditions = Conditions {
        credentials,
        ..Conditions::default()
    };
    Registry::under(conditions, config, local)
}

/// A configuration with one environment, `box`, that runs `script`.
fn shell(script: &str) -> String {
    let script = script.replace('\\', "\\\\").replace('"', "\\\"");
    format!("[[environments]]\nid = \"box\"\nprogram = \"sh\"\nargs = [\"-c\", \"{script}\"]\n")
}

fn environment(registry: &Registry) -> Arc<Environment> {
    registry.get("box").expect("configured")
}

async fn failure(registry: &Registry) -> ConnectError {
    let error = environment(registry).executor().await.expect_err("failed");
    registry.close().await;
    error
}

#[tokio::test]
async fn a_program_is_started_at_its_first_use_and_ends_when_nobody_needs_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let done = folder.path().join("done");
    let registry = registry(&shell(&format!("{POLITE}; echo bye > {}", done.display())));
    let environment = environment(&registry);
    assert!(matches!(environment.status(), Status::Configured));
    let executor = environment.executor().await.expect("connected");
    assert_eq!(executor.info().shell.name, "sh");
    registry.close().await;
    assert!(!executor.is_connected());
    assert_eq!(
        std::fs::read_to_string(done).expect("it ended by itself"),
        "bye\n"
    );
}

#[tokio::test]
async fn a_program_that_ignores_the_end_of_its_input_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let pids = folder.path().join("pids");
    let script = format!(
        "{POLITE}; sleep 600 & echo $$ $! > {}; wait",
        pids.display()
    );
    let registry = registry(&shell(&script));
    environment(&registry).executor().await.expect("connected");
    registry.close().await;
    let pids = std::fs::read_to_string(pids).expect("both ran");
    // The kill was sent; when it takes effect, and who collects the grandchild, is the system's.
    let ended = async {
        for pid in pids.split_whitespace() {
            let stat = format!("/proc/{pid}/stat");
            while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
                tokio::task::yield_now().await;
            }
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), ended).await;
    assert!(in_time.is_ok(), "left behind: {pids}");
}

#[tokio::test]
async fn a_program_that_is_missing_is_told_from_a_folder_that_is() {
    let missing = registry("[[environments]]\nid = \"box\"\nprogram = \"no-such-program\"");
    assert_eq!(
        failure(&missing).await.to_string(),
        "failed to spawn exec-server: No such file or directory (os error 2) \
         (program `no-such-program`)"
    );
    let homeless =
        registry("[[environments]]\nid = \"box\"\nprogram = \"sh\"\ncwd = \"/no/such/folder\"");
    assert_eq!(
        failure(&homeless).await.to_string(),
        "failed to spawn exec-server: No such file or directory (os error 2) \
         (working folder `/no/such/folder`)"
    );
}

#[tokio::test]
async fn a_program_that_ends_at_once_is_quoted_with_its_last_words() {
    let script = r"printf 'Welcome\n'; echo 'devbox: Permission denied' >&2; exit 255";
    assert_eq!(
        failure(&registry(&shell(script))).await.to_string(),
        "exec-server transport closed; instead of the protocol it said `Welcome`; \
         the program ended with exit status: 255; its standard error ends with:\n  \
         devbox: Permission denied"
    );
}

#[tokio::test]
async fn only_the_end_of_standard_error_is_kept() {
    let script = "i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1";
    let text = failure(&registry(&shell(script))).await.to_string();
    assert!(text.ends_with("line 1999"), "{text}");
    assert!(text.len() < 6000, "{}", text.len());
}

#[tokio::test]
async fn a_terminal_in_the_way_is_explained() {
    let echo = registry("[[environments]]\nid = \"box\"\nprogram = \"cat\"");
    let text = failure(&echo).await.to_string();
    assert!(text.contains("a terminal is attached"), "{text}");
}

#[tokio::test]
async fn a_banner_in_front_of_the_protocol_is_forgiven() {
    let registry = registry(&shell(&format!("echo 'Last login: today'; {POLITE}")));
    assert!(environment(&registry).executor().await.is_ok());
    registry.close().await;
}

#[tokio::test]
async fn a_silent_program_times_out_and_says_what_it_complained_about() {
    let text = shell("echo 'Password:' >&2; while read -r _; do :; done");
    let registry = registry(&format!("{text}initialize_timeout_sec = 0.3"));
    assert_eq!(
        failure(&registry).await.to_string(),
        "timed out waiting for exec-server initialize handshake after 300ms; \
         its standard error ends with:\n  Password:"
    );
}

#[tokio::test]
async fn the_end_of_a_program_is_told_with_its_reason() {
    let script = POLITE.replace(
        "while read -r _; do :; done",
        "read -r _; echo oom >&2; exit 9",
    );
    let registry = registry(&shell(&script));
    let environment = environment(&registry);
    let mut watch = environment.watch();
    let _executor = environment.executor().await;
    let lost = watch
        .wait_for(|status| matches!(status, Status::Disconnected { .. }))
        .await
        .expect("watched")
        .clone();
    let Status::Disconnected { reason } = lost else {
        panic!("{lost:?}");
    };
    assert_eq!(
        reason,
        "the executor closed the connection: the program ended with exit status: 9; \
         its standard error ends with:\n  oom"
    );
    registry.close().await;
}

/// Answers the handshake; its first `lives` lives end with the next line it reads, and all of them
/// leave a line in `diary`.
fn mortal(diary: &Path, lives: usize, code: u8) -> String {
    let diary = diary.display();
    let polite = POLITE.replace(
        "while read -r _; do :; done",
        &format!(
            "read -r _; [ $(wc -l < {diary}) -gt {lives} ] || {{ echo oom >&2; exit {code}; }}; \
             while read -r _; do :; done"
        ),
    );
    shell(&format!("echo born >> {diary}; {polite}"))
}

async fn until(environment: &Environment, wanted: impl FnMut(&Status) -> bool) -> Status {
    let mut watch = environment.watch();
    let settled = tokio::time::timeout(Duration::from_secs(20), watch.wait_for(wanted)).await;
    settled.expect("in time").expect("watched").clone()
}

#[tokio::test]
async fn a_program_that_fails_is_restarted_as_often_as_its_entry_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let lives = |diary: &Path| {
        let diary = std::fs::read_to_string(diary).expect("a diary");
        diary.lines().count()
    };
    let restart = |most: u32| {
        format!(
            "[environments.farstep.restart]\npolicy = \"on-failure\"\n\
             max_attempts = {most}\nbackoff_sec = 0.01\n"
        )
    };
    let diary = folder.path().join("recovers");
    let recovers = registry(&(mortal(&diary, 2, 9) + &restart(5)));
    let one = environment(&recovers);
    one.connect();
    until(&one, |status| {
        matches!(status, Status::Ready(executor) if executor.is_connected()) && lives(&diary) == 3
    })
    .await;
    recovers.close().await;

    let diary = folder.path().join("gives-up");
    let gives_up = registry(&(mortal(&diary, 99, 9) + &restart(1)));
    let one = environment(&gives_up);
    one.connect();
    let lost = until(&one, |status| matches!(status, Status::Disconnected { .. })).await;
    let Status::Disconnected { reason } = lost else {
        panic!("{lost:?}");
    };
    assert!(
        reason.contains("exit status: 9") && reason.ends_with("oom"),
        "{reason}"
    );
    assert_eq!(lives(&diary), 2);
    gives_up.close().await;

    let diary = folder.path().join("content");
    let content = registry(&(mortal(&diary, 99, 0) + &restart(5)));
    let one = environment(&content);
    one.connect();
    until(&one, |status| matches!(status, Status::Disconnected { .. })).await;
    assert_eq!(lives(&diary), 1, "it ended without an error");
    content.close().await;
}

#[tokio::test]
async fn a_program_that_may_run_once_is_not_started_again_by_its_next_use() {
    let folder = tempfile::tempdir().expect("a folder");
    let diary = folder.path().join("diary");
    let once = mortal(&diary, 99, 9) + "farstep.restart.policy = \"never\"\n";
    let registry = registry(&once);
    let one = environment(&registry);
    one.connect();
    until(&one, |status| matches!(status, Status::Failed(_))).await;
    let told = one.executor().await.expect_err("over").to_string();
    assert!(
        told.starts_with("the program ended and `farstep.restart` says never: ")
            && told.ends_with("oom"),
        "{told}"
    );
    assert_eq!(std::fs::read_to_string(diary).expect("a diary"), "born\n");
    registry.close().await;
}

#[tokio::test]
async fn credentials_stay_here_unless_the_entry_lists_them() {
    let script = r#"echo "[$CARGO_PKG_NAME]" >&2; exit 1"#;
    let parsed = |text: &str| config::parse(text, Path::new("/")).expect("valid");
    let plain = parsed(&shell(script));
    let listed = parsed(&format!(
        "{}env = {{ CARGO_PKG_NAME = \"listed\" }}",
        shell(script)
    ));
    let cases: [(&Config, &[&str], &str); 3] = [
        (&plain, &[], "[farstep-environments]"),
        (&plain, &["CARGO_PKG_NAME"], "[]"),
        (&listed, &["CARGO_PKG_NAME"], "[listed]"),
    ];
    for (config, credentials, expected) in cases {
        let text = failure(&built(config, credentials)).await.to_string();
        assert!(text.ends_with(expected), "{text}");
    }
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    (listener, format!("ws://{address}"))
}

fn dialled(url: &str, more: &str) -> Registry {
    registry(&format!(
        "[[environments]]\nid = \"box\"\nurl = \"{url}\"\n{more}"
    ))
}

#[tokio::test]
#[expect(
    clippy::result_large_err,
    reason = "the callback's type is the library's"
)]
async fn a_websocket_carries_the_token_and_nothing_that_looks_like_a_browser() {
    let (listener, url) = listener().await;
    let server = async {
        let (socket, _) = listener.accept().await.expect("accepted");
        let mut headers = None;
        let callback = |request: &Request, response: Response| {
            headers = Some((request.uri().clone(), request.headers().clone()));
            Ok(response)
        };
        let mut wire = tokio_tungstenite::accept_hdr_async(socket, callback)
            .await
            .expect("upgraded");
        let hello = wire.next().await.expect("a message").expect("text");
        let answer = r#"{"id":1,"result":{"sessionId":"s","environmentInfo":{"shell":{"name":"zsh","path":"/bin/zsh"}}}}"#;
        wire.send(Message::text(answer)).await.expect("sent");
        (headers.expect("seen"), hello, wire)
    };
    let registry = dialled(&format!("{url}/x?y=1"), "auth_bearer_token = \"hunter2\"");
    let environment = environment(&registry);
    let (executor, ((uri, headers), hello, _wire)) = tokio::join!(environment.executor(), server);
    assert_eq!(executor.expect("connected").info().shell.name, "zsh");
    assert_eq!(uri, "/x?y=1");
    assert_eq!(headers["authorization"], "Bearer hunter2");
    for absent in [
        "origin",
        "user-agent",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
    ] {
        assert!(!headers.contains_key(absent), "{absent}");
    }
    assert_eq!(
        hello,
        Message::text(
            r#"{"id":1,"method":"initialize","params":{"clientName":"farstep","resumeSessionId":null}}"#
        )
    );
    registry.close().await;
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_named() {
    let (listener, url) = listener().await;
    drop(listener);
    assert_eq!(
        failure(&dialled(&url, "")).await.to_string(),
        format!(
            "failed to connect to exec-server websocket `{url}`: \
             Connection refused (os error 111)"
        )
    );
}

#[tokio::test]
async fn a_listener_that_never_upgrades_times_out() {
    let (_listener, url) = listener().await;
    assert_eq!(
        failure(&dialled(&url, "connect_timeout_sec = 0.2"))
            .await
            .to_string(),
        format!(
            "timed out connecting to exec-server websocket `{url}` after 200ms, \
             while waiting for the websocket's answer"
        )
    );
}

#[tokio::test]
async fn a_refused_token_is_told_with_advice_and_without_the_token() {
    let (listener, url) = listener().await;
    let server = async {
        let (mut socket, _) = listener.accept().await.expect("accepted");
        let mut request = [0; 1024];
        let _ = socket.read(&mut request).await.expect("a request");
        let answer = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
        socket.write_all(answer).await.expect("answered");
    };
    let registry = dialled(&url, "auth_bearer_token = \"hunter2\"");
    let (error, ()) = tokio::join!(failure(&registry), server);
    assert_eq!(
        error.to_string(),
        format!(
            "exec-server websocket `{url}` refused the connection: \
             HTTP status 401 Unauthorized; check the entry's bearer token"
        )
    );
}
