use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use clatter::bytearray::ByteArray as _;
use clatter::traits::Cipher;

use super::*;
use crate::noise::suite::AesGcm;
use crate::noise::{KeyLife, RekeyError, Rekeys};

const HOUR: Duration = Duration::from_secs(3600);

fn of_records(records: u32) -> KeyLife {
    KeyLife {
        records,
        period: HOUR,
    }
}

/// Two ends that agreed to change keys.
fn agreed(life: KeyLife) -> (Channel, Channel) {
    let (mut left, mut right) = pair();
    left.set_rekeys(Rekeys::Agreed, life);
    right.set_rekeys(Rekeys::Agreed, life);
    (left, right)
}

/// Sends a message of one record and says how many records it took.
fn pass(from: &mut Channel, to: &mut Channel, at: Instant) -> Result<usize, ChannelError> {
    from.send(b"x")?;
    let mut count = 0;
    while let Some((seq, record)) = from.poll_record(at)? {
        to.handle_record(seq, record)?;
        count += 1;
    }
    assert_eq!(messages(to), [&b"x"[..]]);
    Ok(count)
}

#[test]
fn a_key_seals_so_many_records_and_each_direction_counts_its_own() {
    let (mut left, mut right) = agreed(of_records(3));
    let there: Vec<usize> = (0..8)
        .map(|_| pass(&mut left, &mut right, now()).unwrap())
        .collect();
    assert_eq!(there, [1, 1, 1, 2, 1, 1, 2, 1]);
    let back: Vec<usize> = (0..5)
        .map(|_| pass(&mut right, &mut left, now()).unwrap())
        .collect();
    assert_eq!(back, [1, 1, 1, 2, 1]);
}

#[test]
fn a_key_is_used_for_an_hour_and_an_unused_one_does_not_age() {
    let (mut left, mut right) = agreed(KeyLife::default());
    let mut at = |hours: f64| pass(&mut left, &mut right, now() + HOUR.mul_f64(hours)).unwrap();
    assert_eq!([at(0.0), at(0.99), at(1.0)], [1, 1, 2]);
    // The second key sealed its first record at 1; nothing changes until there is something to say.
    assert_eq!([at(1.9), at(9.0), at(9.5)], [1, 2, 1]);
}

#[test]
fn without_an_agreement_there_is_no_marker() {
    let (mut left, mut right) = pair();
    for rekeys in [Rekeys::Never, Rekeys::Offered] {
        left.set_rekeys(rekeys, of_records(1));
        for hours in 0..9 {
            assert_eq!(pass(&mut left, &mut right, now() + HOUR * hours), Ok(1));
        }
    }
}

#[test]
fn who_only_asked_understands_the_first_marker() {
    let (mut left, mut right) = pair();
    left.set_rekeys(Rekeys::Offered, of_records(1));
    right.set_rekeys(Rekeys::Agreed, of_records(1));
    assert_eq!(pass(&mut right, &mut left, now()), Ok(1));
    assert_eq!(pass(&mut right, &mut left, now()), Ok(2));
    assert_eq!(pass(&mut left, &mut right, now()), Ok(1));
}

#[test]
fn a_marker_that_nobody_agreed_on_is_the_end() {
    let (mut left, mut right) = pair();
    left.set_rekeys(Rekeys::Agreed, of_records(1));
    assert_eq!(pass(&mut left, &mut right, now()), Ok(1));
    let refused = pass(&mut left, &mut right, now());
    assert_eq!(refused, Err(RekeyError::Unexpected.into()));
}

#[test]
fn a_marker_behind_another_is_the_end() {
    let (mut left, mut right) = agreed(of_records(1));
    assert_eq!(pass(&mut left, &mut right, now()), Ok(1));
    let (seq, marker) = left.seal(0).unwrap();
    assert_eq!(right.handle_record(seq, marker), Ok(()));
    left.state.rekey_sender().unwrap();
    let (seq, marker) = left.seal(0).unwrap();
    let refused = right.handle_record(seq, marker);
    assert_eq!(refused, Err(RekeyError::Unexpected.into()));
}

#[test]
fn a_marker_that_was_changed_or_whose_key_was_not_is_not_believed() {
    let (mut left, mut right) = agreed(of_records(1));
    assert_eq!(pass(&mut left, &mut right, now()), Ok(1));
    let (seq, marker) = left.seal(0).unwrap();
    let mut changed = marker.to_vec();
    changed[0] ^= 1;
    let refused = right.handle_record(seq, changed.into());
    assert_eq!(refused, Err(ChannelError::Authentic));
    // A sender that says so and goes on with the old key.
    let (mut left, mut right) = agreed(of_records(9));
    assert_eq!(pass(&mut left, &mut right, now()), Ok(1));
    let (seq, marker) = left.seal(0).unwrap();
    assert_eq!(right.handle_record(seq, marker), Ok(()));
    let refused = pass(&mut left, &mut right, now());
    assert_eq!(refused, Err(ChannelError::Authentic));
}

#[test]
fn who_agreed_and_never_does_it_is_cut_off() {
    let (mut left, mut right) = pair();
    right.set_rekeys(Rekeys::Agreed, of_records(10));
    for _ in 0..10 + WINDOW {
        assert_eq!(pass(&mut left, &mut right, now()), Ok(1));
    }
    let refused = pass(&mut left, &mut right, now());
    assert_eq!(refused, Err(RekeyError::Overdue(11 + WINDOW).into()));
}

#[test]
fn the_next_key_is_the_one_of_the_specification() {
    let old = [7; 32];
    let key = <AesGcm as Cipher>::Key::from_slice(&old);
    // ENCRYPT(k, 2^64 - 1, nothing, 32 zero bytes), of which the first 32 bytes.
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &old).unwrap());
    let mut nonce = [0xff; 12];
    nonce[..4].fill(0);
    let mut expected = [0; 32];
    let nonce = Nonce::assume_unique_for_key(nonce);
    let _tag = cipher
        .seal_in_place_separate_tag(nonce, Aad::empty(), &mut expected)
        .unwrap();
    assert_eq!(AesGcm::rekey(&key).unwrap().as_slice(), expected);
}

/// One thing that happens to a pair of channels.
#[derive(Clone, Debug)]
enum Event {
    Message { leftwards: bool, size: usize },
    Carry { leftwards: bool, backwards: bool },
    Wait(Duration),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (any::<bool>(), 1_usize..150_000)
            .prop_map(|(leftwards, size)| Event::Message { leftwards, size }),
        (any::<bool>(), any::<bool>()).prop_map(|(leftwards, backwards)| Event::Carry {
            leftwards,
            backwards
        }),
        (0_u64..5_000).prop_map(|seconds| Event::Wait(Duration::from_secs(seconds))),
    ];
    prop::collection::vec(event, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn both_ends_change_together_whatever_happens_when(
        life in 1_u32..5, mut events in events()
    ) {
        for leftwards in [false, true] {
            events.push(Event::Carry { leftwards, backwards: false });
        }
        let (mut left, mut right) = agreed(of_records(life));
        let mut sent = [Vec::new(), Vec::new()];
        let mut came = [Vec::new(), Vec::new()];
        let mut at = now();
        for event in events {
            match event {
                Event::Wait(time) => at += time,
                Event::Message { leftwards, size } => {
                    let from = if leftwards { &mut right } else { &mut left };
                    let message = vec![size as u8; size];
                    from.send(&message).unwrap();
                    sent[usize::from(leftwards)].push(Bytes::from(message));
                }
                Event::Carry { leftwards, backwards } => {
                    let (from, to) = match leftwards {
                        true => (&mut right, &mut left),
                        false => (&mut left, &mut right),
                    };
                    loop {
                        // Not more at once than the other end holds.
                        let next = || from.poll_record(at).unwrap();
                        let mut batch: Vec<_> = std::iter::from_fn(next).take(8).collect();
                        if batch.is_empty() {
                            break;
                        }
                        if backwards {
                            batch.reverse();
                        }
                        for (seq, record) in batch {
                            to.handle_record(seq, record).unwrap();
                        }
                        came[usize::from(leftwards)].extend(messages(to));
                    }
                }
            }
        }
        prop_assert_eq!(came, sent);
    }
}
