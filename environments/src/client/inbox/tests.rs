use std::task::{Poll, Waker};

use bytes::Bytes;

use super::*;
use crate::process::OutputStream;

const PIECE: usize = 1 << 20;

fn output(length: usize) -> ProcessEvent {
    ProcessEvent::Output {
        stream: OutputStream::Stdout,
        bytes: Bytes::from(vec![b'x'; length]),
    }
}

/// Takes everything out: output bytes, dropped bytes, and what else there was.
fn drain(inbox: &Inbox) -> (usize, u64, Vec<ProcessEvent>) {
    let (mut taken, mut dropped, mut rest) = (0, 0, Vec::new());
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(event)) = std::pin::pin!(inbox.next()).poll(&mut cx) {
        match event {
            ProcessEvent::Output { bytes, .. } => taken += bytes.len(),
            ProcessEvent::Truncated { bytes } => dropped += bytes,
            other => rest.push(other),
        }
    }
    (taken, dropped, rest)
}

#[test]
fn what_is_not_read_is_dropped_in_one_piece_and_counted_and_the_end_is_kept() {
    let inbox = Inbox::new(Overflow::Truncate, Unread::default());
    for _ in 0..20 {
        inbox.push(output(PIECE));
    }
    let exited = ProcessEvent::Exited {
        code: 3,
        sandbox_denied: None,
    };
    inbox.push(exited.clone());
    inbox.push(ProcessEvent::Closed);
    inbox.push(output(1));
    let kept = inbox.queue().events.len();
    assert_eq!(kept, 7 + 1 + 2, "seven pieces, one gap, two ends");
    let (taken, dropped, rest) = drain(&inbox);
    assert_eq!((taken, dropped), (7 * PIECE, 13 * PIECE as u64));
    assert_eq!(rest, [exited, ProcessEvent::Closed]);
}

#[test]
fn output_is_taken_in_again_once_half_of_the_room_is_free() {
    let inbox = Inbox::new(Overflow::Truncate, Unread::default());
    for _ in 0..8 {
        inbox.push(output(PIECE));
    }
    let mut cx = Context::from_waker(Waker::noop());
    for read in 1..=4 {
        assert!(std::pin::pin!(inbox.next()).poll(&mut cx).is_ready());
        inbox.push(output(1));
        let queue = inbox.queue();
        assert_eq!(queue.dropping, read < 4, "after {read} reads");
    }
}

#[test]
fn empty_output_counts_too() {
    let inbox = Inbox::new(Overflow::Truncate, Unread::default());
    for _ in 0..2 * UNREAD_MAX / EVENT_COST {
        inbox.push(output(0));
    }
    assert!(inbox.queue().events.len() <= UNREAD_MAX / EVENT_COST + 1);
}

#[test]
fn readers_who_do_not_read_cost_one_who_does_nothing() {
    let unread = Unread::default();
    let lazy: Vec<_> = (0..20)
        .map(|_| Inbox::new(Overflow::Truncate, unread.clone()))
        .collect();
    for inbox in &lazy {
        for _ in 0..20 {
            inbox.push(output(PIECE));
        }
    }
    let held = unread.0.load(Ordering::Relaxed);
    assert!(held <= UNREAD_TOTAL_MAX + lazy.len() * PIECE, "{held}");
    let diligent = Inbox::new(Overflow::Truncate, unread.clone());
    for _ in 0..1000 {
        diligent.push(output(8 << 10));
        assert_eq!(drain(&diligent).0, 8 << 10);
    }
    for inbox in lazy {
        inbox.abandon();
    }
    assert_eq!(unread.0.load(Ordering::Relaxed), 0);
}

#[test]
fn a_waiting_inbox_drops_nothing_and_says_when_there_is_room() {
    let inbox = Inbox::new(Overflow::Wait, Unread::default());
    for _ in 0..9 {
        inbox.push(output(PIECE));
    }
    assert!(inbox.is_full());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(inbox.holds_back(&cx));
    for _ in 0..2 {
        assert!(std::pin::pin!(inbox.next()).poll(&mut cx).is_ready());
    }
    assert!(!inbox.is_full());
    inbox.push(output(PIECE));
    inbox.push(output(PIECE));
    assert!(inbox.is_full());
    inbox.push(ProcessEvent::Closed);
    assert!(!inbox.is_full(), "nothing more will come");
    assert_eq!(drain(&inbox), (9 * PIECE, 0, vec![ProcessEvent::Closed]));
}
