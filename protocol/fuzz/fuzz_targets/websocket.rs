//! The served end of a websocket, given any bytes, in two ways of arriving and against the
//! library's own way of reading them.

#![no_main]

use farstep_protocol_fuzz::trickle::{Trickle, drain};
use farstep_transport::websocket::{Options, Served, WebSocket};
use farstep_transport::{Text, WireError};
use futures_util::FutureExt;
use libfuzzer_sys::fuzz_target;

const LIMITS: Options = Options {
    message_bytes_max: 600,
    frame_bytes_max: 300,
    read_buffer_bytes: 64,
    write_buffer_bytes: 64,
    ping_interval: None,
};

/// What came of the bytes: the texts, and how the connection ended.
type Story = (Vec<String>, Vec<String>);

fuzz_target!(|data: &[u8]| {
    let (sizes, bytes) = data.split_at(data.len().min(4));
    // Part of the bytes may have arrived behind the upgrade request.
    let early = usize::from(sizes.first().copied().unwrap_or_default()) % (bytes.len() + 1);
    let (early, late) = bytes.split_at(early);
    let polls = 4 * bytes.len() + 64;

    let mut at_once = Served::new(Trickle::new(bytes, &[]), Vec::new(), &LIMITS);
    let expected = tell(drain(&mut at_once, polls));
    let mut in_pieces = Served::new(Trickle::new(late, sizes), early.to_vec(), &LIMITS);
    assert_eq!(tell(drain(&mut in_pieces, polls)), expected);

    let accepted = WebSocket::accepted(Trickle::new(bytes, &[]), Vec::new(), &LIMITS);
    let mut usual = accepted.now_or_never().expect("nothing to wait for");
    let (texts, _) = tell(drain(&mut usual, polls));
    assert_eq!(texts, expected.0);
});

fn tell(items: Vec<Result<Text, WireError>>) -> Story {
    let mut story = Story::default();
    for item in items {
        match item {
            Ok(text) => {
                assert!(text.len() <= LIMITS.message_bytes_max);
                story.0.push(text.to_string());
            }
            Err(error) => story.1.push(error.to_string()),
        }
    }
    story
}
