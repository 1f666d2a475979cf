//! Calls, their order and their ends.

use super::*;

#[tokio::test]
async fn joined_calls_are_all_under_way_before_the_first_reply_in_the_order_they_were_polled() {
    let (executor, mut peer, _tasks) = connected().await;
    let paths: Vec<_> = (0..20).map(|n| path(&format!("file:///f{n}"))).collect();
    let reads = futures_util::future::join_all(paths.iter().map(|path| executor.read_file(path)));
    let script = async {
        let mut ids = Vec::new();
        for n in 0..20 {
            let (id, params) = peer.request("fs/readFile").await;
            assert_eq!(params["path"], format!("file:///f{n}"));
            ids.push(id);
        }
        for (n, id) in ids.iter().enumerate().rev() {
            let content = base64_simd::STANDARD.encode_to_string(n.to_string());
            peer.reply(id, json!({"dataBase64": content})).await;
        }
    };
    let (contents, ()) = tokio::join!(reads, script);
    for (n, content) in contents.into_iter().enumerate() {
        assert_eq!(content.expect("read"), n.to_string());
    }
}

#[tokio::test]
async fn control_overtakes_small_calls_and_those_overtake_big_ones() {
    let (executor, mut peer, _tasks) = connected_over(4096).await;
    let (big, small) = (vec![b'x'; 1 << 20], path("file:///small"));
    let paths = [path("file:///big0"), path("file:///big1")];
    let mut first = pin!(executor.write_file(&paths[0], &big));
    let mut second = pin!(executor.write_file(&paths[1], &big));
    assert!(poll!(&mut first).is_pending());
    assert!(poll!(&mut second).is_pending());
    // The first big write is on the wire, which is full of it.
    tokio::task::yield_now().await;
    let mut metadata = pin!(executor.metadata(&small));
    assert!(poll!(&mut metadata).is_pending());
    let mut status = pin!(executor.status());
    assert!(poll!(&mut status).is_pending());
    let mut order = Vec::new();
    for _ in 0..4 {
        let message = peer.recv().await;
        order.push((message["method"].clone(), message["params"]["path"].clone()));
    }
    assert_eq!(
        order,
        [
            (json!("fs/writeFile"), json!("file:///big0")),
            (json!("environment/status"), Value::Null),
            (json!("fs/getMetadata"), json!("file:///small")),
            (json!("fs/writeFile"), json!("file:///big1")),
        ]
    );
}

#[tokio::test]
async fn control_is_not_held_up_by_the_number_of_calls_under_way() {
    let (executor, mut peer, _tasks) = connected().await;
    let target = path("file:///f");
    let mut reads: Vec<_> = (0..1200)
        .map(|_| Box::pin(executor.metadata(&target)))
        .collect();
    // More than fit the lane and more than may be under way; each waits where it is. Several
    // rounds, because the runtime lets one task do only so much at a time.
    for _ in 0..16 {
        for read in &mut reads {
            assert!(poll!(read).is_pending());
        }
        tokio::task::yield_now().await;
    }
    let mut status = pin!(executor.status());
    assert!(poll!(&mut status).is_pending());
    let mut ids = Vec::new();
    let status_id = loop {
        let message = peer.recv().await;
        match message["method"].as_str() {
            Some("environment/status") => break message["id"].clone(),
            _ => ids.push(message["id"].clone()),
        }
    };
    assert_eq!(ids.len(), 1024);
    peer.reply(&status_id, json!({"status": "ready"})).await;
    assert!(matches!(status.await, Ok(())));
    // Whoever stops waiting makes room for the next.
    drop(reads.drain(..1024));
    for read in &mut reads {
        assert!(poll!(read).is_pending());
    }
    peer.reply(&ids[0], json!({})).await;
    peer.request("fs/getMetadata").await;
}

#[tokio::test]
async fn strays_and_news_are_ignored_and_requests_are_refused() {
    let (executor, mut peer, _tasks) = connected().await;
    let target = path("file:///f");
    let script = async {
        let (id, _) = peer.request("fs/canonicalize").await;
        peer.reply(&json!(4711), json!({"path": "file:///evil"}))
            .await;
        peer.reply(&json!("1"), json!({"path": "file:///evil"}))
            .await;
        peer.send(json!({"id": -1, "error": {"code": -32600, "message": "?"}}))
            .await;
        peer.notify("farstep/news", json!({"environment": "other"}))
            .await;
        peer.send_text("{\"id\":").await;
        peer.send_text("[]").await;
        peer.send(json!({"id": "q", "method": "network/policyRequest", "params": {}}))
            .await;
        let refusal = peer.recv().await;
        assert_eq!(refusal["id"], "q");
        assert_eq!(refusal["error"]["code"], -32601);
        peer.reply(&id, json!({"path": "file:///real"})).await;
        peer.reply(&id, json!({"path": "file:///again"})).await;
    };
    let (found, ()) = tokio::join!(executor.canonicalize(&target), script);
    assert_eq!(found.expect("found"), path("file:///real"));
    assert!(executor.is_connected());
}

#[tokio::test]
async fn a_peer_that_only_talks_nonsense_is_given_up() {
    let (executor, mut peer, _tasks) = connected().await;
    let nonsense = async {
        for _ in 0..20_000 {
            let text = farstep_transport::Text::from_static("{}");
            if futures_util::SinkExt::send(&mut peer.wire, text)
                .await
                .is_err()
            {
                break;
            }
        }
    };
    let (reason, ()) = tokio::join!(executor.link().lost(), nonsense);
    assert_eq!(reason, "the executor sends messages that make no sense");
}

#[tokio::test]
async fn refusals_and_answers_that_make_no_sense_are_told_apart() {
    let (executor, mut peer, _tasks) = connected().await;
    let target = path("file:///f");
    let script = async {
        let (id, _) = peer.request("fs/getMetadata").await;
        peer.refuse(&id, -32004, "not found").await;
        let (id, _) = peer.request("fs/getMetadata").await;
        peer.reply(&id, json!({"isFile": "yes"})).await;
        let (id, _) = peer.request("fs/readFile").await;
        peer.reply(&id, json!({"dataBase64": "%"})).await;
    };
    let calls = async {
        let refused = executor.metadata(&target).await;
        assert!(
            matches!(&refused, Err(CallError::Refused(error)) if error.is(ErrorCode::NotFound)),
            "{refused:?}"
        );
        let nonsense = executor.metadata(&target).await;
        assert!(
            matches!(nonsense, Err(CallError::Protocol { .. })),
            "{nonsense:?}"
        );
        let nonsense = executor.read_file(&target).await;
        assert!(
            matches!(nonsense, Err(CallError::Protocol { .. })),
            "{nonsense:?}"
        );
    };
    tokio::join!(calls, script);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_times_out_and_the_connection_goes_on() {
    let (executor, mut peer, _tasks) = connected().await;
    let target = path("file:///f");
    let begun = Instant::now();
    let outcome = executor.metadata(&target).await;
    assert!(matches!(outcome, Err(CallError::TimedOut)), "{outcome:?}");
    assert_eq!(begun.elapsed(), QUICK);
    let (late, _) = peer.request("fs/getMetadata").await;
    peer.reply(&late, json!({})).await;
    let script = async {
        let (id, _) = peer.request("environment/status").await;
        peer.reply(&id, json!({"status": "ready"})).await;
    };
    let (status, ()) = tokio::join!(executor.status(), script);
    assert!(matches!(status, Ok(())));
}

#[tokio::test]
async fn a_call_dropped_before_it_was_sent_is_never_sent() {
    let (executor, mut peer, _tasks) = connected().await;
    let (unwanted, wanted) = (path("file:///unwanted"), path("file:///wanted"));
    {
        let mut call = pin!(executor.remove(&unwanted, true, true));
        assert!(poll!(&mut call).is_pending());
    }
    let mut call = pin!(executor.metadata(&wanted));
    assert!(poll!(&mut call).is_pending());
    let (_, params) = peer.request("fs/getMetadata").await;
    assert_eq!(params["path"], "file:///wanted");
}

#[tokio::test]
async fn a_lost_connection_tells_what_was_sent_from_what_was_not() {
    let (executor, peer, _tasks) = connected_over(4096).await;
    let (big, target) = (vec![b'x'; 1 << 20], path("file:///f"));
    let mut sent = pin!(executor.write_file(&target, &big));
    assert!(poll!(&mut sent).is_pending());
    tokio::task::yield_now().await;
    let mut queued = pin!(executor.metadata(&target));
    assert!(poll!(&mut queued).is_pending());
    drop(peer);
    let sent = sent.await;
    assert!(matches!(sent, Err(CallError::Lost { .. })), "{sent:?}");
    let queued = queued.await;
    assert!(
        matches!(queued, Err(CallError::NotSent { .. })),
        "{queued:?}"
    );
    assert!(!executor.is_connected());
    let later = executor.metadata(&target).await;
    assert!(matches!(later, Err(CallError::NotSent { .. })), "{later:?}");
}

#[tokio::test]
async fn a_file_that_fits_into_no_message_is_not_sent() {
    let (executor, mut peer, _tasks) = connected().await;
    let target = path("file:///f");
    let outcome = executor.write_file(&target, &vec![0; 49 << 20]).await;
    assert!(
        matches!(outcome, Err(CallError::NotSent { .. })),
        "{outcome:?}"
    );
    assert!(peer.wire.next().now_or_never().is_none());
}

#[tokio::test]
async fn big_writes_wait_for_room_instead_of_piling_up() {
    let (executor, peer, _tasks) = connected_over(4096).await;
    let (big, target) = (vec![b'x'; 30 << 20], path("file:///f"));
    let mut writes: Vec<_> = (0..4)
        .map(|_| Box::pin(executor.write_file(&target, &big)))
        .collect();
    for write in &mut writes {
        assert!(poll!(write).is_pending());
    }
    assert!(executor.shared.bulk_room.available_permits() < BULK_ROOM);
    assert_eq!(executor.shared.bulk.capacity(), LANE_CALLS - 2);
    tokio::task::yield_now().await;
    drop(peer);
    let mut sent = 0;
    for outcome in futures_util::future::join_all(writes).await {
        match outcome {
            Err(CallError::Lost { .. }) => sent += 1,
            outcome => assert!(
                matches!(outcome, Err(CallError::NotSent { .. })),
                "{outcome:?}"
            ),
        }
    }
    assert_eq!(sent, 1);
    assert_eq!(executor.shared.bulk_room.available_permits(), BULK_ROOM);
}

#[tokio::test]
async fn every_file_call_says_what_the_wire_wants() {
    let (executor, mut peer, _tasks) = connected().await;
    let (from, to) = (path("file:///a%20b"), path("file:///c"));
    let options = crate::fs::WalkOptions {
        max_depth: 1,
        max_directories: 2,
        max_entries: 3,
        follow_directory_symlinks: false,
        prune_hidden_directories: true,
        everything: false,
    };
    let script = async {
        let mut seen = Vec::new();
        for result in [
            json!({}),
            json!({}),
            json!({"entries": [{"fileName": "x", "isDirectory": false, "isFile": true}]}),
            json!({"entries": [{"path": "file:///c/x", "kind": "file"}], "errors": [], "truncated": true}),
            json!({}),
            json!({}),
        ] {
            let message = peer.recv().await;
            seen.push((message["method"].clone(), message["params"].clone()));
            peer.reply(&message["id"], result).await;
        }
        seen
    };
    let calls = async {
        executor.write_file(&from, b"hi").await.expect("written");
        executor.create_directory(&to, true).await.expect("created");
        let entries = executor.read_directory(&to).await.expect("listed");
        assert_eq!(entries[0].file_name, "x");
        let walked = executor.walk(&to, options).await.expect("walked");
        assert!(walked.truncated);
        executor.copy(&from, &to, false).await.expect("copied");
        executor.remove(&from, false, true).await.expect("removed");
    };
    let ((), seen) = tokio::join!(calls, script);
    assert_eq!(
        seen,
        [
            (
                json!("fs/writeFile"),
                json!({"path": "file:///a%20b", "dataBase64": "aGk=", "sandbox": null})
            ),
            (
                json!("fs/createDirectory"),
                json!({"path": "file:///c", "recursive": true, "sandbox": null})
            ),
            (
                json!("fs/readDirectory"),
                json!({"path": "file:///c", "sandbox": null})
            ),
            (
                json!("fs/walk"),
                json!({"path": "file:///c", "sandbox": null, "options":
                {"maxDepth": 1, "maxDirectories": 2, "maxEntries": 3, "followDirectorySymlinks": false,
                 "pruneHiddenDirectories": true}})
            ),
            (
                json!("fs/copy"),
                json!({"sourcePath": "file:///a%20b", "destinationPath": "file:///c",
                "recursive": false, "sandbox": null})
            ),
            (
                json!("fs/remove"),
                json!({"path": "file:///a%20b", "recursive": false, "force": true, "sandbox": null})
            ),
        ]
    );
}
