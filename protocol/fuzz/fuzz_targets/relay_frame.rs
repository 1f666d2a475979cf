//! A message of the relay, given any bytes: what is understood means the same when it is written
//! again, and keeps to the limits.

#![no_main]

use bytes::Bytes;
use farstep_protocol::relay::{Frame, Kind, Order, STREAM_ID_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // As many frames as there are lengths.
    let mut order = Order::default();
    let mut rest = data;
    while let Some((length, bytes)) = rest.split_first() {
        let (bytes, behind) = bytes.split_at(usize::from(*length).min(bytes.len()));
        rest = behind;
        let Ok(frame) = Frame::decode(Bytes::copy_from_slice(bytes)) else {
            continue;
        };
        assert!((1..=STREAM_ID_BYTES_MAX).contains(&frame.stream.len()));
        assert_eq!(Frame::decode(frame.clone().encode()).as_ref(), Ok(&frame));
        if let Kind::Data { seq, payload } = frame.kind
            && order.insert(seq, payload).is_ok()
        {
            while let Some(payload) = order.pop() {
                assert!(!payload.is_empty());
            }
        }
    }
});
