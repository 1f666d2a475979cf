//! Durable sessions: shared, silent, and read from the beginning.

use super::*;

async fn opened(server: &Arc<Server>) -> (Peer, String) {
    let mut peer = Peer::connect(server);
    let params = json!({"clientName": "", "farstep": {"retentionSeconds": 3600}});
    let result = peer.call("initialize", params).await.unwrap();
    let terms = json!({"retentionSeconds": 3600, "leftSeconds": 3600});
    assert_eq!(result["farstep"], terms);
    peer.send(json!({"method": "initialized"})).await;
    let id = result["sessionId"].as_str().unwrap().to_owned();
    (peer, id)
}

#[tokio::test]
async fn several_read_one_durable_session_and_nothing_is_announced() {
    let server = Server::listening_for_tests();
    let (mut first, id) = opened(&server).await;
    let script = "printf one; read line; printf \"$line\"; exit 3";
    first
        .call("process/start", start("p", script))
        .await
        .unwrap();
    let mut second = Peer::connect(&server);
    second.handshake(Some(&id)).await;
    let poll = json!({"processId": "p", "waitMs": 60_000});
    let page = first.call("process/read", poll.clone()).await.unwrap();
    assert_eq!(page["chunks"][0]["chunk"], "b25l");
    assert_eq!(second.call("process/read", poll).await.unwrap(), page);
    let write = json!({"processId": "p", "chunk": "dHdvCg==", "writeId": "1"});
    second.call("process/write", write).await.unwrap();
    let mut after = 1;
    let mut said = Vec::new();
    loop {
        let poll = json!({"processId": "p", "afterSeq": after, "waitMs": 60_000});
        let page = first.call("process/read", poll).await.unwrap();
        said.extend(page["chunks"].as_array().unwrap().clone());
        after = page["nextSeq"].as_u64().unwrap() - 1;
        if page["closed"] == true {
            assert_eq!(
                (&page["exitCode"], &page["farstepDroppedBytes"]),
                (&json!(3), &json!(0))
            );
            break;
        }
    }
    assert_eq!(said[0]["chunk"], "dHdv");
    // Nothing came that was no reply.
    assert!(first.unread.is_empty() && second.unread.is_empty());
}

#[tokio::test]
async fn a_process_of_a_durable_session_runs_on_and_is_there_for_whoever_comes_back() {
    let server = Server::listening_for_tests();
    let (mut first, id) = opened(&server).await;
    first
        .call("process/start", start("p", "echo done"))
        .await
        .unwrap();
    first.end().await;
    let mut later = Peer::connect(&server);
    later.handshake(Some(&id)).await;
    let poll = json!({"processId": "p", "afterSeq": 2, "waitMs": 60_000});
    let page = later.call("process/read", poll).await.unwrap();
    assert_eq!(
        (&page["exitCode"], &page["closed"]),
        (&json!(0), &json!(true))
    );
    let page = later.call("process/read", json!({"processId": "p"})).await;
    assert_eq!(page.unwrap()["chunks"][0]["chunk"], "ZG9uZQo=");
}

#[tokio::test]
async fn over_standard_input_no_session_is_durable() {
    let mut peer = Peer::connect(&Server::for_tests());
    let params = json!({"clientName": "", "farstep": {"retentionSeconds": 60}});
    assert_eq!(peer.call("initialize", params).await, Err(-32600));
    let session = peer.handshake(None).await;
    assert!(!session.is_empty());
}
