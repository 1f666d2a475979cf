//! How connections end, and what becomes of what runs there.

use super::*;

#[tokio::test]
async fn the_connection_ends_with_its_last_handle_and_takes_its_processes_along() {
    let (executor, mut peer, tasks) = connected().await;
    let process = started(&executor, &mut peer, "p").await;
    drop(executor);
    // A process holds its connection.
    peer.output("p", 1, b"x").await;
    drop(process);
    peer.confirm_end("p").await;
    assert!(peer.is_closed().await);
    tasks.close().await;
}

#[tokio::test]
async fn a_stop_ends_every_process_before_it_closes() {
    let (executor, mut peer, tasks) = connected().await;
    let mut process = started(&executor, &mut peer, "p").await;
    let target = path("file:///f");
    let mut call = pin!(executor.metadata(&target));
    assert!(poll!(&mut call).is_pending());
    peer.request("fs/getMetadata").await;
    let script = async {
        let (id, params) = peer.request("process/terminate").await;
        assert_eq!(params, json!({"processId": "p"}));
        // Whoever closed now would leave the process to itself.
        assert!(peer.wire.next().now_or_never().is_none());
        peer.reply(&id, json!({"running": true})).await;
        assert!(peer.is_closed().await);
    };
    tokio::join!(tasks.close(), script);
    let reason = "the connection was closed".to_owned();
    let lost = ProcessEvent::Lost { reason };
    assert_eq!(process.next().await, Some(lost));
    assert_eq!(process.next().await, None);
    let outcome = call.await;
    assert!(
        matches!(outcome, Err(CallError::Lost { .. })),
        "{outcome:?}"
    );
    assert!(!executor.is_connected());
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_forever_for_an_executor_that_hangs() {
    let (executor, mut peer, tasks) = connected().await;
    let _process = started(&executor, &mut peer, "p").await;
    let begun = Instant::now();
    tasks.close().await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_lost_connection_is_told_to_every_process_once() {
    let (executor, mut peer, _tasks) = connected().await;
    let mut process = started(&executor, &mut peer, "p").await;
    peer.output("p", 1, b"last words").await;
    drop(peer);
    assert_eq!(process.next().await, Some(stdout(b"last words")));
    let reason = "the executor closed the connection".to_owned();
    let lost = ProcessEvent::Lost { reason };
    assert_eq!(process.next().await, Some(lost));
    assert_eq!(process.next().await, None);
    assert!(matches!(
        process.write(b"x").await,
        Err(CallError::NotSent { .. })
    ));
    assert!(matches!(
        process.terminate().await,
        Err(CallError::NotSent { .. })
    ));
    assert!(matches!(
        executor.start(start_params("q")).await,
        Err(CallError::NotSent { .. })
    ));
}

#[tokio::test]
async fn nobody_who_hears_of_the_loss_finds_the_connection_alive() {
    let (executor, mut peer, _tasks) = connected().await;
    let target = path("file:///f");
    let mut call = pin!(executor.metadata(&target));
    assert!(poll!(&mut call).is_pending());
    peer.request("fs/getMetadata").await;
    drop(peer);
    let is_up = async {
        let outcome = call.await;
        (outcome, executor.is_connected())
    };
    let (outcome, is_up) = is_up.await;
    assert!(
        matches!(outcome, Err(CallError::Lost { .. })),
        "{outcome:?}"
    );
    assert!(!is_up);
}
