//! Events of one process in any order, repeated, missing and too many.

#![no_main]

use std::collections::{BTreeSet, HashMap};

use arbitrary::Arbitrary;
use farstep_protocol::reorder::{BYTES_HELD_MAX, EVENTS_HELD_MAX, Reorder};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Arrival {
    /// Mostly near the next one, which is where things happen.
    ahead: i16,
    far: bool,
    kilobytes: u16,
}

fuzz_target!(|arrivals: Vec<Arrival>| {
    let mut reorder = Reorder::default();
    let mut passed_on = Vec::new();
    let mut first_said = HashMap::new();
    let mut waiting = BTreeSet::new();
    for (event, arrival) in arrivals.iter().enumerate() {
        let seq = match arrival.far {
            true => u64::MAX - u64::from(arrival.kilobytes),
            false => reorder
                .next_seq()
                .saturating_add_signed(arrival.ahead.into()),
        };
        let size = usize::from(arrival.kilobytes) * 1024;
        let is_news = seq >= reorder.next_seq() && !waiting.contains(&seq);
        let is_next = seq == reorder.next_seq();
        let taken = reorder.push(seq, size, event, |seq, event| passed_on.push((seq, event)));
        match taken {
            Ok(()) if is_news => {
                first_said.insert(seq, event);
                waiting.insert(seq);
            }
            Ok(()) => {}
            // What is in order never waits, so it is never too much.
            Err(_) => {
                assert!(is_news && !is_next);
                assert!(
                    waiting.len() >= EVENTS_HELD_MAX
                        || size * (waiting.len() + 1) > 0 && BYTES_HELD_MAX > 0
                );
            }
        }
        waiting.retain(|seq| *seq >= reorder.next_seq());
        assert!(waiting.len() <= EVENTS_HELD_MAX);
        assert_eq!(passed_on.len() as u64 + 1, reorder.next_seq());
    }
    for (expected, (seq, event)) in (1..).zip(&passed_on) {
        assert_eq!((*seq, first_said.get(seq)), (expected, Some(event)));
    }
});
