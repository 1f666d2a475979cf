//! A peer that answers nothing any more is noticed, and one that only has nothing to say is kept.
//!
//! Time is paused once everybody is there, so what follows takes no time. The store has a thread of
//! its own that time does not wait for: nothing here asks it for anything.

use std::time::Duration;

use farstep_rendezvous::store::CredentialKind::{Executor, Harness};
use futures_util::StreamExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;

use crate::scene::{Scene, Socket};

/// By when a node is rid of somebody (`rendezvous` section A5).
const GONE_MAX: Duration = Duration::from_secs(90);

/// Reads what comes as bytes, so that no ping is answered, until the node hangs up in time.
async fn is_left(socket: &mut Socket) {
    let MaybeTlsStream::Plain(stream): &mut MaybeTlsStream<TcpStream> = socket.get_mut() else {
        unreachable!("it was dialled without TLS");
    };
    let mut bytes = [0; 4096];
    let left = async { while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {} };
    let left = tokio::time::timeout(GONE_MAX, left).await;
    left.expect("the node is rid of who answers nothing");
}

#[tokio::test]
async fn who_answers_nothing_is_left_and_who_answers_pings_alone_is_kept() {
    let scene = Scene::start().await;
    let executor = scene.token("a", Executor, "*").await;
    let harness = scene.token("a", Harness, "*").await;
    let mut silent = scene.executor("silent", &executor, 1).await;
    let mut idle = scene.executor("idle", &executor, 2).await;
    let mut orchestrator = scene.harness("idle", &harness, "s").await;
    // The handshake of the orchestrator, which says that all are there.
    assert!(matches!(idle.next().await, Some(Ok(Message::Binary(_)))));
    tokio::time::pause();
    let mut pings = 0;
    let answering = async {
        // Reading answers pings.
        while let Some(Ok(message)) = idle.next().await {
            match message {
                Message::Ping(_) => pings += 1,
                // That the orchestrator left.
                Message::Binary(_) => {}
                other => return other,
            }
        }
        panic!("the executor that answers was cut off");
    };
    let others = async {
        tokio::join!(is_left(&mut silent), is_left(&mut orchestrator));
        // And long after that.
        tokio::time::sleep(10 * GONE_MAX).await;
    };
    tokio::select! {
        () = others => {}
        other = answering => panic!("the executor that answers was told {other:?}"),
    }
    assert!(pings >= 10, "{pings}");
}
