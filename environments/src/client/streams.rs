//! The processes of one session, and where their events go.
//!
//! Belongs to the session and not to the connection: a session that is taken up again on another
//! connection goes on with the same streams. Knows nothing of wires.

mod catch_up;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use farstep_protocol::frame;
use farstep_protocol::method::process::{self, ClosedParams, ExitedParams, OutputParams};
use farstep_protocol::reorder::Reorder;
use farstep_protocol::rpc::Params;

use super::inbox::{Inbox, Unread};
use super::process::ProcessEvent;

/// What an event that came too early costs beside its bytes.
const EVENT_COST: usize = 64;

/// The followed processes, by the id their starter chose.
#[derive(Debug, Default)]
pub(super) struct Streams {
    followed: HashMap<Arc<str>, Stream>,
    unread: Unread,
}

#[derive(Debug)]
struct Stream {
    inbox: Arc<Inbox>,
    order: Reorder<ProcessEvent>,
    phase: Phase,
    /// Whether its end was passed on already.
    exited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    /// Running, and what it said while there was no connection is still being fetched. What it
    /// says meanwhile is kept; what found no room is fetched too.
    CatchingUp {
        found_no_room: bool,
    },
    /// Still starting, and nobody wants it any more.
    Unwanted,
}

/// What a notification led to.
#[derive(Debug)]
pub(super) enum Delivered {
    /// It went to its process, whose reader may be full now.
    To(Arc<Inbox>),
    /// It was the last one: the executor's record of the process can go.
    Last(Arc<str>),
    /// It cannot be right, so the process was given up and has to be ended.
    Broken(Arc<str>, String),
    /// It is about nothing we follow, or of a kind we do not know.
    Nobody,
}

/// The id is followed already.
#[derive(Debug)]
pub(super) struct InUse;

impl Streams {
    /// How much unread output the session holds.
    /// Whether nobody follows a process.
    pub(super) fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    pub(super) fn unread(&self) -> Unread {
        self.unread.clone()
    }

    /// Follows a process that is about to be started.
    pub(super) fn open(&mut self, id: Arc<str>, inbox: Arc<Inbox>) -> Result<(), InUse> {
        if self.followed.contains_key(&id) {
            return Err(InUse);
        }
        let stream = Stream {
            inbox,
            order: Reorder::default(),
            phase: Phase::Starting,
            exited: false,
        };
        self.followed.insert(id, stream);
        Ok(())
    }

    /// The start was answered. Tells whether the process has to be ended at once.
    #[must_use]
    pub(super) fn started(&mut self, id: &str, accepted: bool) -> bool {
        match self.followed.get_mut(id) {
            Some(stream) if accepted && stream.phase != Phase::Unwanted => {
                stream.phase = Phase::Running;
                false
            }
            Some(_) => {
                self.followed.remove(id);
                accepted
            }
            None => false,
        }
    }

    /// The reader is gone. Tells whether the process has to be ended now; one that is still
    /// starting is ended when its start was answered.
    #[must_use]
    pub(super) fn release(&mut self, id: &str, inbox: &Arc<Inbox>) -> bool {
        match self.followed.get_mut(id) {
            // A second process was refused the id of the first.
            Some(stream) if !Arc::ptr_eq(&stream.inbox, inbox) => false,
            Some(stream) if matches!(stream.phase, Phase::Starting | Phase::Unwanted) => {
                stream.phase = Phase::Unwanted;
                false
            }
            Some(_) => {
                self.followed.remove(id);
                true
            }
            None => false,
        }
    }

    /// Sorts a notification in.
    pub(super) fn deliver(&mut self, method: &str, params: Params<'_>) -> Delivered {
        match method {
            process::OUTPUT => match params.parse::<OutputParams<'_>>() {
                Ok(output) => self.output(&output),
                Err(_) => Delivered::Nobody,
            },
            process::EXITED => match params.parse::<ExitedParams<'_>>() {
                Ok(exited) => {
                    let event = ProcessEvent::Exited {
                        code: exited.exit_code,
                        sandbox_denied: exited.sandbox_denied,
                    };
                    self.sort_in(&exited.process_id, exited.seq, 0, event)
                }
                Err(_) => Delivered::Nobody,
            },
            process::CLOSED => match params.parse::<ClosedParams<'_>>() {
                Ok(closed) => self.sort_in(&closed.process_id, closed.seq, 0, ProcessEvent::Closed),
                Err(_) => Delivered::Nobody,
            },
            _ => Delivered::Nobody,
        }
    }

    fn output(&mut self, output: &OutputParams<'_>) -> Delivered {
        let id = output.process_id.as_ref();
        // Late output of a process that was let go is common and not worth decoding.
        if !self.followed.contains_key(id) {
            return Delivered::Nobody;
        }
        match frame::read_base64(&output.chunk) {
            Some(bytes) => {
                let length = bytes.len();
                let event = ProcessEvent::Output {
                    stream: output.stream,
                    bytes: Bytes::from(bytes),
                };
                self.sort_in(id, output.seq, length, event)
            }
            None => self.give_up(id, "the executor sent output that is not base64"),
        }
    }

    fn sort_in(&mut self, id: &str, seq: u64, length: usize, event: ProcessEvent) -> Delivered {
        let Some((id, stream)) = self.followed.get_key_value(id) else {
            return Delivered::Nobody;
        };
        let (id, inbox) = (Arc::clone(id), Arc::clone(&stream.inbox));
        let Some(stream) = self.followed.get_mut(&id) else {
            return Delivered::Nobody;
        };
        let size = length + EVENT_COST;
        if let Phase::CatchingUp { found_no_room } = &mut stream.phase {
            *found_no_room |= !stream.order.keep(seq, size, event);
            return Delivered::Nobody;
        }
        let mut last = false;
        let sorted = stream.order.push(seq, size, event, |_, event| {
            stream.exited |= matches!(event, ProcessEvent::Exited { .. });
            last |= event == ProcessEvent::Closed;
            inbox.push(event);
        });
        if let Err(overflow) = sorted {
            return self.give_up(&id, &overflow.to_string());
        }
        self.delivered(id, inbox, last)
    }

    fn delivered(&mut self, id: Arc<str>, inbox: Arc<Inbox>, last: bool) -> Delivered {
        if last {
            self.followed.remove(&id);
            return Delivered::Last(id);
        }
        Delivered::To(inbox)
    }

    fn give_up(&mut self, id: &str, reason: &str) -> Delivered {
        match self.followed.remove_entry(id) {
            Some((id, stream)) => {
                stream.inbox.push(ProcessEvent::Lost {
                    reason: reason.to_owned(),
                });
                Delivered::Broken(id, reason.to_owned())
            }
            None => Delivered::Nobody,
        }
    }

    /// Tells every reader that its process is out of reach, and returns the ids.
    pub(super) fn lose_all(&mut self, reason: &str) -> Vec<Arc<str>> {
        let lost = self.followed.drain().map(|(id, stream)| {
            stream.inbox.push(ProcessEvent::Lost {
                reason: reason.to_owned(),
            });
            id
        });
        lost.collect()
    }
}

#[cfg(test)]
mod tests;
