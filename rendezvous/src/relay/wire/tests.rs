use std::pin::pin;
use std::task::Poll;

use farstep_protocol::relay::FRAME_BYTES_MAX;
use futures_util::{SinkExt as _, StreamExt as _, poll};
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::*;

/// A client as somebody else wrote it, and our end. So many bytes are under way at most.
async fn pair(
    under_way: usize,
) -> (
    WebSocketStream<DuplexStream>,
    Reader<DuplexStream>,
    Writer<DuplexStream>,
) {
    let (theirs, ours) = duplex(under_way);
    let config = WebSocketConfig::default().max_frame_size(None);
    let client = WebSocketStream::from_raw_socket(theirs, Role::Client, Some(config)).await;
    let (reader, writer) = split(ours, b"");
    (client, reader, writer)
}

/// Told from any other of its size, and from itself moved by a byte.
fn message(size: usize) -> Bytes {
    let mix = |at: usize| at.wrapping_mul(0x9e37_79b9) >> 7;
    (0..size).map(|at| mix(at + size) as u8).collect()
}

/// A frame of a client, with a mask that changes every byte.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x11, 0x22, 0x44, 0x88];
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ ..=125) => frame.push(0x80 | length as u8),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let masks = MASK.iter().cycle();
    frame.extend(payload.iter().zip(masks).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What is heard of these bytes, up to the end of it.
async fn heard(bytes: &[u8]) -> (Vec<Said>, Silence) {
    let (mut theirs, ours) = duplex(bytes.len().max(1));
    theirs.write_all(bytes).await.unwrap();
    drop(theirs);
    let (mut reader, _writer) = split(ours, b"");
    let mut heard = Vec::new();
    loop {
        match reader.next().await {
            Ok(said) => heard.push(said),
            Err(silence) => return (heard, silence),
        }
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

/// Sizes of messages, and how many bytes are under way: few only for small messages, or it takes long.
fn sizes_and_under_way() -> impl Strategy<Value = (Vec<usize>, usize)> {
    let small = || 0..200usize;
    let any = prop_oneof![small(), 4_000..9_000usize, 60_000..66_000usize];
    prop_oneof![
        (prop::collection::vec(small(), 1..30), 1..64usize),
        (prop::collection::vec(any, 1..30), 4_000..200_000usize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_of_any_size_arrive_as_they_were_said_in_pieces_of_any_size(
        (sizes, under_way) in sizes_and_under_way(),
        early in 0..20_000usize,
    ) {
        let sent: Vec<u8> = sizes.iter().flat_map(|size| masked(0x82, &message(*size))).collect();
        let (early, rest) = sent.split_at(early.min(sent.len()));
        run(async {
            let (mut theirs, ours) = duplex(under_way);
            let (mut reader, _writer) = split(ours, early);
            let saying = async {
                theirs.write_all(rest).await.unwrap();
                drop(theirs);
            };
            let hearing = async {
                for size in &sizes {
                    assert!(matches!(reader.next().await, Ok(Said::Binary(said)) if said == message(*size)));
                }
                assert_eq!(reader.next().await, Err(Silence::Broken));
            };
            tokio::join!(saying, hearing);
        });
    }

    #[test]
    fn what_is_written_is_what_a_client_reads(
        (sizes, under_way) in sizes_and_under_way(),
    ) {
        run(async {
            let (mut client, _reader, mut writer) = pair(under_way).await;
            let writing = async {
                for size in &sizes {
                    writer.binary(message(*size));
                }
                let bytes = sizes.iter().sum::<usize>();
                assert!(writer.waiting() >= bytes + 2 * sizes.len());
                writer.write().await.unwrap();
                assert_eq!(writer.waiting(), 0);
            };
            let reading = async {
                for size in &sizes {
                    let said = client.next().await.unwrap().unwrap();
                    assert_eq!(said, Message::Binary(message(*size)));
                }
            };
            tokio::join!(writing, reading);
        });
    }
}

#[tokio::test]
async fn control_frames_are_told_apart_and_go_between_the_parts_of_a_message() {
    let parts = [
        masked(0x02, b"one "),
        masked(0x89, b"are you there"),
        masked(0x00, b"two "),
        masked(0x8a, b""),
        masked(0x80, b"three"),
        masked(0x81, "a text".as_bytes()),
        masked(0x01, b"a text in "),
        masked(0x80, b"parts"),
        masked(0x82, b""),
        masked(0x88, b"\x03\xe8"),
    ];
    let (said, silence) = heard(&parts.concat()).await;
    assert_eq!(
        said,
        [
            Said::Ping(Bytes::from_static(b"are you there")),
            Said::Other,
            Said::Binary(Bytes::from_static(b"one two three")),
            Said::Other,
            Said::Other,
            Said::Binary(Bytes::new()),
            Said::Close,
        ]
    );
    assert_eq!(silence, Silence::Broken);
}

#[tokio::test]
async fn who_breaks_the_rules_is_not_heard_any_more() {
    let first = masked(0x82, b"good");
    for (what, bytes) in [
        ("no mask", b"\x82\x01x".to_vec()),
        ("a reserved bit", masked(0xc2, b"x")),
        ("a kind that is none", masked(0x83, b"x")),
        ("the rest of nothing", masked(0x80, b"x")),
        ("a ping in parts", masked(0x09, b"x")),
        ("a ping that is too long", masked(0x89, &[0; 126])),
        (
            "one in another",
            [masked(0x02, b"x"), masked(0x82, b"x")].concat(),
        ),
    ] {
        let (said, silence) = heard(&[first.clone(), bytes].concat()).await;
        assert_eq!(said, [Said::Binary(Bytes::from_static(b"good"))], "{what}");
        assert_eq!(silence, Silence::Fault(Fault::Rules), "{what}");
    }
}

#[tokio::test]
async fn a_message_is_refused_by_its_header_and_by_the_sum_of_its_parts() {
    let most = message(FRAME_BYTES_MAX);
    let (said, _) = heard(&masked(0x82, &most)).await;
    assert_eq!(said, [Said::Binary(most.clone())]);
    let too_large = Silence::Fault(Fault::TooLarge);
    let mut header = masked(0x82, &message(FRAME_BYTES_MAX + 1));
    header.truncate(14);
    assert_eq!(heard(&header).await, (Vec::new(), too_large));
    let endless = b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0";
    assert_eq!(heard(endless).await.1, Silence::Fault(Fault::TooLarge));
    let parts = [masked(0x02, &most), masked(0x80, b"x")].concat();
    assert_eq!(
        heard(&parts).await,
        (Vec::new(), Silence::Fault(Fault::TooLarge))
    );
}

/// What a peer sent much of is held once, and nothing when it pauses.
#[tokio::test]
async fn a_connection_that_pauses_holds_no_memory_and_a_small_message_only_its_own() {
    let (mut theirs, ours) = duplex(1 << 20);
    let (mut reader, _writer) = split(ours, b"");
    for size in [100, 5_000, 61_000, 200_000, 1] {
        let many = masked(0x82, &message(size)).repeat(5);
        theirs.write_all(&many).await.unwrap();
        for _ in 0..5 {
            let Ok(Said::Binary(said)) = reader.next().await else {
                panic!("no message");
            };
            let memory = said.try_into_mut().unwrap().capacity();
            assert!(memory <= size + 1024, "{memory} for {size}");
        }
        assert!(poll!(pin!(reader.next())).is_pending());
        assert_eq!(reader.incoming.held(), 0);
    }
}

/// Whoever stops waiting in the middle of a message has it finished by what comes next.
#[tokio::test]
async fn a_farewell_goes_behind_what_was_begun() {
    let (mut client, _reader, mut writer) = pair(1000).await;
    writer.binary(message(61_000));
    assert!(matches!(poll!(pin!(writer.write())), Poll::Pending));
    writer.ping();
    writer.text("one more");
    let saying = async { writer.farewell(Ending::STALLED).await.unwrap() };
    let hearing = async {
        let mut heard = Vec::new();
        while !matches!(heard.last(), Some(Message::Close(_))) {
            heard.push(client.next().await.unwrap().unwrap());
        }
        heard
    };
    let ((), heard) = tokio::join!(saying, hearing);
    let close = CloseFrame {
        code: Ending::STALLED.code.into(),
        reason: Ending::STALLED.reason.into(),
    };
    let expected = [
        Message::Binary(message(61_000)),
        Message::Ping(Bytes::new()),
        Message::Text("one more".into()),
        Message::Close(Some(close)),
    ];
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn a_ping_is_answered_with_what_it_said() {
    let (mut client, mut reader, mut writer) = pair(1000).await;
    let ping = Message::Ping(Bytes::from_static(b"seven"));
    client.send(ping).await.unwrap();
    let Ok(Said::Ping(said)) = reader.next().await else {
        panic!("no ping");
    };
    writer.pong(&said);
    writer.write().await.unwrap();
    let answer = client.next().await.unwrap().unwrap();
    assert_eq!(answer, Message::Pong(Bytes::from_static(b"seven")));
    // Nobody is there any more to be told.
    drop(client);
    writer.farewell(Ending::BROKEN).await.unwrap();
    assert!(writer.farewell(Ending::CLOSED).await.is_err());
}
