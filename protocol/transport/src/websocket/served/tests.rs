use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;

use super::*;
use crate::websocket::PING_INTERVAL;

type Client = WebSocketStream<DuplexStream>;

/// A served connection whose pipe takes `capacity` bytes each way, and its client.
async fn pair(capacity: usize) -> (Client, Served<DuplexStream>) {
    let (left, right) = tokio::io::duplex(capacity);
    let options = Options::server();
    let client = WebSocketStream::from_raw_socket(left, Role::Client, None).await;
    (client, Served::new(right, Vec::new(), &options))
}

fn text(length: usize, fill: char) -> Text {
    Text::from(fill.to_string().repeat(length))
}

#[tokio::test]
async fn small_and_large_texts_arrive_in_the_order_they_were_sent() {
    let (client, mut served) = pair(1000).await;
    let lengths = [
        1,
        LARGE_BYTES_MIN,
        2,
        LARGE_BYTES_MIN - 1,
        300_000,
        0,
        FRAME_BYTES_MAX + 7,
        3,
    ];
    let sending = async {
        for length in lengths {
            served.feed(text(length, 'x')).await.unwrap();
        }
        served.flush().await.unwrap();
    };
    let receiving = client.take(lengths.len()).collect::<Vec<_>>();
    let ((), received) = tokio::join!(sending, receiving);
    let received: Vec<usize> = received
        .into_iter()
        .map(|message| message.unwrap().len())
        .collect();
    assert_eq!(received, lengths);
}

#[tokio::test]
async fn a_message_may_be_sent_in_parts() {
    let (mut client, mut served) = pair(1000).await;
    let sending = async {
        for (part, is_last) in [("{\"a\":\"", false), ("long", false), ("\"}", true)] {
            std::future::poll_fn(|cx| served.poll_ready_unpin(cx))
                .await
                .unwrap();
            served.start_part(part.into(), is_last).unwrap();
        }
        served.send("after".into()).await.unwrap();
    };
    let receiving = async {
        [
            client.next().await.unwrap().unwrap(),
            client.next().await.unwrap().unwrap(),
        ]
    };
    let ((), received) = tokio::join!(sending, receiving);
    assert_eq!(
        received,
        [Message::text("{\"a\":\"long\"}"), Message::text("after")]
    );
}

#[tokio::test]
async fn a_ping_in_the_middle_of_a_large_text_is_answered_behind_it() {
    let (mut client, mut served) = pair(100_000).await;
    served.feed(text(200_000, 'x')).await.unwrap();
    // The pipe holds half of the frame now.
    assert!(served.flush().now_or_never().is_none());
    client
        .send(Message::Ping(Bytes::from_static(b"?")))
        .await
        .unwrap();
    assert!(served.next().now_or_never().is_none());
    let (flushed, message) = tokio::join!(served.flush(), client.next());
    flushed.unwrap();
    assert_eq!(message.unwrap().unwrap().len(), 200_000);
    assert_eq!(
        client.next().await.unwrap().unwrap(),
        Message::Pong(Bytes::from_static(b"?"))
    );
}

#[tokio::test]
async fn messages_of_any_size_are_read_whole_and_an_idle_connection_holds_no_large_buffer() {
    let (mut client, mut served) = pair(1 << 20).await;
    let sending = async {
        for length in [5, 10_000, 3_000_000, 1] {
            client
                .send(Message::text("y".repeat(length)))
                .await
                .unwrap();
        }
    };
    let receiving = async {
        for length in [5, 10_000, 3_000_000, 1] {
            assert_eq!(served.next().await.unwrap().unwrap(), text(length, 'y'));
        }
        assert!(served.next().now_or_never().is_none());
        assert_eq!(served.socket.ahead.capacity(), 0);
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn what_came_behind_the_upgrade_request_is_read_first() {
    // One masked frame with an empty mask: the text "hi".
    let frame = vec![0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
    let (_left, right) = tokio::io::duplex(100);
    let mut served = Served::new(right, frame, &Options::server());
    assert_eq!(served.next().await.unwrap().unwrap().as_str(), "hi");
}

#[tokio::test]
async fn the_farewell_travels_in_the_close_frame() {
    let (mut client, mut served) = pair(1000).await;
    served.set_farewell("unknown notification");
    let (closed, message) = tokio::join!(served.close(), client.next());
    closed.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = message else {
        panic!("no close frame: {message:?}");
    };
    assert_eq!(frame.reason.as_str(), "unknown notification");
    // The client answers when it is read from, and waits for the end of the socket.
    tokio::select! {
        ended = served.next() => assert!(ended.is_none()),
        message = client.next() => panic!("client got {message:?}"),
    }
}

#[tokio::test]
async fn a_client_that_closes_is_answered() {
    let (mut client, mut served) = pair(1000).await;
    client.close(None).await.unwrap();
    assert!(served.next().await.is_none());
    assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up_after_two_pings() {
    let (client, mut served) = pair(1000).await;
    let started = tokio::time::Instant::now();
    let error = served.next().await.unwrap().unwrap_err();
    assert!(
        matches!(error, WireError::Unresponsive { pings: 2 }),
        "{error}"
    );
    assert_eq!(started.elapsed(), PING_INTERVAL * 3);
    assert!(served.next().await.is_none());
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_is_kept() {
    let (mut client, mut served) = pair(1000).await;
    let quiet = tokio::time::timeout(Duration::from_secs(600), async {
        loop {
            tokio::select! {
                // Reading is what answers pings.
                message = client.next() => assert!(message.unwrap().unwrap().is_ping()),
                message = served.next() => panic!("served got {message:?}"),
            }
        }
    });
    assert!(quiet.await.is_err());
}
