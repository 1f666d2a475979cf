mod padded;
mod rekeys;

use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::noise::{Binding, Identity, Initiator, Responder};
use crate::relay::WINDOW;

/// Two ends of one channel.
fn pair() -> (Channel, Channel) {
    let (harness, executor) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let binding = Binding {
        environment: "e",
        registration: "r",
        stream: "s",
    };
    let started = Initiator::start(&harness, executor.public(), &binding, "a");
    let (initiator, first) = started.unwrap();
    let responder = Responder {
        identity: &executor,
        binding,
    };
    let (second, executor) = responder.read(&first).unwrap().admit().unwrap();
    (initiator.finish(&second).unwrap(), executor)
}

/// The same moment in every call: no time passes where none is said to.
pub(in crate::noise) fn now() -> Instant {
    static NOW: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "a clock for tests")]
    *NOW.get_or_init(Instant::now)
}

fn records(channel: &mut Channel) -> Vec<(u32, Bytes)> {
    std::iter::from_fn(|| channel.poll_record(now()).unwrap()).collect()
}

fn messages(channel: &mut Channel) -> Vec<Bytes> {
    std::iter::from_fn(|| channel.poll_message().unwrap()).collect()
}

#[test]
fn small_messages_share_a_record_and_large_ones_take_many() {
    let (mut left, mut right) = pair();
    let sizes = [1, 2, 3 * RECORD_BYTES_MAX, 5];
    let sent: Vec<Bytes> = sizes.iter().map(|size| vec![b'x'; *size].into()).collect();
    for message in &sent {
        left.send(message).unwrap();
    }
    let records = records(&mut left);
    let lengths: Vec<usize> = records.iter().map(|(_, record)| record.len()).collect();
    let full = RECORD_BYTES_MAX + TAG_BYTES;
    assert_eq!(lengths, [full, full, full, 16 + 8 + TAG_BYTES]);
    for (seq, record) in records {
        right.handle_record(seq, record).unwrap();
    }
    assert_eq!(messages(&mut right), sent);
}

#[test]
fn records_that_come_backwards_and_twice_are_one_message() {
    let (mut left, mut right) = pair();
    let message = vec![7; 4 * RECORD_BYTES_MAX];
    left.send(&message).unwrap();
    for (seq, record) in records(&mut left).into_iter().rev() {
        right.handle_record(seq, record.clone()).unwrap();
        right.handle_record(seq, record).unwrap();
    }
    assert_eq!(messages(&mut right), [message]);
}

#[test]
fn a_lost_record_gives_nothing_of_what_follows() {
    let (mut left, mut right) = pair();
    let mut fails = None;
    for seq in 0..=WINDOW {
        left.send(b"x").unwrap();
        for (number, record) in records(&mut left) {
            if number > 0 {
                fails = right.handle_record(number, record).err();
            }
        }
        assert!(messages(&mut right).is_empty(), "{seq}");
    }
    let beyond = OrderError::Beyond {
        seq: WINDOW,
        next: 0,
    };
    assert_eq!(fails, Some(ChannelError::Order(beyond)));
}

#[test]
fn what_was_changed_is_not_believed() {
    let (mut left, mut right) = pair();
    left.send(b"transfer 1").unwrap();
    let (seq, record) = left.poll_record(now()).unwrap().unwrap();
    let mut changed = record.to_vec();
    changed[0] ^= 1;
    let refused = right.handle_record(seq, changed.into()).unwrap_err();
    assert_eq!(refused, ChannelError::Authentic);
    assert_eq!(right.poll_message(), Ok(None));
    // A record of one's own is not the other's.
    let refused = left.handle_record(0, record).unwrap_err();
    assert_eq!(refused, ChannelError::Authentic);
}

#[test]
fn records_and_messages_have_their_limits() {
    let (mut left, mut right) = pair();
    assert_eq!(left.send(b""), Err(ChannelError::Message(0)));
    let long = vec![0; MESSAGE_BYTES_MAX + 1];
    assert_eq!(left.send(&long), Err(ChannelError::Message(long.len())));
    let record = Bytes::from(vec![0; RECORD_BYTES_MAX + TAG_BYTES + 1]);
    let size = ChannelError::Record(record.len());
    assert_eq!(right.handle_record(0, record), Err(size));
    let short = right.handle_record(0, Bytes::from_static(b"short"));
    assert_eq!(short, Err(ChannelError::Record(5)));
    for length in [0, u32::try_from(MESSAGE_BYTES_MAX).unwrap() + 1] {
        let (mut left, mut right) = pair();
        left.unsealed.extend_from_slice(&length.to_be_bytes());
        for (seq, record) in records(&mut left) {
            right.handle_record(seq, record).unwrap();
        }
        let refused = right.poll_message().unwrap_err();
        assert_eq!(refused, ChannelError::Message(length as usize));
    }
}

#[test]
fn the_numbers_end() {
    let (mut left, _) = pair();
    left.next = u32::MAX;
    left.send(b"x").unwrap();
    assert_eq!(left.poll_record(now()).unwrap().unwrap().0, u32::MAX);
    left.send(b"x").unwrap();
    assert_eq!(
        left.poll_record(now()),
        Err(ChannelError::Order(OrderError::UsedUp))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn whatever_is_sent_arrives_whole_and_once(
        sizes in prop::collection::vec(1_usize..200_000, 1..8), every in 1_usize..4
    ) {
        let (mut left, mut right) = pair();
        let sent: Vec<Bytes> = sizes.iter().enumerate()
            .map(|(index, size)| vec![index as u8; *size].into()).collect();
        let mut came = Vec::new();
        for batch in sent.chunks(every) {
            for message in batch { left.send(message).unwrap(); }
            for (seq, record) in records(&mut left) {
                right.handle_record(seq, record).unwrap();
                came.extend(messages(&mut right));
            }
        }
        prop_assert_eq!(came, sent);
    }
}

/// A relay that means ill: 100,000 frames changed, cut, repeated, reordered, renumbered and taken from
/// another stream. What comes out is the beginning of what was sent, message by message.
#[test]
fn a_relay_that_means_ill_gets_nothing_believed() {
    let mut luck = 0x2545_f491_4f6c_dd1d_u64;
    let mut dice = move |sides: usize| {
        // Xorshift: the same numbers in every run.
        luck ^= luck << 13;
        luck ^= luck >> 7;
        luck ^= luck << 17;
        (luck >> 33) as usize % sides
    };
    let mut frames = 0;
    let mut delivered = 0;
    let (mut other, _) = pair();
    while frames < 100_000 {
        let (mut left, mut right) = pair();
        let mut sent = Vec::new();
        let mut came = Vec::new();
        let mut passed: Vec<(u32, Bytes)> = Vec::new();
        // The stream ends with the first thing that is not believed.
        'stream: loop {
            let message = vec![sent.len() as u8; 1 + dice(300)];
            for channel in [&mut left, &mut other] {
                channel.send(&message).unwrap();
            }
            sent.push(Bytes::from(message));
            let (seq, record) = left.poll_record(now()).unwrap().unwrap();
            let (_, foreign) = other.poll_record(now()).unwrap().unwrap();
            let mut batch = vec![(seq, record.clone())];
            match dice(60) {
                0 => {
                    let mut changed = record.to_vec();
                    let at = dice(changed.len());
                    changed[at] ^= 1 << dice(8);
                    batch = vec![(seq, changed.into())];
                }
                1 => batch = vec![(seq, record.slice(..dice(record.len())))],
                2 => batch = vec![(seq, foreign)],
                3 => batch = vec![(seq.wrapping_add(1 + dice(100) as u32), record.clone())],
                4..30 if !passed.is_empty() => {
                    // Repetition and its neighbours are harmless.
                    let again = passed[dice(passed.len())].clone();
                    batch.insert(dice(2), again);
                }
                _ => {}
            }
            passed.push((seq, record));
            for (seq, record) in batch {
                frames += 1;
                if right.handle_record(seq, record).is_err() {
                    break 'stream;
                }
                came.extend(messages(&mut right));
            }
            if frames >= 100_000 || sent.len() > 200 {
                break;
            }
        }
        assert_eq!(came, sent[..came.len()]);
        delivered += came.len();
    }
    assert!(delivered > 10_000, "{delivered}");
}
