use std::pin::pin;
use std::task::{Context, Poll, Waker};

use farstep_protocol::caller::{Caller, Event};
use serde_json::{Value, json};

use super::*;
use crate::client::Overflow;
use crate::process::OutputStream;

fn opened(streams: &mut Streams, id: &str) -> Arc<Inbox> {
    let inbox = Inbox::new(Overflow::Truncate, streams.unread());
    streams.open(id.into(), Arc::clone(&inbox)).expect("free");
    inbox
}

fn deliver(streams: &mut Streams, method: &str, params: Value) -> Delivered {
    let text = json!({"method": method, "params": params}).to_string();
    match Caller::<()>::new(0).handle_text(&text) {
        Ok(Event::Notification { method, params }) => streams.deliver(&method, params),
        other => panic!("{other:?}"),
    }
}

fn say(streams: &mut Streams, seq: u64, text: &str) -> Delivered {
    let chunk = base64_simd::STANDARD.encode_to_string(text);
    let params = json!({"processId": "p", "seq": seq, "stream": "pty", "chunk": chunk});
    deliver(streams, "process/output", params)
}

fn next(inbox: &Inbox) -> Option<ProcessEvent> {
    match pin!(inbox.next()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(event) => event,
        Poll::Pending => None,
    }
}

fn said(text: &'static str) -> ProcessEvent {
    ProcessEvent::Output {
        stream: OutputStream::Pty,
        bytes: Bytes::from_static(text.as_bytes()),
    }
}

#[test]
fn events_that_overtook_each_other_come_out_in_order() {
    let mut streams = Streams::default();
    let inbox = opened(&mut streams, "p");
    assert!(!streams.started("p", true));
    let params = json!({"processId": "p", "seq": 4});
    assert!(matches!(
        deliver(&mut streams, "process/closed", params),
        Delivered::To(_)
    ));
    let params = json!({"processId": "p", "seq": 2, "exitCode": 0});
    deliver(&mut streams, "process/exited", params);
    say(&mut streams, 3, "late");
    assert_eq!(next(&inbox), None);
    assert!(matches!(say(&mut streams, 1, "first"), Delivered::Last(_)));
    let exited = ProcessEvent::Exited {
        code: 0,
        sandbox_denied: None,
    };
    assert_eq!(next(&inbox), Some(said("first")));
    assert_eq!(next(&inbox), Some(exited));
    assert_eq!(next(&inbox), Some(said("late")));
    assert_eq!(next(&inbox), Some(ProcessEvent::Closed));
    assert!(matches!(
        say(&mut streams, 5, "posthumous"),
        Delivered::Nobody
    ));
}

#[test]
fn a_gap_that_is_never_filled_costs_the_process_and_nothing_else() {
    let mut streams = Streams::default();
    let inbox = opened(&mut streams, "p");
    let other = opened(&mut streams, "q");
    let broken = (2..1000).find_map(|seq| match say(&mut streams, seq, "x") {
        Delivered::Broken(id, reason) => Some((seq, id, reason)),
        _ => None,
    });
    let (seq, id, reason) = broken.expect("given up");
    assert_eq!((seq, &*id), (258, "p"));
    assert_eq!(next(&inbox), Some(ProcessEvent::Lost { reason }));
    assert_eq!(streams.lose_all("over"), ["q".into()]);
    let reason = "over".to_owned();
    assert_eq!(next(&other), Some(ProcessEvent::Lost { reason }));
}

#[test]
fn output_that_is_no_base64_costs_the_process() {
    let mut streams = Streams::default();
    let inbox = opened(&mut streams, "p");
    let params = json!({"processId": "p", "seq": 1, "stream": "pty", "chunk": "a-b_"});
    let delivered = deliver(&mut streams, "process/output", params);
    assert!(matches!(delivered, Delivered::Broken(..)));
    assert!(matches!(next(&inbox), Some(ProcessEvent::Lost { .. })));
}

#[test]
fn notifications_about_nothing_we_follow_go_nowhere() {
    let mut streams = Streams::default();
    opened(&mut streams, "p");
    for (method, params) in [
        (
            "process/output",
            json!({"processId": "x", "seq": 1, "stream": "pty", "chunk": ""}),
        ),
        (
            "process/output",
            json!({"processId": "p", "seq": -1, "stream": "pty", "chunk": ""}),
        ),
        ("process/output", json!([])),
        ("process/closed", json!(null)),
        ("process/exited", json!({"processId": "p", "seq": 1})),
        ("farstep/later", json!({"processId": "p", "seq": 1})),
    ] {
        let delivered = deliver(&mut streams, method, params.clone());
        assert!(matches!(delivered, Delivered::Nobody), "{method} {params}");
    }
}

#[test]
fn a_start_nobody_waits_for_is_ended_when_it_is_answered() {
    let mut streams = Streams::default();
    let inbox = opened(&mut streams, "p");
    assert!(!streams.release("p", &inbox), "not yet known to run");
    assert!(streams.started("p", true));
    assert!(!streams.release("p", &inbox), "already gone");
    let inbox = opened(&mut streams, "p");
    assert!(!streams.started("p", false), "a refused start needs no end");
    assert!(!streams.release("p", &inbox));
}

#[test]
fn a_process_that_was_refused_an_id_cannot_end_its_owner() {
    let mut streams = Streams::default();
    let owner = opened(&mut streams, "p");
    assert!(!streams.started("p", true));
    let second = Inbox::new(Overflow::Truncate, streams.unread());
    assert!(streams.open("p".into(), Arc::clone(&second)).is_err());
    assert!(!streams.release("p", &second));
    assert!(streams.release("p", &owner));
}
