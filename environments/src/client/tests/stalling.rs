//! Wires that lose something without a word.

use super::*;
use crate::testing::{Unsure, recoverable, recoverable_over};

#[tokio::test(start_paused = true)]
async fn a_stream_that_stalled_is_left_and_its_session_taken_up() {
    let (executor, mut peer, mut peers, _tasks) = recoverable_over::<Unsure>().await;
    let start = tokio::time::Instant::now();
    let target = path("file:///f");
    let read = executor.read_file(&target);
    let script = async {
        let (_lost, _) = peer.request("fs/readFile").await;
        peer.request("environment/status").await;
        // Neither is answered, and nobody is told that anything is missing.
        let mut next = peers.recv().await.expect("another connection");
        let waited = start.elapsed().as_secs();
        assert!((30..=36).contains(&waited), "{waited} s");
        next.greet_again(json!("s")).await;
        next
    };
    let (read, _next) = tokio::join!(read, script);
    // What happened to a read is not known, and it is not repeated behind anybody's back.
    assert!(matches!(read, Err(CallError::Lost { .. })), "{read:?}");
    executor.link().settled().await;
    assert!(executor.is_connected());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_long_is_asked_after_and_left_alone() {
    let (executor, mut peer, mut peers, _tasks) = recoverable_over::<Unsure>().await;
    let target = path("file:///f");
    let read = executor.read_file(&target);
    let script = async {
        let (slow, _) = peer.request("fs/readFile").await;
        let (probe, _) = peer.request("environment/status").await;
        // An executor that knows no such call is there all the same.
        peer.refuse(&probe, -32601, "no such method").await;
        peer.reply(&slow, json!({"dataBase64": "aGk="})).await;
    };
    let (read, ()) = tokio::join!(read, script);
    assert_eq!(read.expect("read"), "hi");
    assert!(peers.try_recv().is_err(), "it was left");
}

#[tokio::test(start_paused = true)]
async fn silence_of_a_running_process_is_asked_after() {
    let (executor, mut peer, mut peers, _tasks) = recoverable_over::<Unsure>().await;
    let (process, id) = tokio::join!(executor.start(start_params("p")), peer.accept_start());
    let mut process = process.expect("started");
    let (probe, _) = peer.request("environment/status").await;
    peer.reply(&probe, json!({"status": "ready"})).await;
    // The second time nobody answers, and what was lost is fetched.
    let script = async {
        peer.request("environment/status").await;
        let mut next = peers.recv().await.expect("another connection");
        next.greet_again(json!("s")).await;
        let (page, params) = next.request("process/read").await;
        assert_eq!(params["processId"], id);
        let chunk = json!({"seq": 1, "stream": "stdout", "chunk": "aGk="});
        let read = json!({"chunks": [chunk], "nextSeq": 2, "exited": false, "closed": false});
        next.reply(&page, read).await;
        next
    };
    let (event, _next) = tokio::join!(process.next(), script);
    assert!(
        matches!(event, Some(ProcessEvent::Output { .. })),
        "{event:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wire_that_tells_when_it_breaks_is_not_probed() {
    let (executor, mut peer, _peers, _tasks) = recoverable().await;
    let target = path("file:///f");
    let read = executor.read_file(&target);
    let script = async {
        let (slow, _) = peer.request("fs/readFile").await;
        tokio::time::sleep(std::time::Duration::from_secs(100)).await;
        peer.reply(&slow, json!({"dataBase64": "aGk="})).await;
        peer
    };
    let (read, mut peer) = tokio::join!(read, script);
    assert_eq!(read.expect("read"), "hi");
    drop(executor);
    assert!(peer.is_closed().await, "something else was said");
}
