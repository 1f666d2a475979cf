use futures_util::poll;
use serde_json::json;
use std::pin::pin;
use tokio::sync::mpsc;

use super::*;
use crate::testing::{Peer, ScriptedDial};

mod durable;

fn environment() -> (Environment, mpsc::Receiver<Peer>, Tasks) {
    let (dial, peers) = ScriptedDial::new();
    let tasks = Tasks::default();
    let id = EnvironmentId::new("box").expect("an id");
    (
        Environment::new(id, None, dial, tasks.clone()),
        peers,
        tasks,
    )
}

async fn arrived(peers: &mut mpsc::Receiver<Peer>) -> Peer {
    peers.recv().await.expect("an attempt")
}

/// Lets everything run that can without new input.
async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn all_waiters_share_one_attempt() {
    let (environment, mut peers, _tasks) = environment();
    assert!(matches!(environment.status(), Status::Configured));
    environment.connect();
    assert!(matches!(environment.status(), Status::Starting));
    let script = async {
        let mut peer = arrived(&mut peers).await;
        peer.greet().await;
        peer
    };
    let (first, second, third, _peer) = tokio::join!(
        environment.executor(),
        environment.executor(),
        environment.executor(),
        script
    );
    let first = first.expect("connected");
    assert!(first.is_same(&second.expect("connected")));
    assert!(first.is_same(&third.expect("connected")));
    assert!(peers.try_recv().is_err(), "a second attempt");
    assert!(matches!(environment.status(), Status::Ready(executor) if executor.is_same(&first)));
}

#[tokio::test]
async fn a_failed_attempt_fails_all_its_waiters_and_the_next_use_tries_again() {
    let (environment, mut peers, _tasks) = environment();
    let refuse = async {
        let mut peer = arrived(&mut peers).await;
        let (id, _) = peer.request("initialize").await;
        peer.refuse(&id, -32600, "not today").await;
    };
    let (first, second, ()) = tokio::join!(environment.executor(), environment.executor(), refuse);
    let error = first.expect_err("refused");
    assert_eq!(second.expect_err("refused"), error);
    assert!(matches!(environment.status(), Status::Failed(shown) if shown == error));
    assert!(peers.try_recv().is_err(), "nothing is repaired unasked");
    let accept = async {
        let mut peer = arrived(&mut peers).await;
        peer.greet().await;
        peer
    };
    let (executor, _peer) = tokio::join!(environment.executor(), accept);
    assert!(executor.expect("connected").is_connected());
}

#[tokio::test]
async fn a_lost_connection_shows_and_the_next_use_makes_a_new_one() {
    let (environment, mut peers, _tasks) = environment();
    let mut watch = environment.watch();
    let accept = async {
        let mut peer = arrived(&mut peers).await;
        peer.greet().await;
        peer
    };
    let (executor, peer) = tokio::join!(environment.executor(), accept);
    let old = executor.expect("connected");
    drop(peer);
    let lost = watch
        .wait_for(|status| matches!(status, Status::Disconnected { .. }))
        .await
        .expect("watched")
        .clone();
    assert!(
        matches!(lost, Status::Disconnected { reason } if reason == "the executor closed the connection")
    );
    assert!(peers.try_recv().is_err(), "nothing is repaired unasked");
    let accept = async {
        let mut peer = arrived(&mut peers).await;
        peer.greet().await;
        peer
    };
    let (executor, _peer) = tokio::join!(environment.executor(), accept);
    let new = executor.expect("connected");
    assert!(new.is_connected());
    assert!(!old.is_connected(), "a handle stays with its connection");
    assert!(!new.is_same(&old));
}

#[tokio::test]
async fn a_retry_shows_the_trouble_it_is_meant_to_end() {
    let (environment, mut peers, _tasks) = environment();
    environment.connect();
    assert!(matches!(environment.reported(), Status::Starting));
    drop(arrived(&mut peers).await);
    settle().await;
    assert!(matches!(environment.reported(), Status::Failed(_)));
    environment.connect();
    let mut peer = arrived(&mut peers).await;
    assert!(matches!(environment.status(), Status::Starting));
    assert!(matches!(environment.reported(), Status::Failed(_)));
    peer.greet().await;
    settle().await;
    assert!(matches!(environment.reported(), Status::Ready(_)));
}

#[tokio::test]
async fn an_environment_that_is_gone_gives_its_attempt_up() {
    let (environment, mut peers, _tasks) = environment();
    environment.connect();
    let mut peer = arrived(&mut peers).await;
    drop(environment);
    peer.request("initialize").await;
    peer.recv().await;
    assert!(peer.is_closed().await);
}

#[tokio::test]
async fn a_connection_outlives_its_environment_for_those_who_hold_it() {
    let (environment, mut peers, _tasks) = environment();
    let accept = async {
        let mut peer = arrived(&mut peers).await;
        peer.greet().await;
        peer
    };
    let (executor, mut peer) = tokio::join!(environment.executor(), accept);
    let executor = executor.expect("connected");
    drop(environment);
    settle().await;
    let script = async {
        let (id, _) = peer.request("environment/status").await;
        peer.reply(&id, json!({"status": "ready"})).await;
    };
    let (status, ()) = tokio::join!(executor.status(), script);
    assert!(matches!(status, Ok(())));
    drop(executor);
    assert!(peer.is_closed().await);
}

#[tokio::test]
async fn a_waiter_that_gives_up_takes_nothing_from_the_others() {
    let (environment, mut peers, _tasks) = environment();
    {
        let mut waiter = pin!(environment.executor());
        assert!(poll!(&mut waiter).is_pending());
    }
    let accept = async {
        let mut peer = arrived(&mut peers).await;
        peer.greet().await;
        peer
    };
    let (executor, _peer) = tokio::join!(environment.executor(), accept);
    assert!(executor.is_ok());
    assert!(peers.try_recv().is_err(), "a second attempt");
}

#[tokio::test]
async fn after_the_close_nothing_is_connected_any_more() {
    let (environment, mut peers, tasks) = environment();
    let accept = async {
        let mut peer = arrived(&mut peers).await;
        peer.greet().await;
        peer
    };
    let (executor, mut peer) = tokio::join!(environment.executor(), accept);
    let executor = executor.expect("connected");
    let mut watch = environment.watch();
    tokio::join!(tasks.close(), async {
        assert!(peer.is_closed().await);
    });
    assert!(!executor.is_connected());
    assert!(matches!(
        &*watch.borrow_and_update(),
        Status::Disconnected { .. }
    ));
    assert_eq!(
        environment.executor().await.expect_err("closed"),
        ConnectError::Closed
    );
    assert!(peers.try_recv().is_err());
}
