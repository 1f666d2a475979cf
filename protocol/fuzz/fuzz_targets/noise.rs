//! The handshake and the channel behind it, on a wire that changes what it carries: nothing that
//! was not sent is ever believed, padded or not. And any bytes as a padded record's plaintext, as a
//! peer of ours may seal them.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use farstep_protocol::noise::padding::{BUCKETS, bucket, content};
use farstep_protocol::noise::{Binding, Identity, Initiator, Padding, Responder};
use libfuzzer_sys::fuzz_target;

static ENDS: LazyLock<[Identity; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Identity::generate().expect("a key")));

const BINDING: Binding<'static> = Binding {
    environment: "e",
    registration: "r",
    stream: "s",
};

#[derive(arbitrary::Arbitrary, Debug)]
struct Plan {
    /// What becomes of message 1, message 2 and each record: a place, and what is added to it.
    changes: [(u16, u8); 2],
    messages: Vec<(u16, Option<(u16, u8)>)>,
    is_padded: bool,
    /// Which bucket a plaintext is filled up to, and with what it begins and ends.
    plaintext: (u8, Vec<u8>, u8),
}

fuzz_target!(|plan: Plan| {
    unpad(&plan.plaintext);
    let [harness, executor] = &*ENDS;
    let [first_change, second_change] = plan.changes;
    let (initiator, first) =
        Initiator::start(harness, executor.public(), &BINDING, "welcome").expect("message 1");
    let first = changed(&first, first_change);
    let responder = Responder {
        identity: executor,
        binding: BINDING,
    };
    let Ok(knock) = responder.read(&first) else {
        assert_ne!(first_change.1, 0);
        return;
    };
    assert_eq!(first_change.1, 0);
    let (second, mut right) = knock.admit().expect("message 2");
    let Ok(mut left) = initiator.finish(&changed(&second, second_change)) else {
        assert_ne!(second_change.1, 0);
        return;
    };
    assert_eq!(second_change.1, 0);
    if plan.is_padded {
        left.set_padding(Padding::Agreed);
        right.set_padding(Padding::Agreed);
    }
    let now = std::time::Instant::now();
    let mut sizes = Vec::new();
    for (length, change) in plan.messages {
        let message = vec![b'm'; usize::from(length) + 1];
        left.send(&message).expect("a message within the limits");
        while let Some((seq, record)) = left.poll_record(now).expect("a record") {
            let change = change.unwrap_or_default();
            sizes.push(record.len() - 16);
            if right.handle_record(seq, changed(&record, change)).is_err() {
                assert_ne!(change.1, 0);
                return;
            }
            assert_eq!(change.1, 0);
        }
        assert_eq!(right.poll_message(), Ok(Some(message.into())));
    }
    if plan.is_padded {
        // The first one says that the others are.
        let padded = sizes.get(1..).unwrap_or_default();
        assert!(padded.iter().all(|size| BUCKETS.contains(size)));
    }
});

fn unpad((which, start, end): &(u8, Vec<u8>, u8)) {
    let mut plaintext = start.clone();
    if let Some(size) = BUCKETS.get(usize::from(*which)) {
        plaintext.resize(*size, 0);
        if let Some(last) = plaintext.last_mut() {
            *last = *end;
        }
    }
    let Ok(range) = content(&plaintext) else {
        return;
    };
    let inside = &plaintext[range.clone()];
    let least = bucket(inside.len()).expect("it was in one");
    assert!(least <= plaintext.len());
    let length = u16::try_from(inside.len()).expect("two bytes");
    assert_eq!(plaintext[..2], length.to_be_bytes());
    assert!(plaintext[range.end..].iter().all(|byte| *byte == 0));
}

fn changed(bytes: &Bytes, (at, by): (u16, u8)) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = usize::from(at) % bytes.len();
    bytes[at] = bytes[at].wrapping_add(by);
    bytes.into()
}
