//! The handshake and the channel behind it, on a wire that changes what it carries: nothing that
//! was not sent is ever believed.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use farstep_protocol::noise::{Binding, Identity, Initiator, Responder};
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
}

fuzz_target!(|plan: Plan| {
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
    let now = std::time::Instant::now();
    for (length, change) in plan.messages {
        let message = vec![b'm'; usize::from(length) + 1];
        left.send(&message).expect("a message within the limits");
        while let Some((seq, record)) = left.poll_record(now).expect("a record") {
            let change = change.unwrap_or_default();
            if right.handle_record(seq, changed(&record, change)).is_err() {
                assert_ne!(change.1, 0);
                return;
            }
            assert_eq!(change.1, 0);
        }
        assert_eq!(right.poll_message(), Ok(Some(message.into())));
    }
});

fn changed(bytes: &Bytes, (at, by): (u16, u8)) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = usize::from(at) % bytes.len();
    bytes[at] = bytes[at].wrapping_add(by);
    bytes.into()
}
