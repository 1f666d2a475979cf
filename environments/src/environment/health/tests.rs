use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::config;
use crate::dial::Tasks;
use crate::environment::{Environment, Status};
use crate::testing::{Peer, ScriptedDial, start_params};

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(5);

fn environment(recovers: bool) -> (Environment, mpsc::Receiver<Peer>, Tasks) {
    let text = "[[environments]]\nid = \"box\"\nurl = \"ws://box\"\n\
                [environments.farstep.health]\ninterval_sec = 30\ntimeout_sec = 5\n";
    let config = config::parse(text, std::path::Path::new("/")).expect("valid");
    let entry = config.entries.into_iter().next().expect("one");
    let (dial, peers) = match recovers {
        true => ScriptedDial::recovering(),
        false => ScriptedDial::new(),
    };
    let tasks = Tasks::default();
    let environment = Environment::new(entry.id.clone(), Some(entry), dial, tasks.clone());
    (environment, peers, tasks)
}

async fn connected(environment: &Environment, peers: &mut mpsc::Receiver<Peer>) -> Peer {
    let greeted = async {
        let mut peer = peers.recv().await.expect("an attempt");
        peer.greet().await;
        peer
    };
    let (executor, peer) = tokio::join!(environment.executor(), greeted);
    executor.expect("connected");
    peer
}

fn word(environment: &Environment) -> &'static str {
    environment.status().word()
}

#[tokio::test(start_paused = true)]
async fn an_idle_executor_that_answers_stays_connected() {
    let (environment, mut peers, _tasks) = environment(true);
    let mut peer = connected(&environment, &mut peers).await;
    assert!(environment.last_check().is_none());
    for _ in 0..3 {
        let began = tokio::time::Instant::now();
        let (id, _) = peer.request("environment/status").await;
        assert!(
            began.elapsed() >= INTERVAL - TIMEOUT,
            "{:?}",
            began.elapsed()
        );
        peer.reply(&id, json!({"status": "ready"})).await;
    }
    tokio::time::sleep(TIMEOUT).await;
    let last = environment.last_check().expect("a check");
    assert!(last.is_alive() && last.age() <= TIMEOUT, "{last:?}");
    assert_eq!(word(&environment), "ready");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_knows_no_status_is_alive_by_its_refusal() {
    let (environment, mut peers, _tasks) = environment(true);
    let mut peer = connected(&environment, &mut peers).await;
    let (id, _) = peer.request("environment/status").await;
    peer.refuse(&id, -32601, "unknown method").await;
    tokio::time::sleep(TIMEOUT * 2).await;
    assert!(environment.last_check().expect("a check").is_alive());
    assert_eq!(word(&environment), "ready");
}

#[tokio::test(start_paused = true)]
async fn silence_makes_it_recovering_and_the_session_is_taken_up_again() {
    let (environment, mut peers, _tasks) = environment(true);
    let mut peer = connected(&environment, &mut peers).await;
    let (_, _) = peer.request("environment/status").await;
    // No answer: another connection is made, and asks for the same session.
    let mut next = peers.recv().await.expect("a way back");
    assert_eq!(word(&environment), "recovering");
    // An executor that is still there would keep the session from it otherwise.
    let closed = tokio::time::timeout(TIMEOUT, peer.is_closed()).await;
    assert_eq!(closed, Ok(true), "the old connection is held");
    let last = environment.last_check().expect("a check");
    assert!(!last.is_alive() && last.took >= TIMEOUT, "{last:?}");
    next.greet_again(json!("s")).await;
    let (id, _) = next.request("environment/status").await;
    assert_eq!(word(&environment), "ready");
    next.reply(&id, json!({"status": "ready"})).await;
    tokio::time::sleep(TIMEOUT).await;
    assert!(environment.last_check().expect("a check").is_alive());
}

#[tokio::test(start_paused = true)]
async fn without_a_way_back_silence_is_the_end_of_the_connection() {
    let (environment, mut peers, _tasks) = environment(false);
    let mut watch = environment.watch();
    let mut peer = connected(&environment, &mut peers).await;
    let _ = peer.request("environment/status").await;
    let lost = watch
        .wait_for(|status| matches!(status, Status::Disconnected { .. }))
        .await
        .expect("watched")
        .reason();
    assert_eq!(lost.as_deref(), Some("the executor gave no sign of life"));
}

#[tokio::test(start_paused = true)]
async fn who_says_something_is_not_asked_and_output_instead_of_an_answer_is_a_sign() {
    let (environment, mut peers, _tasks) = environment(true);
    let mut peer = connected(&environment, &mut peers).await;
    let executor = environment.executor().await.expect("connected");
    let start = executor.start(start_params("p"));
    let (process, _) = tokio::join!(start, peer.accept_start());
    let _process = process.expect("started");
    // Busy: something arrives in every interval.
    for seq in 1..=5 {
        tokio::time::sleep(INTERVAL / 2).await;
        peer.output("p", seq, b"x").await;
    }
    assert!(environment.last_check().is_none(), "it was asked");
    // Idle, and then too busy to answer: the output is sign enough.
    let _: (Value, Value) = peer.request("environment/status").await;
    peer.output("p", 6, b"x").await;
    tokio::time::sleep(TIMEOUT * 2).await;
    assert_eq!(word(&environment), "ready");
}
