use clatter::bytearray::ByteArray as _;
use clatter::traits::Cipher;
use sha2::Digest as _;

use super::*;
use crate::noise::padding::{BUCKETS, CONTENT_BYTES_MAX, bucket, content};
use crate::noise::suite::AesGcm;
use crate::noise::{KeyLife, RekeyError, Rekeys};

/// Two ends that agreed to pad: the one that asked and the one that was asked.
fn agreed() -> (Channel, Channel) {
    let (mut left, mut right) = pair();
    left.set_padding(Padding::Offered);
    right.set_padding(Padding::Agreed);
    pass(&mut right, &mut left, &[b"yes".to_vec()]);
    left.set_padding(Padding::Agreed);
    pass(&mut left, &mut right, &[b"well".to_vec()]);
    (left, right)
}

/// Sends messages all at once and says how long their records' plaintexts are.
#[track_caller]
fn pass(from: &mut Channel, to: &mut Channel, sent: &[Vec<u8>]) -> Vec<usize> {
    for message in sent {
        from.send(message).unwrap();
    }
    let mut sizes = Vec::new();
    for (seq, record) in records(from) {
        sizes.push(record.len() - TAG_BYTES);
        to.handle_record(seq, record).unwrap();
    }
    assert_eq!(messages(to), sent);
    sizes
}

/// Contents by their length, the bucket they belong into, and SHA-256 of the whole record with a key
/// of 32 times 7 as its first, made by somebody else's AES-GCM.
const KNOWN: [(usize, usize, &str); 9] = [
    (
        0,
        256,
        "73a77b5cb478ff4345c29a1425f0e7677e3a614e1286e5519d1cb276018b654d",
    ),
    (
        1,
        256,
        "b43d278392368b96318feba4e9e1620fd4ab1c0f042c97c8516eacca771bec77",
    ),
    (
        254,
        256,
        "7c5ad31bf422a1f3095328e49d4e87a4847e7a06e5b864de3c4e47fd95b72cad",
    ),
    (
        255,
        512,
        "5aad525d66b5dda327dea6aebac5cc4bb89920b39f9aa4f929a64695814e085c",
    ),
    (
        510,
        512,
        "dd328f10d7b262798c19a303a8f42afc01ad18f94cbe3aeb5bbdb31b5c260b98",
    ),
    (
        511,
        1024,
        "6da0beb30f7e0fd88504b043716f300fed86d7442401b0038d69bfd2f651e90c",
    ),
    (
        32766,
        32768,
        "fe7f648ea3c3766a09ba57650b9139f67ba45c427acfd19adf06d78abf33ba2d",
    ),
    (
        32767,
        61440,
        "44649e39aeb071fe3ba88be5c664f3eee2e0bd9fe89f2a8ae882b47be486e96f",
    ),
    (
        CONTENT_BYTES_MAX,
        61440,
        "3888cb2a58f03442f3e9dcfa9788e333405a155dd52635837a4f42abbb1aedc6",
    ),
];

#[test]
fn a_padded_record_is_the_same_everywhere_and_for_ever() {
    let key = <AesGcm as Cipher>::Key::from_slice(&[7; 32]);
    for (length, size, expected) in KNOWN {
        let text: Vec<u8> = (0..length)
            .map(|at| ((at * 7 + length) % 251) as u8)
            .collect();
        let mut record = pad(&text, TAG_BYTES).unwrap();
        assert_eq!(record.len(), size + TAG_BYTES);
        assert_eq!(content(&record[..size]), Ok(2..2 + length));
        AesGcm::encrypt_in_place(&key, 0, &[], &mut record, size).unwrap();
        let digest = sha2::Sha256::digest(&record);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, expected, "{length}");
    }
    assert_eq!(pad(&vec![0; CONTENT_BYTES_MAX + 1], 0), None);
}

#[test]
fn what_no_padding_leads_to_is_refused() {
    let mut plaintext = pad(b"abc", 0).unwrap();
    for (size, refused) in [(0, 0), (255, 255), (257, 257), (61_439, 61_439)] {
        let other = vec![0; size];
        assert_eq!(content(&other), Err(PaddingError::Size(refused)));
    }
    for (length, expected) in [(254_u16, Ok(2..256)), (3, Ok(2..5))] {
        plaintext[..2].copy_from_slice(&length.to_be_bytes());
        assert_eq!(content(&plaintext), expected);
    }
    for length in [255_u16, 256, 61_438, u16::MAX] {
        plaintext[..2].copy_from_slice(&length.to_be_bytes());
        let (size, length) = (256, usize::from(length));
        let refused = Err(PaddingError::Length { size, length });
        assert_eq!(content(&plaintext), refused);
    }
    for (at, expected) in [(4, Ok(2..5)), (5, Err(PaddingError::NotZero))] {
        let mut plaintext = pad(b"abc", 0).unwrap();
        plaintext[at] = 1;
        assert_eq!(content(&plaintext), expected);
    }
    plaintext = pad(b"abc", 0).unwrap();
    plaintext[255] = 1;
    assert_eq!(content(&plaintext), Err(PaddingError::NotZero));
    // Nobody has to choose the smallest.
    plaintext[255] = 0;
    plaintext.resize(32_768, 0);
    assert_eq!(content(&plaintext), Ok(2..5));
}

#[test]
fn each_direction_begins_once_and_is_padded_from_then_on() {
    let (mut left, mut right) = pair();
    left.set_padding(Padding::Offered);
    // Who asked does not begin by itself.
    assert_eq!(pass(&mut left, &mut right, &[vec![1; 96]]), [100]);
    right.set_padding(Padding::Agreed);
    assert_eq!(pass(&mut right, &mut left, &[vec![2; 296]]), [0, 512]);
    assert_eq!(pass(&mut right, &mut left, &[vec![2; 9]]), [256]);
    // What was on its way meanwhile is understood.
    assert_eq!(pass(&mut left, &mut right, &[vec![1; 5]]), [9]);
    left.set_padding(Padding::Agreed);
    assert_eq!(pass(&mut left, &mut right, &[vec![1; 96]]), [0, 256]);
    let long = vec![vec![3; 2 * CONTENT_BYTES_MAX - 4], vec![4; 40_000]];
    let whole = RECORD_BYTES_MAX;
    assert_eq!(pass(&mut left, &mut right, &long), [whole, whole, whole]);
    assert_eq!(pass(&mut left, &mut right, &[vec![1; 96]]), [256]);
}

#[test]
fn without_an_agreement_nothing_is_padded() {
    for padding in [Padding::Never, Padding::Offered] {
        let (mut left, mut right) = pair();
        left.set_padding(padding);
        right.set_padding(padding);
        assert_eq!(pass(&mut left, &mut right, &[vec![1; 96]]), [100]);
        assert_eq!(pass(&mut right, &mut left, &[vec![1; 96]]), [100]);
    }
}

#[test]
fn padding_that_nobody_asked_for_is_the_end() {
    let (mut left, mut right) = pair();
    right.set_padding(Padding::Agreed);
    right.send(b"x").unwrap();
    let (seq, begin) = right.poll_record(now()).unwrap().unwrap();
    let refused = left.handle_record(seq, begin);
    assert_eq!(refused, Err(RekeyError::Unexpected.into()));
}

/// An executor of before padding changes its keys, and does not begin to pad with that.
#[test]
fn who_asked_tells_a_change_of_keys_from_padding() {
    let life = KeyLife {
        records: 1,
        ..KeyLife::default()
    };
    let (mut left, mut right) = pair();
    left.set_padding(Padding::Offered);
    left.set_rekeys(Rekeys::Offered, life);
    right.set_rekeys(Rekeys::Agreed, life);
    assert_eq!(pass(&mut right, &mut left, &[vec![1; 9]]), [13]);
    assert_eq!(pass(&mut right, &mut left, &[vec![1; 9]]), [0, 13]);
    left.set_padding(Padding::Never);
    assert_eq!(pass(&mut right, &mut left, &[vec![1; 9]]), [0, 13]);
}

#[test]
fn a_marker_of_padded_records_is_padded_itself() {
    let life = KeyLife {
        records: 2,
        ..KeyLife::default()
    };
    let (mut left, mut right) = agreed();
    left.set_rekeys(Rekeys::Agreed, life);
    right.set_rekeys(Rekeys::Agreed, life);
    for expected in [vec![256], vec![256, 256], vec![256], vec![256, 256]] {
        assert_eq!(pass(&mut left, &mut right, &[vec![1; 9]]), expected);
    }
    // One behind another is as wrong as without padding.
    let (seq, marker) = left.seal(0).unwrap();
    assert_eq!(right.handle_record(seq, marker), Ok(()));
    left.state.rekey_sender().unwrap();
    let (seq, marker) = left.seal(0).unwrap();
    let refused = right.handle_record(seq, marker);
    assert_eq!(refused, Err(RekeyError::Unexpected.into()));
}

#[test]
fn who_agreed_and_does_not_pad_is_cut_off() {
    // The one that was asked does it at once.
    let (mut left, mut right) = pair();
    left.set_padding(Padding::Offered);
    assert_eq!(pass(&mut right, &mut left, &[vec![1; 9]]), [13]);
    left.set_padding(Padding::Agreed);
    right.send(b"x").unwrap();
    let (seq, record) = right.poll_record(now()).unwrap().unwrap();
    let refused = left.handle_record(seq, record);
    assert_eq!(refused, Err(PaddingError::Missing.into()));
    // The one that asked learns of it a little later.
    let (mut left, mut right) = pair();
    right.set_padding(Padding::Agreed);
    for _ in 0..WINDOW {
        assert_eq!(pass(&mut left, &mut right, &[vec![1; 9]]), [13]);
    }
    left.send(b"x").unwrap();
    let (seq, record) = left.poll_record(now()).unwrap().unwrap();
    let refused = right.handle_record(seq, record);
    assert_eq!(refused, Err(PaddingError::Missing.into()));
}

#[test]
fn a_record_without_padding_among_padded_ones_gives_nothing() {
    let (mut left, mut right) = agreed();
    left.packing = Packing::Plain;
    left.send(&[1; 96]).unwrap();
    let (seq, record) = left.poll_record(now()).unwrap().unwrap();
    let refused = right.handle_record(seq, record);
    assert_eq!(refused, Err(PaddingError::Size(100).into()));
    assert_eq!(right.poll_message(), Ok(None));
}

#[test]
fn what_has_begun_goes_on() {
    let (mut left, mut right) = agreed();
    for padding in [Padding::Never, Padding::Offered, Padding::Agreed] {
        left.set_padding(padding);
        right.set_padding(padding);
        assert_eq!(pass(&mut left, &mut right, &[vec![1; 96]]), [256]);
        assert_eq!(pass(&mut right, &mut left, &[vec![1; 96]]), [256]);
    }
}

#[test]
fn a_content_is_at_most_doubled_beyond_the_smallest_bucket() {
    for length in 1..=CONTENT_BYTES_MAX {
        let size = bucket(length).unwrap();
        assert!(size >= length + 2 && (size == BUCKETS[0] || size <= 2 * (length + 1)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_come_out_as_they_went_in_and_only_buckets_are_seen(
        batches in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(1_usize..150_000, 1..5)), 1..12),
        life in 1_u32..6,
    ) {
        let life = KeyLife { records: life, ..KeyLife::default() };
        let (mut left, mut right) = agreed();
        left.set_rekeys(Rekeys::Agreed, life);
        right.set_rekeys(Rekeys::Agreed, life);
        for (leftwards, sizes) in batches {
            let (from, to) = match leftwards {
                true => (&mut right, &mut left),
                false => (&mut left, &mut right),
            };
            let sent: Vec<Vec<u8>> = sizes.iter().enumerate()
                .map(|(at, size)| (0..*size).map(|byte| (byte + at) as u8).collect())
                .collect();
            for size in pass(from, to, &sent) {
                prop_assert!(BUCKETS.contains(&size), "{}", size);
            }
        }
    }

    #[test]
    fn any_plaintext_is_a_content_within_it_or_refused(
        plaintext in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..600),
            (0_usize..9, any::<u16>()).prop_map(|(at, length)| {
                let mut plaintext = vec![0; BUCKETS[at]];
                plaintext[..2].copy_from_slice(&length.to_be_bytes());
                plaintext
            }),
        ]
    ) {
        if let Ok(range) = content(&plaintext) {
            let inside = plaintext[range].to_vec();
            let mut again = pad(&inside, 0).unwrap();
            prop_assert!(again.len() <= plaintext.len());
            again.resize(plaintext.len(), 0);
            prop_assert_eq!(again, plaintext);
        }
    }
}
