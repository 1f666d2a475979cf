//! Whether an executor still answers the client it is bridged to, where that is in doubt.
//!
//! The bridge passes messages on unread; only over a relay, which may lose something unseen, it
//! looks which requests are without an answer, and asks in its own name when one gets old.

use std::collections::HashMap;

use farstep_protocol::frame;
use farstep_protocol::method::environment;
use farstep_protocol::rpc::{Limits, Message, RequestId, parse};
use farstep_transport::Text;
use tokio::time::Instant;

use crate::client::{Next, Seen, Stall};

/// Requests whose answers are waited for. A client has fewer; of one that has more, the rest is
/// passed on and not looked after.
const PENDING_MAX: usize = 4096;

/// How our own requests begin, which no client's do.
const OURS: &str = "farstep-gateway-";

#[derive(Debug)]
pub(super) struct Watch {
    stall: Stall,
    pending: HashMap<RequestId, u64>,
    newest: u64,
    sent: u64,
    probe: Option<RequestId>,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Watch {
        Watch {
            stall: Stall::new(now),
            pending: HashMap::new(),
            newest: 0,
            sent: 0,
            probe: None,
        }
    }

    /// The client says this.
    pub(super) fn asked(&mut self, text: &Text) {
        self.sent += text.len() as u64;
        if let Ok(Message::Request(request)) = parse(text, &Limits::default())
            && self.pending.len() < PENDING_MAX
        {
            self.newest += 1;
            self.pending.insert(request.id, self.newest);
        }
    }

    /// The executor says this; whether it is for the client.
    pub(super) fn answered(&mut self, text: &Text, now: Instant) -> bool {
        let Ok(Message::Reply { id, .. }) = parse(text, &Limits::default()) else {
            return true;
        };
        if self.probe.as_ref() == Some(&id) {
            self.probe = None;
            self.stall.rest(now);
            return false;
        }
        self.pending.remove(&id);
        true
    }

    /// The client does not read, so nothing can be heard.
    pub(super) fn rest(&mut self, now: Instant) {
        self.stall.rest(now);
    }

    /// What to do. `unsent` when a probe still waits to be given to the wire.
    pub(super) fn look(&mut self, now: Instant, arrived: u64, unsent: bool) -> Next {
        let seen = Seen {
            arrived,
            sent: self.sent,
            newest: self.newest,
            // What runs there is the client's business, and so is its silence.
            awaited: false,
            unsent,
        };
        let pending = &self.pending;
        self.stall
            .look(now, seen, || pending.values().min().copied())
    }

    /// A sign of life is wanted.
    pub(super) fn probe(&mut self) -> Text {
        self.newest += 1;
        let id = RequestId::Text(format!("{OURS}{}", self.newest).into());
        let mut text = String::new();
        frame::request(&mut text, &id, environment::STATUS, &());
        self.probe = Some(id);
        Text::from(text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_without_an_answer_is_asked_after_and_the_client_hears_nothing_of_it() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        watch.asked(&Text::from(r#"{"id":"a","method":"m","params":{}}"#));
        watch.asked(&Text::from(r#"{"id":7,"method":"m","params":{}}"#));
        watch.asked(&Text::from("no message at all"));
        let reply = Text::from(r#"{"id":7,"result":{}}"#);
        assert!(watch.answered(&reply, start), "it is for the client");
        let mut now = start;
        while watch.look(now, 1, false) != Next::Probe {
            now += Duration::from_secs(1);
            assert!(now < start + Duration::from_secs(30), "nobody asks");
        }
        let probe = watch.probe();
        assert!(probe.contains("environment/status"), "{probe}");
        let answer = probe.replace(r#""method":"environment/status""#, r#""result":{}"#);
        assert!(!watch.answered(&Text::from(answer), now), "it is not");
        assert!(matches!(watch.look(now, 2, false), Next::At(_)));
        let late = Text::from(r#"{"id":"a","error":{"code":1,"message":"no"}}"#);
        assert!(watch.answered(&late, now));
    }
}
