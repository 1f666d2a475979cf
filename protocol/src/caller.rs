//! The calling side of a conversation: pending calls, and what each message means to them.

use std::collections::HashMap;

use crate::rpc::{Limits, Malformed, Message, Params, Request, RequestId, RpcError, parse};

/// Calls that wait for their reply, each with a tag of the owner's (a channel, a name).
///
/// Holds no socket and reads no clock: the owner sends what it builds, hands in what arrives,
/// and decides when a call has waited too long.
#[derive(Debug)]
pub struct Caller<T> {
    pending: HashMap<i64, T>,
    last_id: i64,
    pending_max: usize,
    limits: Limits,
}

/// As many calls as allowed wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} calls are waiting for their replies already")]
pub struct TooManyCalls {
    /// The limit in force.
    pub limit: usize,
}

/// What a message means.
#[derive(Debug)]
pub enum Event<'a, T> {
    /// A call got its reply: the result as JSON text, or the refusal.
    Reply {
        /// What the owner filed the call under.
        tag: T,
        /// What came back.
        outcome: Result<&'a str, RpcError>,
    },
    /// Something happened over there.
    Notification {
        /// What.
        method: std::borrow::Cow<'a, str>,
        /// Its details.
        params: Params<'a>,
    },
    /// The other side wants something of us.
    Request(Request<'a>),
    /// A reply to nothing we asked, or one that was given up. Ignored by well-behaved owners.
    Stray(RequestId),
}

impl<T> Caller<T> {
    /// A caller with no calls, of which at most `pending_max` may wait at once.
    pub fn new(pending_max: usize) -> Self {
        Caller {
            pending: HashMap::new(),
            last_id: 0,
            pending_max,
            limits: Limits::default(),
        }
    }

    /// Files a call; its request is to carry the returned id. Ids count up from 1.
    pub fn register(&mut self, tag: T) -> Result<RequestId, TooManyCalls> {
        if self.pending.len() >= self.pending_max {
            return Err(TooManyCalls {
                limit: self.pending_max,
            });
        }
        self.last_id += 1;
        self.pending.insert(self.last_id, tag);
        Ok(RequestId::Number(self.last_id))
    }

    /// Reads a message that arrived.
    pub fn handle_text<'a>(&mut self, text: &'a str) -> Result<Event<'a, T>, Malformed> {
        Ok(match parse(text, &self.limits)? {
            Message::Request(request) => Event::Request(request),
            Message::Notification { method, params } => Event::Notification { method, params },
            Message::Reply { id, outcome } => match self.abandon(&id) {
                Some(tag) => Event::Reply { tag, outcome },
                None => Event::Stray(id),
            },
        })
    }

    /// Gives a call up; its reply, should it come, is stray.
    pub fn abandon(&mut self, id: &RequestId) -> Option<T> {
        match id {
            RequestId::Number(number) => self.pending.remove(number),
            RequestId::Text(_) => None,
        }
    }

    /// Gives all calls up, because the connection is gone.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.pending.drain().map(|(_, tag)| tag)
    }

    /// How many calls wait.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_finds_its_call_once_and_is_stray_after_that() {
        let mut caller = Caller::new(2);
        let id = caller.register("first").unwrap();
        assert_eq!(id, RequestId::Number(1));
        caller.register("second").unwrap();
        assert_eq!(caller.register("third"), Err(TooManyCalls { limit: 2 }));
        let text = r#"{"id":1,"result":{}}"#;
        assert!(matches!(
            caller.handle_text(text),
            Ok(Event::Reply {
                tag: "first",
                outcome: Ok("{}")
            })
        ));
        assert!(matches!(caller.handle_text(text), Ok(Event::Stray(_))));
        assert!(matches!(
            caller.handle_text(r#"{"id":"2","result":1}"#),
            Ok(Event::Stray(_))
        ));
        assert_eq!(caller.pending(), 1);
    }
}
