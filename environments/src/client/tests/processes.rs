//! Processes: events, input, and what a handle's end means.

use super::*;

#[tokio::test]
async fn a_process_is_followed_to_its_end_and_the_executor_is_told_that_it_may_go() {
    let (executor, mut peer, _tasks) = connected().await;
    let mut process = started(&executor, &mut peer, "p").await;
    peer.output("p", 1, b"hello").await;
    peer.exited("p", 2, 137).await;
    peer.closed("p", 3).await;
    assert_eq!(process.next().await, Some(stdout(b"hello")));
    let exited = ProcessEvent::Exited {
        code: 137,
        sandbox_denied: Some(false),
    };
    assert_eq!(process.next().await, Some(exited));
    assert_eq!(process.next().await, Some(ProcessEvent::Closed));
    assert_eq!(process.next().await, None);
    peer.confirm_end("p").await;
    // Its end was said already, so the handle has nothing to add.
    drop(process);
    let mut status = pin!(executor.status());
    assert!(poll!(&mut status).is_pending());
    peer.request("environment/status").await;
}

#[tokio::test]
async fn events_that_come_before_the_start_is_answered_are_not_lost() {
    let (executor, mut peer, _tasks) = connected().await;
    let script = async {
        let (id, _) = peer.request("process/start").await;
        peer.output("p", 1, b"early").await;
        peer.reply(&id, json!({"processId": "p", "sandboxType": "none"}))
            .await;
    };
    let (process, ()) = tokio::join!(executor.start(start_params("p")), script);
    let mut process = process.expect("started");
    assert_eq!(process.next().await, Some(stdout(b"early")));
}

#[tokio::test]
async fn a_process_that_is_not_confined_as_wanted_is_ended() {
    let (executor, mut peer, _tasks) = connected().await;
    for told in [json!("none"), json!(null)] {
        let mut params = start_params("p");
        params.sandbox = Some(
            serde_json::from_value(json!({
                "permissions": {"type": "external", "network": "restricted"},
                "windowsSandboxLevel": "disabled",
            }))
            .expect("a sandbox"),
        );
        let script = async {
            let (id, params) = peer.request("process/start").await;
            assert_eq!(params["sandbox"]["permissions"]["type"], "external");
            peer.reply(&id, json!({"processId": "p", "sandboxType": told}))
                .await;
            peer.confirm_end("p").await;
        };
        let (started, ()) = tokio::join!(executor.start(params), script);
        assert!(matches!(started, Err(CallError::Unconfined)), "{started:?}");
    }
}

#[tokio::test]
async fn dropping_the_handle_ends_the_process() {
    let (executor, mut peer, _tasks) = connected().await;
    let process = started(&executor, &mut peer, "p").await;
    drop(process);
    peer.confirm_end("p").await;
    // Late news about it goes nowhere, and the id may be used again.
    peer.exited("p", 1, 137).await;
    started(&executor, &mut peer, "p").await;
}

#[tokio::test]
async fn a_start_that_is_given_up_is_ended_once_it_is_answered() {
    let (executor, mut peer, _tasks) = connected().await;
    let id = {
        let mut start = pin!(executor.start(start_params("p")));
        assert!(poll!(&mut start).is_pending());
        peer.request("process/start").await.0
    };
    peer.reply(&id, json!({"processId": "p"})).await;
    peer.confirm_end("p").await;
}

#[tokio::test(start_paused = true)]
async fn a_start_that_times_out_is_ended_once_it_is_answered() {
    let (executor, mut peer, _tasks) = connected().await;
    let start = executor.start(start_params("p")).await;
    assert!(matches!(start, Err(CallError::TimedOut)), "{start:?}");
    let (id, _) = peer.request("process/start").await;
    peer.reply(&id, json!({"processId": "p"})).await;
    peer.confirm_end("p").await;
}

#[tokio::test]
async fn a_refused_start_frees_the_id() {
    let (executor, mut peer, _tasks) = connected().await;
    let script = async {
        let (id, _) = peer.request("process/start").await;
        peer.refuse(&id, -32603, "no such program").await;
        peer.accept_start().await;
    };
    let starts = async {
        let refused = executor.start(start_params("p")).await;
        assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");
        executor.start(start_params("p")).await.expect("started")
    };
    tokio::join!(starts, script);
}

#[tokio::test]
async fn a_second_process_of_the_same_id_is_refused_here_and_harms_nobody() {
    let (executor, mut peer, _tasks) = connected().await;
    let mut first = started(&executor, &mut peer, "p").await;
    let second = executor.start(start_params("p")).await;
    assert!(
        matches!(second, Err(CallError::NotSent { .. })),
        "{second:?}"
    );
    peer.output("p", 1, b"still here").await;
    assert_eq!(first.next().await, Some(stdout(b"still here")));
}

#[tokio::test]
async fn processes_of_one_connection_are_bounded_and_their_end_always_gets_through() {
    let (executor, mut peer, _tasks) = connected().await;
    let mut processes = Vec::new();
    for n in 0..PROCESSES_MAX {
        processes.push(started(&executor, &mut peer, &format!("p{n}")).await);
    }
    let one_more = executor.start(start_params("one more")).await;
    assert!(
        matches!(one_more, Err(CallError::NotSent { .. })),
        "{one_more:?}"
    );
    drop(processes);
    for n in 0..PROCESSES_MAX {
        peer.confirm_end(&format!("p{n}")).await;
    }
    started(&executor, &mut peer, "one more").await;
}

#[tokio::test]
async fn writes_go_one_at_a_time_and_count_up_from_one() {
    let (executor, mut peer, _tasks) = connected().await;
    let process = started(&executor, &mut peer, "p").await;
    let mut first = pin!(process.write(b"a"));
    let mut second = pin!(process.write(b"b"));
    assert!(poll!(&mut first).is_pending());
    assert!(poll!(&mut second).is_pending());
    let (id, params) = peer.request("process/write").await;
    assert_eq!(
        params,
        json!({"processId": "p", "chunk": "YQ==", "writeId": "1"})
    );
    // The second is still here: something else sent now is seen first.
    let mut status = pin!(executor.status());
    assert!(poll!(&mut status).is_pending());
    peer.request("environment/status").await;
    peer.reply(&id, json!({"status": "accepted"})).await;
    assert!(matches!(first.await, Ok(WriteStatus::Accepted)));
    assert!(poll!(&mut second).is_pending());
    let (id, params) = peer.request("process/write").await;
    assert_eq!(
        params,
        json!({"processId": "p", "chunk": "Yg==", "writeId": "2"})
    );
    peer.reply(&id, json!({"status": "stdinClosed"})).await;
    assert!(matches!(second.await, Ok(WriteStatus::StdinClosed)));
}

#[tokio::test]
async fn a_write_nobody_waits_for_still_goes_before_the_next() {
    let (executor, mut peer, _tasks) = connected().await;
    let process = started(&executor, &mut peer, "p").await;
    let first = {
        let mut write = pin!(process.write(b"a"));
        assert!(poll!(&mut write).is_pending());
        peer.request("process/write").await.0
    };
    let mut second = pin!(process.write(b"b"));
    assert!(poll!(&mut second).is_pending());
    let mut status = pin!(executor.status());
    assert!(poll!(&mut status).is_pending());
    peer.request("environment/status").await;
    peer.reply(&first, json!({"status": "accepted"})).await;
    let script = async {
        let (id, params) = peer.request("process/write").await;
        assert_eq!(params["writeId"], "2");
        peer.reply(&id, json!({"status": "accepted"})).await;
    };
    let (status, ()) = tokio::join!(second, script);
    assert!(matches!(status, Ok(WriteStatus::Accepted)));
}

#[tokio::test]
async fn interrupt_and_terminate_reach_the_process() {
    let (executor, mut peer, _tasks) = connected().await;
    let process = started(&executor, &mut peer, "p").await;
    let script = async {
        let (id, params) = peer.request("process/signal").await;
        assert_eq!(params, json!({"processId": "p", "signal": "interrupt"}));
        peer.reply(&id, json!({})).await;
        peer.confirm_end("p").await;
    };
    let calls = async {
        process.interrupt().await.expect("interrupted");
        assert!(process.terminate().await.expect("terminated"));
    };
    tokio::join!(calls, script);
}

#[tokio::test]
async fn a_reader_that_does_not_read_stalls_nobody_and_finds_the_gap_and_the_end() {
    let (executor, mut peer, _tasks) = connected().await;
    let mut lazy = started(&executor, &mut peer, "lazy").await;
    let mut diligent = started(&executor, &mut peer, "diligent").await;
    let (piece, pieces) = (vec![b'x'; 256 << 10], 40);
    let script = async {
        for seq in 1..=pieces {
            peer.output("lazy", seq, &piece).await;
        }
        peer.exited("lazy", pieces + 1, 0).await;
        peer.closed("lazy", pieces + 2).await;
        peer.output("diligent", 1, b"news").await;
        peer.confirm_end("lazy").await;
        let (id, _) = peer.request("environment/status").await;
        peer.reply(&id, json!({"status": "ready"})).await;
    };
    let others = async {
        assert_eq!(diligent.next().await, Some(stdout(b"news")));
        executor.status().await.expect("alive");
    };
    tokio::join!(others, script);
    let (mut taken, mut gaps, mut ends) = (0, Vec::new(), Vec::new());
    while let Some(event) = lazy.next().await {
        match event {
            ProcessEvent::Output { bytes, .. } => taken += bytes.len() as u64,
            ProcessEvent::Truncated { bytes } => gaps.push(bytes),
            end => ends.push(end),
        }
    }
    assert_eq!(gaps.len(), 1);
    assert_eq!(taken + gaps[0], pieces * piece.len() as u64);
    assert!(taken > 7 << 20, "{taken}");
    let exited = ProcessEvent::Exited {
        code: 0,
        sandbox_denied: Some(false),
    };
    assert_eq!(ends, [exited, ProcessEvent::Closed]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_may_lose_nothing_holds_the_connection_back_and_it_shows_signs_of_life() {
    let (executor, mut peer, _tasks) = connected_over(64 << 10).await;
    let start = executor.start_with(start_params("p"), Overflow::Wait);
    let (process, _) = tokio::join!(start, peer.accept_start());
    let mut process = process.expect("started");
    let piece = vec![b'x'; 64 << 10];
    let Peer { wire } = peer;
    let (mut to_us, mut from_us) = futures_util::StreamExt::split(wire);
    let flood = tokio::spawn(async move {
        for seq in 1..=200 {
            let mut text = String::new();
            let stream = OutputStream::Stdout;
            farstep_protocol::frame::process_output(&mut text, "p", seq, stream, &piece);
            let text = farstep_transport::Text::from(text);
            futures_util::SinkExt::send(&mut to_us, text)
                .await
                .expect("sent");
        }
        to_us
    });
    // Nobody reads the process, so the sender is stuck, and only signs of life arrive.
    let begun = Instant::now();
    let sign = from_us.next().await.expect("a sign").expect("a text");
    let sign: Value = serde_json::from_str(&sign).expect("json");
    assert_eq!(sign, json!({"method": "initialized", "params": {}}));
    assert_eq!(begun.elapsed(), Duration::from_secs(20));
    assert!(!flood.is_finished());
    let mut taken = 0;
    while taken < 200 * (64 << 10) {
        match process.next().await {
            Some(ProcessEvent::Output { bytes, .. }) => taken += bytes.len(),
            other => panic!("{other:?}"),
        }
    }
    let _to_us = flood.await.expect("all sent");
}

#[tokio::test]
async fn a_gap_in_the_events_loses_the_process_and_ends_it() {
    let (executor, mut peer, _tasks) = connected().await;
    let mut process = started(&executor, &mut peer, "p").await;
    for seq in 2..=258 {
        peer.output("p", seq, b"").await;
    }
    let lost = process.next().await;
    assert!(matches!(lost, Some(ProcessEvent::Lost { .. })), "{lost:?}");
    assert_eq!(process.next().await, None);
    peer.confirm_end("p").await;
    assert!(executor.is_connected());
}
