//! Durable sessions: what is asked for, what is read, and what a refusal means.

use crate::SessionId;
use crate::process::{OutputStream, Signal};
use crate::testing::{info, start_params};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// Answers `initialize`, which must wish for this, with these terms.
async fn greet(peer: &mut Peer, resume: serde_json::Value, wish: serde_json::Value, left: u64) {
    let (id, params) = peer.request("initialize").await;
    assert_eq!(params["resumeSessionId"], resume);
    assert_eq!(params["farstep"], wish);
    let terms = json!({"retentionSeconds": 86_400, "leftSeconds": left});
    let result = json!({"sessionId": "secret", "environmentInfo": info("sh"), "farstep": terms});
    peer.reply(&id, result).await;
    peer.recv().await;
}

#[tokio::test]
async fn a_durable_session_is_opened_beside_the_connection_and_left_as_it_is() {
    let (environment, mut peers, _tasks) = environment();
    let script = async {
        let mut peer = arrived(&mut peers).await;
        greet(
            &mut peer,
            json!(null),
            json!({"retentionSeconds": 86_400}),
            86_400,
        )
        .await;
        let (id, params) = peer.request("process/start").await;
        peer.reply(&id, json!({"processId": params["processId"]}))
            .await;
        let (id, params) = peer.request("process/signal").await;
        assert_eq!(
            params,
            json!({"processId": "p", "signal": "farstepTerminate"})
        );
        peer.reply(&id, json!({})).await;
        peer
    };
    let work = async {
        let session = environment.open_session(DAY).await.expect("opened");
        assert_eq!(session.id().reveal(), "secret");
        assert!(!format!("{session:?}").contains("secret"));
        session.start(start_params("p")).await.expect("started");
        session.signal("p", Signal::Terminate).await.expect("sent");
    };
    let ((), mut peer) = tokio::join!(work, script);
    // The process is not ended with its handle, because there is none.
    assert!(peer.is_closed().await);
    assert!(matches!(environment.status(), Status::Configured));
}

#[tokio::test]
async fn a_page_tells_what_was_said_and_what_is_gone() {
    let (environment, mut peers, _tasks) = environment();
    let script = async {
        let mut peer = arrived(&mut peers).await;
        greet(&mut peer, json!("secret"), json!({"peek": true}), 60).await;
        let (id, params) = peer.request("process/read").await;
        let asked = json!({"processId": "p", "afterSeq": 4, "maxBytes": 10, "waitMs": 1500});
        assert_eq!(params, asked);
        let page = json!({
            "chunks": [{"seq": 7, "stream": "stderr", "chunk": "aGkK"}], "nextSeq": 8,
            "exited": true, "exitCode": 3, "closed": false, "failure": null,
            "sandboxDenied": false, "farstepDroppedBytes": 21,
        });
        peer.reply(&id, page).await;
        peer
    };
    let work = async {
        let id = SessionId::from("secret".to_owned());
        let session = environment
            .resume_session(&id, true)
            .await
            .expect("resumed");
        assert_eq!(session.terms().left_seconds, 60);
        let wait = Duration::from_millis(1500);
        session.read("p", 4, 10, wait).await.expect("a page")
    };
    let (page, _peer) = tokio::join!(work, script);
    assert_eq!(
        (
            page.next_seq,
            page.exit_code,
            page.closed,
            page.dropped_bytes
        ),
        (8, Some(3), false, 21)
    );
    let [chunk] = page.chunks.as_slice() else {
        panic!("{page:?}");
    };
    assert_eq!((chunk.seq, chunk.stream), (7, OutputStream::Stderr));
    assert_eq!(&*chunk.bytes, b"hi\n");
}

#[tokio::test]
async fn an_executor_that_knows_no_durable_sessions_keeps_none() {
    let (environment, mut peers, _tasks) = environment();
    let ordinary = async {
        arrived(&mut peers).await.greet().await;
    };
    let (opened, ()) = tokio::join!(environment.open_session(DAY), ordinary);
    assert!(
        matches!(opened, Err(ConnectError::NotDurable { .. })),
        "{opened:?}"
    );
}

#[tokio::test]
async fn only_a_refusal_that_says_so_means_that_a_session_is_gone() {
    let (environment, mut peers, _tasks) = environment();
    let id = SessionId::from("secret".to_owned());
    for (code, is_gone) in [(-32600, true), (-32001, false)] {
        let refuse = async {
            let mut peer = arrived(&mut peers).await;
            let (id, _) = peer.request("initialize").await;
            peer.refuse(&id, code, "no").await;
        };
        let (resumed, ()) = tokio::join!(environment.resume_session(&id, false), refuse);
        let error = resumed.expect_err("refused");
        let gone = matches!(error, ConnectError::SessionGone { .. });
        assert_eq!((gone, error.may_pass()), (is_gone, !is_gone), "{error}");
    }
}
