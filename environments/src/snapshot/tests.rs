use std::pin::pin;

use futures_util::poll;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::dial::Tasks;
use crate::testing::{Peer, ScriptedDial};

struct Place {
    environment: Arc<Environment>,
    peers: mpsc::Receiver<Peer>,
}

fn place(id: &str, tasks: &Tasks) -> Place {
    let (dial, peers) = ScriptedDial::new();
    let id = EnvironmentId::new(id).expect("an id");
    let environment = Environment::new(id, None, dial, tasks.clone());
    Place {
        environment: Arc::new(environment),
        peers,
    }
}

impl Place {
    async fn accept(&mut self) -> Peer {
        let mut peer = self.peers.recv().await.expect("an attempt");
        peer.greet().await;
        peer
    }

    async fn fail(&mut self) {
        drop(self.peers.recv().await.expect("an attempt"));
    }

    async fn is_settled(&self) {
        let mut watch = self.environment.watch();
        let settled = watch.wait_for(|status| !matches!(status, Status::Starting));
        settled.await.expect("watched");
    }
}

fn states(snapshot: &Snapshot) -> Vec<(&str, &'static str)> {
    let state = |entry: &SnapshotEntry| match entry.state {
        SnapshotState::Starting => "starting",
        SnapshotState::Available(_) => "available",
        SnapshotState::Disconnected { .. } => "disconnected",
        SnapshotState::Failed { .. } => "failed",
    };
    let entries = snapshot.entries.iter();
    entries
        .map(|entry| (entry.id.as_str(), state(entry)))
        .collect()
}

fn primary(snapshot: &Snapshot) -> Option<&str> {
    snapshot.primary().map(|entry| entry.id.as_str())
}

#[tokio::test]
async fn a_blocking_capture_connects_all_at_once_and_waits_until_each_is_available_or_failed() {
    let tasks = Tasks::default();
    let (mut a, mut b, mut c) = (place("a", &tasks), place("b", &tasks), place("c", &tasks));
    let selection = [&a, &b, &c].map(|place| Arc::clone(&place.environment));
    let mut capture = pin!(Snapshot::capture_blocking(&selection));
    assert!(poll!(&mut capture).is_pending());
    // All three are being dialled; the last one first, the first one not at all.
    let _c = c.accept().await;
    let _b = b.accept().await;
    assert!(poll!(&mut capture).is_pending());
    a.fail().await;
    let snapshot = capture.await;
    assert_eq!(
        states(&snapshot),
        [("a", "failed"), ("b", "available"), ("c", "available")]
    );
    assert_eq!(primary(&snapshot), Some("b"));
    assert!(snapshot.get("c").is_some_and(|c| c.executor().is_some()));
    assert!(snapshot.get("a").is_some_and(|a| a.executor().is_none()));
    assert!(snapshot.get("B").is_none());
}

#[tokio::test]
async fn a_deferred_capture_waits_for_nothing_and_never_changes() {
    let tasks = Tasks::default();
    let (mut late, mut early) = (place("late", &tasks), place("early", &tasks));
    let selection = [&late, &early].map(|place| Arc::clone(&place.environment));
    let first = Snapshot::capture_now(&selection);
    assert_eq!(
        states(&first),
        [("late", "starting"), ("early", "starting")]
    );
    assert_eq!(primary(&first), None);
    let _early = early.accept().await;
    early.is_settled().await;
    let second = Snapshot::capture_now(&selection);
    assert_eq!(
        states(&second),
        [("late", "starting"), ("early", "available")]
    );
    assert_eq!(primary(&second), Some("early"));
    let _late = late.accept().await;
    late.is_settled().await;
    let third = Snapshot::capture_now(&selection);
    assert_eq!(
        states(&third),
        [("late", "available"), ("early", "available")]
    );
    assert_eq!(primary(&third), Some("late"));
    // What happened since is for the later ones.
    assert_eq!(
        states(&first),
        [("late", "starting"), ("early", "starting")]
    );
    assert_eq!(primary(&second), Some("early"));
}

#[tokio::test]
async fn a_deferred_capture_retries_and_tells_the_trouble_until_it_is_over() {
    let tasks = Tasks::default();
    let mut place = place("box", &tasks);
    let selection = [Arc::clone(&place.environment)];
    assert_eq!(
        states(&Snapshot::capture_now(&selection)),
        [("box", "starting")]
    );
    place.fail().await;
    place.is_settled().await;
    assert_eq!(
        states(&Snapshot::capture_now(&selection)),
        [("box", "failed")]
    );
    assert_eq!(
        states(&Snapshot::capture_now(&selection)),
        [("box", "failed")]
    );
    let peer = place.accept().await;
    place.is_settled().await;
    assert_eq!(
        states(&Snapshot::capture_now(&selection)),
        [("box", "available")]
    );
    drop(peer);
    let mut watch = place.environment.watch();
    let lost = watch.wait_for(|status| matches!(status, Status::Disconnected { .. }));
    lost.await.expect("watched");
    assert_eq!(
        states(&Snapshot::capture_now(&selection)),
        [("box", "disconnected")]
    );
    let _peer = place.accept().await;
    place.is_settled().await;
    assert_eq!(
        states(&Snapshot::capture_now(&selection)),
        [("box", "available")]
    );
}

#[tokio::test]
async fn a_snapshot_keeps_its_connection_after_everybody_else_moved_on() {
    let tasks = Tasks::default();
    let mut place = place("box", &tasks);
    let selection = [Arc::clone(&place.environment)];
    let (snapshot, mut peer) = tokio::join!(Snapshot::capture_blocking(&selection), place.accept());
    drop((selection, place));
    let later = snapshot.clone();
    drop(snapshot);
    let executor = later.primary().and_then(SnapshotEntry::executor);
    let executor = executor.expect("available").clone();
    let script = async {
        let (id, _) = peer.request("environment/status").await;
        peer.reply(&id, json!({"status": "ready"})).await;
    };
    let (status, ()) = tokio::join!(executor.status(), script);
    assert!(matches!(status, Ok(())));
    drop((executor, later));
    assert!(peer.is_closed().await);
}

#[tokio::test]
async fn a_reconnected_environment_is_not_moved_under_an_older_snapshot() {
    let tasks = Tasks::default();
    let mut place = place("box", &tasks);
    let selection = [Arc::clone(&place.environment)];
    let (old, peer) = tokio::join!(Snapshot::capture_blocking(&selection), place.accept());
    drop(peer);
    let handle = |snapshot: &Snapshot| {
        let executor = snapshot.primary().and_then(SnapshotEntry::executor);
        executor.expect("available").clone()
    };
    handle(&old).link().lost().await;
    let (new, _peer) = tokio::join!(Snapshot::capture_blocking(&selection), place.accept());
    assert!(!handle(&old).is_connected());
    assert!(handle(&new).is_connected());
}
