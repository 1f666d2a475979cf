use super::*;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

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
    assert_eq!(started.elapsed(), FIRST_PING + PING_INTERVAL * 2);
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

#[tokio::test(start_paused = true)]
async fn who_pings_and_takes_no_answer_is_not_read_from() {
    let (peer, ours) = tokio::io::duplex(1000);
    let served = WebSocket::accepted(ours, Vec::new(), &Options::server()).await;
    pings_whose_answers_nobody_takes_wait(peer, served).await;
}

/// The same for every kind of websocket that we serve: `peer` is the other end of its pipe.
pub(super) async fn pings_whose_answers_nobody_takes_wait(
    mut peer: DuplexStream,
    mut served: impl Stream<Item = Result<Text, WireError>> + Unpin,
) {
    let pings = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'p'; 125]]
        .concat()
        .repeat(10_000);
    let mut sent = 0;
    let stuck = tokio::time::timeout(FIRST_PING / 2, async {
        tokio::join!(
            async {
                while sent < pings.len() {
                    sent += peer.write(&pings[sent..]).await.unwrap();
                }
            },
            served.next()
        )
    });
    assert!(stuck.await.is_err());
    assert!(sent < 2 * PONG_BYTES_MAX, "{sent} bytes of pings were read");
    // Once its answers are taken, all goes on.
    let (mut answers, mut asks) = tokio::io::split(peer);
    let asking = async {
        asks.write_all(&pings[sent..]).await.unwrap();
        let hello = [&[0x81, 0x80 | 2, 0, 0, 0, 0][..], b"{}"].concat();
        asks.write_all(&hello).await.unwrap();
    };
    let taking = async {
        let mut answers = tokio::io::BufReader::new(&mut answers);
        let mut answer = [0; 127];
        while answers.read_exact(&mut answer).await.is_ok() {
            assert_eq!(answer[..2], [0x8a, 125]);
        }
    };
    let told = async {
        tokio::select! {
            told = served.next() => told.unwrap().unwrap(),
            () = taking => panic!("the pipe ended"),
        }
    };
    let ((), told) = tokio::join!(asking, told);
    assert_eq!(told.as_str(), "{}");
}

#[cfg(feature = "relay")]
#[tokio::test]
async fn whoever_carries_bytes_hears_the_one_text_it_waits_for_and_no_other() {
    let (mut client, server) = pair(Options::server(), Options::client()).await;
    let notice = Notice::new("leaving");
    let mut server = Binary::from(server).noticing(notice.clone());
    for (text, came) in [("staying", false), ("leaving", true)] {
        client.inner.send(Message::text(text)).await.unwrap();
        let frame = Message::Binary("frame".into());
        client.inner.send(frame).await.unwrap();
        assert_eq!(server.next().await.unwrap().unwrap(), "frame");
        assert_eq!(notice.came(), came, "{text}");
    }
}
