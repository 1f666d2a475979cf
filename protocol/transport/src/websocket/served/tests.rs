use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::WebSocketStream;

use super::*;
use crate::websocket::tests::pings_whose_answers_nobody_takes_wait;
use crate::websocket::{FIRST_PING, PING_INTERVAL};

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

/// A masked frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 0x80, 0, 99];
    let mut frame = vec![first, 0x80 | 127];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    frame
}

/// What is read of `bytes` that arrive in pieces of `piece`, the first behind the upgrade request.
async fn read_all(bytes: &[u8], piece: usize, early: usize) -> Vec<Result<String, String>> {
    let (mut peer, ours) = tokio::io::duplex(piece);
    let (early, late) = bytes.split_at(early.min(bytes.len()));
    let mut served = Served::new(ours, early.to_vec(), &Options::server());
    let late = late.to_vec();
    let sending = async move {
        // It may not want all of it.
        let _ = peer.write_all(&late).await;
        let _ = peer.shutdown().await;
        peer
    };
    let receiving = async {
        let mut story = Vec::new();
        while let Some(read) = served.next().await {
            story.push(
                read.map(|text| text.to_string())
                    .map_err(|it| it.to_string()),
            );
        }
        drop(served);
        story
    };
    tokio::join!(sending, receiving).1
}

#[tokio::test]
async fn large_messages_arrive_among_all_else_however_their_bytes_do() {
    const TEXT: u8 = 0x81;
    let long: String = ('a'..='z').cycle().take(100_003).collect();
    let (part, edge) = (&long[..LARGE_BYTES_MIN], &long[..LARGE_BYTES_MIN - 1]);
    let bytes = [
        frame(TEXT, b"small"),
        frame(TEXT, long.as_bytes()),
        frame(0x89, b"ping"),
        frame(TEXT, part.as_bytes()),
        frame(TEXT, edge.as_bytes()),
        // In three parts, with a ping between them.
        frame(0x01, part.as_bytes()),
        frame(0x00, long.as_bytes()),
        frame(0x89, b""),
        frame(0x80, b"end"),
        frame(0x82, long.as_bytes()),
        frame(0x82, &[0xFF; 20_000]),
        frame(TEXT, b""),
        frame(TEXT, long.as_bytes()),
        frame(0x88, b""),
    ]
    .concat();
    let expected = [
        "small",
        &long,
        part,
        edge,
        &format!("{part}{long}end"),
        &long,
        &WireError::NotText.to_string(),
        "",
        &long,
    ];
    for piece in [13, 511, 4096, 70_000, 1 << 20] {
        for early in [0, 3, 20, 30_000] {
            let story = read_all(&bytes, piece, early).await;
            let said = story.iter().map(|read| match read {
                Ok(said) | Err(said) => said.as_str(),
            });
            assert!(said.eq(expected), "pieces of {piece}, {early} early");
            assert!(story[6].is_err());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_a_large_message_serves_the_next_and_is_not_kept_for_long() {
    let (mut client, mut served) = pair(4 << 20).await;
    let mut places = Vec::new();
    for length in [3_000_000, 2_500_000, 3_000_000] {
        let sent = "y".repeat(length);
        client.send(Message::text(sent)).await.unwrap();
        let read = served.next().await.unwrap().unwrap();
        assert_eq!(read, text(length, 'y'));
        places.push(read.as_ptr());
    }
    assert!(places.iter().all(|place| *place == places[0]));
    assert!(served.socket.spare.try_reclaim(3_000_000));
    let idle = tokio::time::timeout(FIRST_PING * 2, served.next()).await;
    assert!(idle.is_err());
    assert!(!served.socket.spare.try_reclaim(1));
}

#[tokio::test]
async fn what_is_wrong_with_a_large_message_is_what_the_library_says() {
    let mut broken = vec![b'x'; 40_000];
    broken[39_000] = 0xFF;
    let cut = frame(0x81, &[b'x'; 50_000])[..40_000].to_vec();
    let too_long = frame(0x81, &vec![b'x'; FRAME_BYTES_MAX + 1]);
    let unmasked = [&[0x81, 127, 0, 0, 0, 0, 0, 0, 0x80, 0][..], &[b'x'; 0x8000]].concat();
    // A message must not begin within another, nor a large one with bits nobody agreed on.
    let nested = [frame(0x01, b"a"), frame(0x81, &[b'x'; 20_000])].concat();
    let reserved = frame(0xC1, &[b'x'; 20_000]);
    for bytes in [
        frame(0x81, &broken),
        cut,
        too_long,
        unmasked,
        nested,
        reserved,
    ] {
        let (mut peer, ours) = tokio::io::duplex(bytes.len());
        peer.write_all(&bytes).await.unwrap();
        peer.shutdown().await.unwrap();
        let mut library =
            crate::websocket::WebSocket::accepted(ours, Vec::new(), &Options::server()).await;
        let mut expected = Vec::new();
        while let Some(read) = library.next().await {
            expected.push(
                read.map(|text| text.to_string())
                    .map_err(|it| it.to_string()),
            );
        }
        assert_eq!(read_all(&bytes, 5000, 0).await, expected);
    }
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
    assert_eq!(started.elapsed(), FIRST_PING + PING_INTERVAL * 2);
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

#[tokio::test(start_paused = true)]
async fn who_pings_and_takes_no_answer_is_not_read_from() {
    let (peer, ours) = tokio::io::duplex(1000);
    let served = Served::new(ours, Vec::new(), &Options::server());
    pings_whose_answers_nobody_takes_wait(peer, served).await;
}
