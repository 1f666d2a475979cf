//! A credential that is taken back ends what it opened within two seconds, whoever takes it back.

use std::sync::Arc;
use std::time::Duration;

use farstep_rendezvous::store::CredentialKind::{Admin, Executor, Harness};
use farstep_rendezvous::store::Store as _;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::contract::Lossy;
use crate::scene::{Scene, Socket, closed, data, kid, next};

/// The promise (`rendezvous` section C10).
const PROMISE: Duration = Duration::from_secs(2);

/// Revoked.
const CODE: u16 = 4401;

struct Streaming {
    scene: Scene,
    executor: String,
    harness: String,
    link: Socket,
    stream: Socket,
}

impl Streaming {
    /// A stream on which the executor says something all the time.
    async fn start(scene: Scene) -> Streaming {
        let executor = scene.token("a", Executor, "*").await;
        let harness = scene.token("a", Harness, "*").await;
        let mut link = scene.executor("box", &executor, 1).await;
        let stream = scene.harness("box", &harness, "s").await;
        next(&mut link).await.unwrap();
        Streaming {
            scene,
            executor,
            harness,
            link,
            stream,
        }
    }

    /// Keeps the output coming until both sides were closed by us, or says which code each got.
    async fn codes(self) -> (Option<u16>, u16) {
        let Streaming {
            scene,
            link,
            mut stream,
            ..
        } = self;
        let (mut out, mut hear) = futures_util::StreamExt::split(link);
        let speak = async {
            for seq in 0.. {
                let message = Message::Binary(data("s", seq).encode());
                if futures_util::SinkExt::send(&mut out, message)
                    .await
                    .is_err()
                {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let link = async {
            loop {
                match hear.next().await {
                    Some(Ok(Message::Close(close))) => return close.map(|close| close.code.into()),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        let both = async {
            tokio::select! {
                () = speak => unreachable!("it never ends"),
                code = closed(&mut stream) => (None, code),
                code = link => (code, closed(&mut stream).await),
            }
        };
        let codes = timeout(PROMISE, both).await.expect("within two seconds");
        drop(scene);
        codes
    }
}

#[tokio::test]
async fn an_executors_credential_ends_its_websocket_and_the_streams_in_it() {
    let streaming = Streaming::start(Scene::start().await).await;
    // As another process does it: the node finds out by itself.
    let elsewhere = streaming.scene.elsewhere().await;
    elsewhere.revoke(kid(&streaming.executor), 1).await.unwrap();
    let (link, stream) = streaming.codes().await;
    assert!(link.is_none() || link == Some(CODE), "{link:?}");
    assert_eq!(stream, 1001);
}

#[tokio::test]
async fn an_orchestrators_credential_ends_its_streams_and_not_the_executor() {
    let mut streaming = Streaming::start(Scene::start().await).await;
    let elsewhere = streaming.scene.elsewhere().await;
    elsewhere.revoke(kid(&streaming.harness), 1).await.unwrap();
    let stream = timeout(PROMISE, closed(&mut streaming.stream)).await;
    assert_eq!(stream.expect("within two seconds"), CODE);
    // The executor is told that the stream is over, and stays.
    assert_eq!(next(&mut streaming.link).await.unwrap().stream, "s");
    let other = streaming.scene.token("a", Harness, "*").await;
    let _again = streaming.scene.harness("box", &other, "t").await;
    assert_eq!(next(&mut streaming.link).await.unwrap().stream, "t");
}

#[tokio::test]
async fn a_revocation_over_http_while_output_streams() {
    let streaming = Streaming::start(Scene::start().await).await;
    let admin = streaming.scene.token("a", Admin, "*").await;
    let path = format!(
        "/v1/environments/box/credentials/{}",
        kid(&streaming.harness)
    );
    let deleted = streaming
        .scene
        .request("DELETE", &path, &admin, &Value::Null)
        .await;
    assert_eq!(deleted.status, 200);
    assert_eq!(streaming.codes().await, (None, CODE));
}

#[tokio::test]
async fn a_bus_that_loses_everything_delays_no_revocation() {
    let scene = Scene::on(Arc::new(Lossy::losing())).await;
    let streaming = Streaming::start(scene).await;
    let elsewhere = streaming.scene.elsewhere().await;
    elsewhere.revoke(kid(&streaming.executor), 1).await.unwrap();
    assert_eq!(streaming.codes().await.1, 1001);
}
