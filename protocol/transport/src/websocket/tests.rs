use super::*;
use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;

async fn pair(
    server: Options,
    client: Options,
) -> (WebSocket<DuplexStream>, WebSocket<DuplexStream>) {
    let (left, right) = tokio::io::duplex(1024 * 1024);
    let left = WebSocketStream::from_raw_socket(left, Role::Client, Some(client.config())).await;
    (
        WebSocket::over(left, &client),
        WebSocket::accepted(right, Vec::new(), &server).await,
    )
}

#[tokio::test]
async fn a_message_larger_than_a_frame_crosses_in_several() {
    let (mut client, mut server) = pair(Options::server(), Options::client()).await;
    let long = "x".repeat(FRAME_BYTES_MAX + 5);
    let text = Text::from(long.clone());
    let (sent, received) = tokio::join!(client.send(text), server.next());
    sent.unwrap();
    assert_eq!(received.unwrap().unwrap().as_str(), long);
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_connection() {
    let small = Options {
        message_bytes_max: 1000,
        ..Options::server()
    };
    let (mut client, mut server) = pair(small, Options::client()).await;
    client.send(Text::from("x".repeat(1001))).await.unwrap();
    let error = server.next().await.unwrap().unwrap_err();
    assert!(
        matches!(error, WireError::TooLong { limit: 1000 }),
        "{error}"
    );
    assert!(!error.is_survivable());
}

#[tokio::test]
async fn binary_messages_are_text_too_unless_they_are_none() {
    let (mut client, mut server) = pair(Options::server(), Options::client()).await;
    client
        .inner
        .send(Message::Binary("{}".into()))
        .await
        .unwrap();
    client
        .inner
        .send(Message::Binary(vec![0xff].into()))
        .await
        .unwrap();
    client.send(Text::from("after")).await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap().as_str(), "{}");
    assert!(server.next().await.unwrap().unwrap_err().is_survivable());
    assert_eq!(server.next().await.unwrap().unwrap().as_str(), "after");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up_after_two_pings() {
    let (client, mut server) = pair(Options::server(), Options::client()).await;
    let started = tokio::time::Instant::now();
    let error = server.next().await.unwrap().unwrap_err();
    assert!(
        matches!(error, WireError::Unresponsive { pings: 2 }),
        "{error}"
    );
    assert_eq!(started.elapsed(), PING_INTERVAL * 3);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_is_kept() {
    let patient = Options {
        ping_interval: None,
        ..Options::client()
    };
    let (mut client, mut server) = pair(Options::server(), patient).await;
    let quiet = tokio::time::timeout(PING_INTERVAL * 10, async {
        tokio::select! {
            // Reading is what answers pings.
            message = client.next() => panic!("client got {message:?}"),
            message = server.next() => panic!("server got {message:?}"),
        }
    });
    assert!(quiet.await.is_err());
}

#[tokio::test]
async fn the_farewell_travels_in_the_close_frame() {
    let (mut client, mut server) = pair(Options::server(), Options::client()).await;
    server.set_farewell("unknown notification");
    server.close().await.unwrap();
    let message = client.inner.next().await;
    let Some(Ok(Message::Close(Some(frame)))) = message else {
        panic!("no close frame: {message:?}");
    };
    assert_eq!(frame.reason.as_str(), "unknown notification");
}

#[tokio::test]
async fn a_close_frame_ends_the_stream_though_the_socket_stays() {
    let (mut client, mut server) = pair(Options::server(), Options::client()).await;
    server.close().await.unwrap();
    assert!(client.next().await.is_none());
}
