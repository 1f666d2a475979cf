//! A connection that is lost and whose session lives on over another one.

use std::pin::Pin;

use tokio::sync::mpsc;

use super::*;
use crate::fs::{OpenMode, WalkOptions};
use crate::process::Signal;
use farstep_transport::Memory;

use crate::testing::{ScriptedDial, info, recoverable, recoverable_by};

/// Loses the connection and accepts the next one for the same session.
async fn lose(peer: Peer, peers: &mut mpsc::Receiver<Peer>) -> Peer {
    drop(peer);
    let mut next = peers.recv().await.expect("another connection");
    next.greet_again(json!("s")).await;
    next
}

/// Answers the next `process/read`, which must ask for what came after `after`.
async fn answer_read(peer: &mut Peer, after: u64, page: Value) {
    let (id, params) = peer.request("process/read").await;
    let size = params["maxBytes"].as_u64().expect("a bound");
    assert!((64 << 10..=1 << 20).contains(&size), "{size}");
    assert_eq!(
        params,
        json!({"processId": "p", "afterSeq": after, "maxBytes": size, "waitMs": 0})
    );
    peer.reply(&id, page).await;
}

fn page(chunks: &[(u64, &str)], next_seq: u64) -> Value {
    let chunks: Vec<Value> = chunks
        .iter()
        .map(|(seq, text)| {
            let chunk = base64_simd::STANDARD.encode_to_string(text);
            json!({"seq": seq, "stream": "stdout", "chunk": chunk})
        })
        .collect();
    json!({"chunks": chunks, "nextSeq": next_seq, "exited": false, "exitCode": null,
           "closed": false, "failure": null, "sandboxDenied": false})
}

fn ended(mut page: Value) -> Value {
    page["exited"] = json!(true);
    page["exitCode"] = json!(4);
    page["closed"] = json!(true);
    page
}

fn exited() -> ProcessEvent {
    ProcessEvent::Exited {
        code: 4,
        sandbox_denied: Some(false),
    }
}

#[tokio::test]
async fn behind_pipes_only_an_executor_that_outlives_them_is_come_back_to() {
    let mut durable = info("sh");
    durable["capabilities"]["farstepDurableSessions"] = json!(true);
    let (executor, mut peer, mut peers, _tasks) =
        recoverable_by::<Memory>(ScriptedDial::piped(), durable).await;
    let mut process = started(&executor, &mut peer, "p").await;
    peer.output("p", 1, b"one").await;
    assert_eq!(process.next().await, Some(stdout(b"one")));
    let mut peer = lose(peer, &mut peers).await;
    answer_read(&mut peer, 1, ended(page(&[(2, "two")], 3))).await;
    answer_read(&mut peer, 2, ended(page(&[], 4))).await;
    assert_eq!(process.next().await, Some(stdout(b"two")));
    assert_eq!(process.next().await, Some(exited()));

    let (executor, mut peer, mut peers, _tasks) =
        recoverable_by::<Memory>(ScriptedDial::piped(), info("sh")).await;
    let mut process = started(&executor, &mut peer, "p").await;
    drop(peer);
    let lost = process.next().await;
    assert!(matches!(lost, Some(ProcessEvent::Lost { .. })), "{lost:?}");
    assert!(!executor.is_connected() && peers.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn behind_pipes_an_executor_hears_that_we_are_still_there() {
    let mut durable = info("sh");
    durable["capabilities"]["farstepDurableSessions"] = json!(true);
    let (_executor, mut peer, _peers, _tasks) =
        recoverable_by::<Memory>(ScriptedDial::piped(), durable).await;
    for _ in 0..3 {
        let began = tokio::time::Instant::now();
        let sign = json!({"method": "initialized", "params": {}});
        assert_eq!(peer.recv().await, sign);
        let silence = began.elapsed();
        assert!(silence <= Duration::from_secs(8), "{silence:?}");
    }
    let (_executor, mut peer, _peers, _tasks) = recoverable().await;
    let quiet = tokio::time::timeout(Duration::from_secs(600), peer.recv()).await;
    assert!(quiet.is_err(), "a listener has pings: {quiet:?}");
}

#[tokio::test]
async fn what_was_said_meanwhile_is_fetched_and_what_is_said_while_fetching_comes_after_it() {
    let (executor, mut peer, mut peers, _tasks) = recoverable().await;
    let mut process = started(&executor, &mut peer, "p").await;
    peer.output("p", 1, b"one").await;
    assert_eq!(process.next().await, Some(stdout(b"one")));
    let mut peer = lose(peer, &mut peers).await;
    // Live again before the page is there: kept until its turn.
    peer.output("p", 4, b"four").await;
    peer.output("p", 5, b"five").await;
    answer_read(
        &mut peer,
        1,
        page(&[(2, "two"), (3, "three"), (4, "four")], 5),
    )
    .await;
    answer_read(&mut peer, 5, page(&[], 6)).await;
    peer.output("p", 6, b"six").await;
    for text in ["two", "three", "four", "five", "six"] {
        assert_eq!(process.next().await, Some(stdout(text.as_bytes())));
    }
    assert!(executor.is_connected() && !executor.is_recovering());
}

#[tokio::test]
async fn a_process_that_ended_meanwhile_is_followed_to_its_end() {
    let (executor, mut peer, mut peers, _tasks) = recoverable().await;
    let mut process = started(&executor, &mut peer, "p").await;
    let mut peer = lose(peer, &mut peers).await;
    // Events 1 and 3 are output, 2 is the exit between them, 4 the end of the output.
    answer_read(&mut peer, 0, ended(page(&[(1, "out"), (3, "late")], 4))).await;
    answer_read(&mut peer, 3, ended(page(&[], 5))).await;
    peer.confirm_end("p").await;
    assert_eq!(process.next().await, Some(stdout(b"out")));
    assert_eq!(process.next().await, Some(exited()));
    assert_eq!(process.next().await, Some(stdout(b"late")));
    assert_eq!(process.next().await, Some(ProcessEvent::Closed));
    assert_eq!(process.next().await, None);
}

#[tokio::test]
async fn an_exit_that_was_heard_before_is_not_heard_again() {
    let (executor, mut peer, mut peers, _tasks) = recoverable().await;
    let mut process = started(&executor, &mut peer, "p").await;
    peer.exited("p", 1, 4).await;
    assert_eq!(process.next().await, Some(exited()));
    let mut peer = lose(peer, &mut peers).await;
    answer_read(&mut peer, 1, ended(page(&[(2, "late")], 3))).await;
    answer_read(&mut peer, 2, ended(page(&[], 4))).await;
    assert_eq!(process.next().await, Some(stdout(b"late")));
    assert_eq!(process.next().await, Some(ProcessEvent::Closed));
    assert_eq!(process.next().await, None);
}

#[tokio::test]
async fn output_the_executor_did_not_keep_is_a_gap_that_shows() {
    let (executor, mut peer, mut peers, _tasks) = recoverable().await;
    let mut process = started(&executor, &mut peer, "p").await;
    let mut peer = lose(peer, &mut peers).await;
    answer_read(&mut peer, 0, page(&[(101, "kept")], 102)).await;
    answer_read(&mut peer, 101, page(&[], 102)).await;
    assert_eq!(
        process.next().await,
        Some(ProcessEvent::Missed { events: 100 })
    );
    assert_eq!(process.next().await, Some(stdout(b"kept")));
}

#[tokio::test]
async fn more_than_can_be_kept_while_fetching_is_fetched_too() {
    let (executor, mut peer, mut peers, _tasks) = recoverable().await;
    let mut process = started(&executor, &mut peer, "p").await;
    let mut peer = lose(peer, &mut peers).await;
    let big = "x".repeat(600 << 10);
    for seq in 2..=4 {
        peer.output("p", seq, big.as_bytes()).await;
    }
    answer_read(&mut peer, 0, page(&[(1, "one")], 2)).await;
    // The second was kept, the third found no room.
    answer_read(&mut peer, 2, page(&[], 3)).await;
    answer_read(&mut peer, 2, page(&[(3, &big), (4, &big)], 5)).await;
    answer_read(&mut peer, 4, page(&[], 5)).await;
    assert_eq!(process.next().await, Some(stdout(b"one")));
    for _ in 2..=4 {
        assert_eq!(process.next().await, Some(stdout(big.as_bytes())));
    }
}

#[tokio::test]
async fn a_second_loss_while_fetching_loses_nothing() {
    let (executor, mut peer, mut peers, _tasks) = recoverable().await;
    let mut process = started(&executor, &mut peer, "p").await;
    let mut peer = lose(peer, &mut peers).await;
    answer_read(&mut peer, 0, page(&[(1, "one")], 2)).await;
    peer.request("process/read").await;
    let mut peer = lose(peer, &mut peers).await;
    answer_read(&mut peer, 1, page(&[(2, "two")], 3)).await;
    answer_read(&mut peer, 2, page(&[], 3)).await;
    assert_eq!(process.next().await, Some(stdout(b"one")));
    assert_eq!(process.next().await, Some(stdout(b"two")));
}

#[tokio::test]
async fn a_write_is_sent_again_with_the_same_id_and_a_start_is_not() {
    let (executor, mut peer, mut peers, _tasks) = recoverable().await;
    let process = started(&executor, &mut peer, "p").await;
    let mut write = pin!(process.write(b"in"));
    let mut start = pin!(executor.start(start_params("q")));
    assert!(poll!(&mut write).is_pending() && poll!(&mut start).is_pending());
    let (_, first) = peer.request("process/write").await;
    peer.request("process/start").await;
    let script = async {
        let mut peer = lose(peer, &mut peers).await;
        // What may run although nobody knows it is ended.
        peer.confirm_end("q").await;
        answer_read(&mut peer, 0, page(&[], 1)).await;
        let (id, second) = peer.request("process/write").await;
        assert_eq!(first, second);
        peer.reply(&id, json!({"status": "accepted"})).await;
        peer
    };
    let (write, start, _peer) = tokio::join!(write, start, script);
    assert_eq!(write.expect("written"), WriteStatus::Accepted);
    assert!(matches!(start, Err(CallError::Lost { .. })), "{start:?}");
}

#[tokio::test]
async fn what_was_not_sent_waits_and_what_was_sent_is_not_repeated() {
    let (executor, mut peer, mut peers, _tasks) = recoverable().await;
    let target = path("file:///f");
    let mut sent = pin!(executor.metadata(&target));
    assert!(poll!(&mut sent).is_pending());
    peer.request("fs/getMetadata").await;
    drop(peer);
    let lost = sent.await;
    assert!(matches!(lost, Err(CallError::Lost { .. })), "{lost:?}");
    assert!(executor.is_connected() && executor.is_recovering());
    let mut status = pin!(executor.status());
    assert!(poll!(&mut status).is_pending());
    let script = async {
        let mut peer = peers.recv().await.expect("another connection");
        peer.greet_again(json!("s")).await;
        let (id, _) = peer.request("environment/status").await;
        peer.reply(&id, json!({"status": "ready"})).await;
        peer
    };
    let (status, _peer) = tokio::join!(status, script);
    status.expect("alive");
}

/// A row of the table in section 6 of `environments` for each kind of call that is under way when
/// the connection is lost: those that may have been done are told, and not sent again.
#[tokio::test]
async fn no_call_that_may_have_been_done_is_sent_again() {
    let (executor, mut peer, mut peers, _tasks) = recoverable().await;
    let process = started(&executor, &mut peer, "p").await;
    let target = path("file:///f");
    let shallow = WalkOptions {
        max_depth: 1,
        max_directories: 1,
        max_entries: 1,
        follow_directory_symlinks: false,
        prune_hidden_directories: false,
        everything: false,
    };
    let input = process.input().clone();
    type Call<'a> = Pin<Box<dyn Future<Output = Result<(), CallError>> + 'a>>;
    let calls: [(&str, Call<'_>); 11] = [
        ("process/signal", Box::pin(input.signal(Signal::Interrupt))),
        (
            "fs/readFile",
            Box::pin(async { executor.read_file(&target).await.map(drop) }),
        ),
        ("fs/writeFile", Box::pin(executor.write_file(&target, b"x"))),
        (
            "fs/createDirectory",
            Box::pin(executor.create_directory(&target, true)),
        ),
        (
            "fs/canonicalize",
            Box::pin(async { executor.canonicalize(&target).await.map(drop) }),
        ),
        (
            "fs/readDirectory",
            Box::pin(async { executor.read_directory(&target).await.map(drop) }),
        ),
        (
            "fs/walk",
            Box::pin(async { executor.walk(&target, shallow).await.map(drop) }),
        ),
        ("fs/remove", Box::pin(executor.remove(&target, false, true))),
        ("fs/copy", Box::pin(executor.copy(&target, &target, false))),
        (
            "fs/farstepRename",
            Box::pin(executor.rename(&target, &target)),
        ),
        (
            "fs/open",
            Box::pin(async { executor.open(&target, OpenMode::Read, None).await.map(drop) }),
        ),
    ];
    for (method, mut call) in calls {
        assert!(poll!(&mut call).is_pending());
        peer.request(method).await;
        let script = async {
            let mut peer = lose(peer, &mut peers).await;
            answer_read(&mut peer, 0, page(&[], 1)).await;
            peer
        };
        let (outcome, next) = tokio::join!(call, script);
        peer = next;
        let Err(CallError::Lost { .. }) = outcome else {
            panic!("{method}: {outcome:?}");
        };
        // The next message would be the call, were it made again.
        let mut status = pin!(executor.status());
        assert!(poll!(&mut status).is_pending());
        let (id, _) = peer.request("environment/status").await;
        peer.reply(&id, json!({"status": "ready"})).await;
        status.await.expect("alive");
    }
}

#[tokio::test]
async fn the_close_of_a_file_is_sent_again() {
    let (executor, mut peer, mut peers, _tasks) = recoverable().await;
    let target = path("file:///f");
    let open = executor.open(&target, OpenMode::Read, None);
    let script = async {
        let (id, params) = peer.request("fs/open").await;
        peer.reply(&id, json!({"handleId": params["handleId"]}))
            .await;
    };
    let (file, ()) = tokio::join!(open, script);
    let mut close = pin!(file.expect("opened").close());
    assert!(poll!(&mut close).is_pending());
    let (_, first) = peer.request("fs/close").await;
    let script = async {
        let mut peer = lose(peer, &mut peers).await;
        let (id, second) = peer.request("fs/close").await;
        assert_eq!(first, second);
        peer.reply(&id, json!({})).await;
        peer
    };
    let (closed, _peer) = tokio::join!(close, script);
    closed.expect("closed");
}

#[tokio::test]
async fn a_terminate_and_a_process_let_go_of_are_ended_on_the_next_connection() {
    let (executor, mut peer, mut peers, _tasks) = recoverable().await;
    let process = started(&executor, &mut peer, "p").await;
    let unwanted = started(&executor, &mut peer, "q").await;
    drop(unwanted);
    peer.request("process/terminate").await;
    let mut terminate = pin!(process.terminate());
    assert!(poll!(&mut terminate).is_pending());
    peer.request("process/terminate").await;
    let script = async {
        let mut peer = lose(peer, &mut peers).await;
        peer.confirm_end("q").await;
        answer_read(&mut peer, 0, page(&[], 1)).await;
        peer.confirm_end("p").await;
        peer
    };
    let (terminate, _peer) = tokio::join!(terminate, script);
    assert!(terminate.expect("terminated"));
}

#[tokio::test(start_paused = true)]
async fn a_session_held_by_the_old_connection_is_asked_for_again() {
    let (executor, peer, mut peers, _tasks) = recoverable().await;
    drop(peer);
    for _ in 0..3 {
        let mut held = peers.recv().await.expect("an attempt");
        let (id, _) = held.request("initialize").await;
        held.refuse(&id, -32010, "attached elsewhere").await;
    }
    let mut peer = peers.recv().await.expect("an attempt");
    peer.greet_again(json!("s")).await;
    let script = async {
        let (id, _) = peer.request("environment/status").await;
        peer.reply(&id, json!({"status": "ready"})).await;
    };
    let (status, ()) = tokio::join!(executor.status(), script);
    status.expect("alive");
}

#[tokio::test]
async fn a_session_the_executor_does_not_know_ends_the_attempt_at_once() {
    let (executor, mut peer, mut peers, _tasks) = recoverable().await;
    let mut process = started(&executor, &mut peer, "p").await;
    drop(peer);
    let mut peer = peers.recv().await.expect("an attempt");
    let (id, _) = peer.request("initialize").await;
    peer.refuse(&id, -32600, "unknown session id").await;
    let Some(ProcessEvent::Lost { reason }) = process.next().await else {
        panic!("it is not lost");
    };
    assert_eq!(
        reason,
        "the executor closed the connection; failed to resume exec-server session: \
         unknown session id (-32600)"
    );
    assert!(!executor.is_connected());
    assert!(peers.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_reached_is_given_up_after_the_window() {
    let (executor, mut peer, peers, _tasks) = recoverable().await;
    let mut process = started(&executor, &mut peer, "p").await;
    let begun = Instant::now();
    drop((peer, peers));
    let target = path("file:///f");
    let waiting = executor.metadata(&target);
    let (lost, waiting) = tokio::join!(process.next(), waiting);
    let Some(ProcessEvent::Lost { reason }) = lost else {
        panic!("it is not lost: {lost:?}");
    };
    assert!(
        reason.contains("recovery timed out after 45s") && reason.contains("nobody listens"),
        "{reason}"
    );
    assert!(matches!(waiting, Err(CallError::NotSent { .. })));
    assert_eq!(begun.elapsed().as_secs(), 45);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_recovery() {
    let (executor, peer, mut peers, tasks) = recoverable().await;
    drop(peer);
    let silent = peers.recv().await.expect("an attempt");
    tasks.close().await;
    assert!(!executor.is_connected());
    drop(silent);
}
