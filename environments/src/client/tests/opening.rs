//! The first exchange.

use farstep_transport::relay::PaddingWish;
use farstep_transport::{Padding, Rekeys, Wire as _, relay};
use futures_util::SinkExt as _;

use super::*;
use crate::client::handshake::HandshakeError;
use crate::dial::{Tasks, Trail};

async fn attached(script: impl AsyncFnOnce(&mut Peer)) -> Result<Executor, ConnectError> {
    let (ours, theirs) = memory(1 << 16);
    let mut peer = Peer { wire: theirs };
    let tasks = Tasks::default();
    let mut trail = Trail::default();
    let attached = attach(ours, None, HANDSHAKE, &tasks, &mut trail, None);
    tokio::join!(attached, script(&mut peer)).0
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

#[tokio::test(start_paused = true)]
async fn keys_of_a_sealed_stream_change_if_the_executor_agrees() {
    for (answer, agreed) in [
        (
            json!({"sessionId": "s", "environmentInfo": info("zsh")}),
            false,
        ),
        (
            json!({"sessionId": "s", "environmentInfo": info("zsh"),
                   "farstepChannel": {"rekey": true}}),
            true,
        ),
    ] {
        let (mut ours, mut theirs) = relay::memory().expect("keys");
        let mut noise = None;
        let script = async {
            let asked = theirs.next().await.expect("open").expect("a text");
            let asked: Value = serde_json::from_str(&asked).expect("JSON");
            assert_eq!(asked["params"]["farstepChannel"], json!({"rekey": true}));
            let reply = json!({"id": 1, "result": answer}).to_string();
            theirs.send(reply.into()).await.expect("sent");
        };
        let shaken = handshake::handshake(&mut ours, &Wanted::Ordinary, &mut noise);
        tokio::join!(shaken, script).0.expect("shaken");
        theirs.next().await.expect("open").expect("initialized");
        tokio::time::advance(Duration::from_secs(3600)).await;
        ours.send("later".into()).await.expect("sent");
        // The other end was told nothing, so a marker is the end of it.
        let met = theirs.next().await.expect("open");
        assert_eq!(met.is_err(), agreed, "{met:?}");
    }
}

#[tokio::test]
async fn an_executor_that_agreed_to_nothing_may_not_change_keys() {
    let (mut ours, mut theirs) = relay::memory().expect("keys");
    let mut noise = None;
    let reply = json!({"id": 1, "result": {"sessionId": "s", "environmentInfo": info("zsh")}});
    theirs.send(reply.to_string().into()).await.expect("sent");
    let shaken = handshake::handshake(&mut ours, &Wanted::Ordinary, &mut noise).await;
    shaken.expect("shaken");
    tokio::time::pause();
    theirs.set_rekeys(Rekeys::Agreed);
    theirs.send("early".into()).await.expect("sent");
    tokio::time::advance(Duration::from_secs(3600)).await;
    theirs.send("later".into()).await.expect("sent");
    assert_eq!(ours.next().await.expect("open").expect("a text"), "early");
    let error = ours.next().await.expect("open").expect_err("the end");
    assert!(error.to_string().contains("a change of keys"), "{error}");
}

#[tokio::test]
async fn padding_is_asked_for_if_the_entry_wants_it_and_is_had_or_there_is_no_connection() {
    let info = info("zsh");
    for (wish, agreed, expected) in [
        (PaddingWish::IfAsked, json!({"rekey": true}), Ok(false)),
        // It was not asked, so that it says so changes nothing.
        (PaddingWish::IfAsked, json!({"padding": true}), Ok(false)),
        (
            PaddingWish::Always,
            json!({"rekey": true, "padding": true}),
            Ok(true),
        ),
        // One of before padding, and one that knows nothing of channels.
        (PaddingWish::Always, json!({"rekey": true}), Err(())),
        (PaddingWish::Always, Value::Null, Err(())),
    ] {
        let (ours, mut theirs) = relay::memory().expect("keys");
        let mut ours = ours.wishing(wish);
        let mut noise = None;
        let script = async {
            let asked = theirs.next().await.expect("open").expect("a text");
            let asked: Value = serde_json::from_str(&asked).expect("JSON");
            let asked = &asked["params"]["farstepChannel"];
            let wanted = wish == PaddingWish::Always;
            assert_eq!(asked.get("padding"), wanted.then_some(&json!(true)));
            let initialized = theirs.next().await.expect("open").expect("a text");
            assert!(initialized.contains("initialized"), "{initialized}");
            if expected == Ok(true) {
                theirs.set_padding(Padding::Agreed);
            }
            let mut result = json!({"sessionId": "s", "environmentInfo": info});
            if !agreed.is_null() {
                result["farstepChannel"] = agreed.clone();
            }
            let reply = json!({"id": 1, "result": result}).to_string();
            theirs.send(reply.into()).await.expect("sent");
        };
        let shaken = handshake::handshake(&mut ours, &Wanted::Ordinary, &mut noise);
        match (tokio::join!(shaken, script).0, expected) {
            (Ok(_), Ok(padded)) => {
                ours.send("later".into()).await.expect("sent");
                // Who agreed understands it, and whoever did not is not troubled with it.
                let met = theirs.next().await.expect("open").expect("understood");
                assert_eq!(met, "later", "{padded}");
            }
            (Err(HandshakeError::Unpadded), Err(())) => {
                drop(ours);
                // Nothing was said after the answer.
                let met = theirs.next().await;
                assert!(met.is_none(), "{met:?}");
            }
            (shaken, expected) => panic!("{shaken:?}, and {expected:?} was expected"),
        }
    }
}

#[tokio::test]
async fn an_executor_that_says_that_it_pads_and_does_not_is_not_listened_to() {
    let (ours, mut theirs) = relay::memory().expect("keys");
    let mut ours = ours.wishing(PaddingWish::Always);
    let mut noise = None;
    let terms = json!({"rekey": true, "padding": true});
    let result = json!({"sessionId": "s", "environmentInfo": info("zsh"), "farstepChannel": terms});
    let reply = json!({"id": 1, "result": result}).to_string();
    theirs.send(reply.into()).await.expect("sent");
    let shaken = handshake::handshake(&mut ours, &Wanted::Ordinary, &mut noise).await;
    shaken.expect("shaken");
    theirs.send("in full view".into()).await.expect("sent");
    let error = ours.next().await.expect("open").expect_err("the end");
    assert!(error.to_string().contains("without the padding"), "{error}");
}
