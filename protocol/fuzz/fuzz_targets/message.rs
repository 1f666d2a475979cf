//! A text from the wire: the scan, and what it makes of the envelope.

#![no_main]

use farstep_protocol::caller::{Caller, Event};
use farstep_protocol::rpc::{Limits, Malformed, Message, parse};
use farstep_protocol_fuzz::json::{is_json, survey};
use libfuzzer_sys::fuzz_target;

/// Small enough to be reached by small inputs.
const TIGHT: Limits = Limits {
    depth_max: 6,
    values_max: 24,
};

fuzz_target!(|text: &str| {
    check(text, &Limits::default());
    check(text, &TIGHT);
    let mut caller = Caller::new(2);
    let id = caller.register("a").expect("there is room");
    if let Ok(Event::Reply { tag, .. }) = caller.handle_text(text) {
        assert_eq!((tag, caller.pending()), ("a", 0));
        assert!(matches!(caller.handle_text(text), Ok(Event::Stray(stray)) if stray == id));
    }
});

fn check(text: &str, limits: &Limits) {
    let ours = parse(text, limits);
    match &ours {
        Ok(_) | Err(Malformed::NotAnObject | Malformed::NotAnEnvelope(_)) => {
            assert!(is_json(text), "{text}")
        }
        Err(Malformed::NotJson { at }) => {
            assert!(*at <= text.len());
            assert!(!is_json(text) || survey(text).is_none(), "{text}");
        }
        Err(Malformed::RepeatedMember { at }) => assert!(text.is_char_boundary(*at)),
        Err(_) => {}
    }
    if let Some(found) = survey(text) {
        let fits =
            found.depth <= limits.depth_max && found.values <= limits.values_max && !found.repeats;
        let taken = matches!(
            &ours,
            Ok(_) | Err(Malformed::NotAnObject | Malformed::NotAnEnvelope(_))
        );
        assert_eq!(taken, fits, "{found:?} {text}");
        match ours {
            Err(Malformed::TooDeep { .. }) => assert!(found.depth > limits.depth_max),
            Err(Malformed::TooManyValues { .. }) => assert!(found.values > limits.values_max),
            Err(Malformed::RepeatedMember { .. }) => assert!(found.repeats),
            _ => {}
        }
    }
    if let Ok(message) = ours {
        check_envelope(text, &message);
    }
}

/// The envelope as a tree says the same.
fn check_envelope(text: &str, message: &Message<'_>) {
    // Numbers no double can hold have no tree, and are nobody's ids.
    let Ok(tree) = serde_json::from_str::<serde_json::Value>(text) else {
        return;
    };
    let id = match message {
        Message::Request(request) => {
            assert_eq!(tree["method"], *request.method);
            let _ = request.params.none();
            Some(&request.id)
        }
        Message::Notification { method, .. } => {
            assert_eq!(tree["method"], **method);
            None
        }
        Message::Reply { id, outcome } => {
            assert!(tree.get("method").is_none());
            assert_eq!(outcome.is_ok(), tree.get("result").is_some());
            Some(id)
        }
    };
    let mut echoed = String::new();
    if let Some(id) = id {
        id.write_json(&mut echoed);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&echoed)
                .ok()
                .as_ref(),
            tree.get("id")
        );
    } else {
        assert!(tree.get("id").is_none());
    }
}
