//! What is ours about a running process: the end of its input, its window, its signals.

use super::*;

/// Polls until the process is closed; gives its output and exit code.
async fn outcome(peer: &mut Peer) -> (String, i64) {
    let mut text = Vec::new();
    let mut after = 0;
    loop {
        let poll = json!({"processId": "p", "afterSeq": after, "waitMs": 60_000});
        let page = peer.call("process/read", poll).await.unwrap();
        for chunk in page["chunks"].as_array().unwrap() {
            let bytes = farstep_protocol::frame::read_base64(chunk["chunk"].as_str().unwrap());
            text.extend(bytes.unwrap());
        }
        after = page["nextSeq"].as_u64().unwrap() - 1;
        if page["closed"] == true {
            let code = page["exitCode"].as_i64().unwrap();
            return (String::from_utf8(text).unwrap(), code);
        }
    }
}

#[tokio::test]
async fn a_closed_input_ends_behind_everything_that_was_written() {
    let mut peer = Peer::open(&Server::for_tests()).await;
    peer.call("process/start", start("p", "sleep 0.1; wc -c"))
        .await
        .unwrap();
    // More than a pipe holds, so that the end has to wait for what is before it.
    let chunk = "AAAA".repeat(100_000);
    let write = json!({"processId": "p", "chunk": chunk, "writeId": "1"});
    peer.call("process/write", write).await.unwrap();
    let (close, accepted) = (json!({"processId": "p"}), json!({"status": "accepted"}));
    for _ in 0..2 {
        let closed = peer.call("process/farstepCloseInput", close.clone()).await;
        assert_eq!(closed, Ok(accepted.clone()));
    }
    let late = json!({"processId": "p", "chunk": "AAAA", "writeId": "2"});
    let late = peer.call("process/write", late).await;
    assert_eq!(late, Ok(json!({"status": "stdinClosed"})));
    let (text, code) = outcome(&mut peer).await;
    assert_eq!((text.trim(), code), ("300000", 0));
    let gone = json!({"processId": "none"});
    let gone = peer.call("process/farstepCloseInput", gone).await;
    assert_eq!(gone, Ok(json!({"status": "unknownProcess"})));
}

#[tokio::test]
async fn a_terminal_begins_with_the_size_it_was_given_and_takes_another() {
    let mut peer = Peer::open(&Server::for_tests()).await;
    let script =
        "stty size; trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut params = start("p", script);
    params["tty"] = true.into();
    params["farstepWindow"] = json!({"rows": 7, "columns": 33});
    peer.call("process/start", params).await.unwrap();
    // Only when the trap is set is there somebody to hear of it.
    let ready = json!({"processId": "p", "afterSeq": 0});
    loop {
        let page = peer.call("process/read", ready.clone()).await.unwrap();
        let chunks = page["chunks"].as_array().unwrap();
        let said: usize = chunks
            .iter()
            .map(|chunk| chunk["chunk"].as_str().unwrap().len())
            .sum();
        if said >= "NyAzMw0KcmVhZHkNCg==".len() {
            break;
        }
        let more = json!({"processId": "p", "afterSeq": page["nextSeq"].as_u64().unwrap() - 1, "waitMs": 60_000});
        peer.call("process/read", more).await.unwrap();
    }
    let resize = json!({"processId": "p", "rows": 50, "columns": 132});
    assert_eq!(
        peer.call("process/farstepResize", resize.clone()).await,
        Ok(json!({}))
    );
    assert_eq!(outcome(&mut peer).await.0, "7 33\r\nready\r\n50 132\r\n");
    // Of one that has ended nothing can be resized, and that is no failure.
    assert_eq!(
        peer.call("process/farstepResize", resize).await,
        Ok(json!({}))
    );
}

#[tokio::test]
async fn signals_beyond_the_interrupt_reach_the_program() {
    for (signal, code) in [
        ("farstepTerminate", 143),
        ("farstepHangup", 129),
        ("farstepQuit", 131),
    ] {
        let mut peer = Peer::open(&Server::for_tests()).await;
        peer.call("process/start", start("p", "exec sleep 600"))
            .await
            .unwrap();
        let params = json!({"processId": "p", "signal": signal});
        assert_eq!(peer.call("process/signal", params).await, Ok(json!({})));
        assert_eq!(outcome(&mut peer).await.1, code);
    }
}
