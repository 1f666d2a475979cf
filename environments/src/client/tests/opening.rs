//! The first exchange.

use super::*;
use crate::dial::Tasks;

async fn attached(script: impl AsyncFnOnce(&mut Peer)) -> Result<Executor, ConnectError> {
    let (ours, theirs) = memory(1 << 16);
    let mut peer = Peer { wire: theirs };
    let tasks = Tasks::default();
    let (executor, ()) = tokio::join!(attach(ours, None, HANDSHAKE, &tasks, None), async {
        script(&mut peer).await;
    });
    executor
}

#[tokio::test]
async fn the_handshake_is_one_burst_and_one_answer() {
    let executor = attached(async |peer| {
        assert_eq!(
            peer.recv().await,
            json!({"id": 1, "method": "initialize",
                   "params": {"clientName": "farstep", "resumeSessionId": null}})
        );
        // Both are here before anything was answered.
        assert_eq!(
            peer.recv().await,
            json!({"method": "initialized", "params": {}})
        );
        peer.reply(
            &json!(1),
            json!({"sessionId": "s", "environmentInfo": info("zsh")}),
        )
        .await;
    })
    .await
    .expect("connected");
    assert_eq!(executor.info().shell.name, "zsh");
    assert!(executor.is_connected());
}

#[tokio::test]
async fn a_server_that_does_not_describe_itself_is_asked_once() {
    let executor = attached(async |peer| {
        let (id, _) = peer.request("initialize").await;
        peer.reply(&id, json!({"sessionId": "s"})).await;
        peer.recv().await;
        let (id, params) = peer.request("environment/info").await;
        assert_eq!(params, Value::Null);
        peer.reply(&id, info("old")).await;
    })
    .await
    .expect("connected");
    assert_eq!(executor.info().shell.name, "old");
}

#[tokio::test]
async fn what_is_no_answer_is_passed_over_until_the_answer_comes() {
    let executor = attached(async |peer| {
        peer.send_text("Welcome to devbox!").await;
        peer.notify("farstep/news", json!({})).await;
        peer.reply(&json!(99), json!({})).await;
        peer.greet().await;
    })
    .await;
    assert!(executor.is_ok());
}

#[tokio::test]
async fn a_refusal_is_told_in_the_executors_words() {
    let error = attached(async |peer| {
        let (id, _) = peer.request("initialize").await;
        peer.refuse(&id, -32600, "no room").await;
    })
    .await
    .expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the executor refused the handshake: no room (-32600)"
    );
}

#[tokio::test]
async fn an_echo_is_recognised_as_a_terminal() {
    let error = attached(async |peer| {
        let echo = peer.recv().await;
        peer.send(echo).await;
    })
    .await
    .expect_err("echoed");
    assert!(
        error.to_string().contains("a terminal is attached"),
        "{error}"
    );
}

#[tokio::test]
async fn an_end_before_the_answer_shows_what_was_said_instead() {
    let error = attached(async |peer| {
        peer.send_text("codex: command not found\u{1b}[2J").await;
        let (ours, _) = memory(1);
        peer.wire = ours;
    })
    .await
    .expect_err("closed");
    assert_eq!(
        error.to_string(),
        "exec-server transport closed; \
         instead of the protocol it said `codex: command not found\u{fffd}[2J`"
    );
}

#[tokio::test(start_paused = true)]
async fn silence_ends_in_a_time_out() {
    let error = attached(async |peer| {
        peer.recv().await;
        peer.recv().await;
        assert!(peer.is_closed().await);
    })
    .await
    .expect_err("silent");
    assert_eq!(
        error.to_string(),
        "timed out waiting for exec-server initialize handshake after 10s"
    );
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_refused() {
    let error = attached(async |peer| {
        let (id, _) = peer.request("initialize").await;
        peer.reply(&id, json!({"sessionId": 5})).await;
    })
    .await
    .expect_err("nonsense");
    assert!(
        error
            .to_string()
            .starts_with("the executor's answer to `initialize` makes no sense"),
        "{error}"
    );
}
