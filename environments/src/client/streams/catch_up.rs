//! How a process's events go on after the session was taken up again on another connection.
//!
//! ```text
//!   connection lost ──▶ resumed ──▶ read a page ──▶ there was output ──▶ read on
//!                                       │
//!                                       └─ none: all is fetched, live again
//! ```
//!
//! Events go on from the moment of the resume, and nothing is replayed; what was said before is
//! fetched with `process/read` (`exec-protocol` sections 4.2 and 7.6). A page tells output with
//! its numbers, and the end of the process without: a number that is missing behind the first
//! page's start is the end, larger holes are output the executor did not keep.

use std::sync::Arc;

use bytes::Bytes;
use farstep_protocol::frame;
use farstep_protocol::method::process::ReadResult;

use super::super::process::ProcessEvent;
use super::{Delivered, Phase, Stream, Streams};

/// What a page led to.
#[derive(Debug)]
pub(in super::super) struct CaughtUp {
    pub(in super::super) delivered: Delivered,
    /// The event behind which to read the next page, if there is one to read.
    pub(in super::super) read_after: Option<u64>,
}

impl Streams {
    /// The connection is gone: returns the processes whose start was not answered. Nobody waits
    /// for them any more, and they may be running.
    pub(in super::super) fn suspend(&mut self) -> Vec<Arc<str>> {
        let unanswered = self
            .followed
            .extract_if(|_, stream| matches!(stream.phase, Phase::Starting | Phase::Unwanted));
        unanswered.map(|(id, _)| id).collect()
    }

    /// The session lives on another connection: returns what to read, by process, and behind
    /// which event.
    pub(in super::super) fn resume(&mut self) -> Vec<(Arc<str>, u64)> {
        let streams = self.followed.iter_mut().map(|(id, stream)| {
            stream.phase = Phase::CatchingUp {
                found_no_room: false,
            };
            (Arc::clone(id), stream.read_after())
        });
        streams.collect()
    }

    /// A page arrived.
    pub(in super::super) fn catch_up(&mut self, id: &str, page: &ReadResult<'_>) -> CaughtUp {
        let Some((id, stream)) = self.followed.get_key_value(id) else {
            return CaughtUp::over(Delivered::Nobody);
        };
        let (id, inbox) = (Arc::clone(id), Arc::clone(&stream.inbox));
        let Some(stream) = self.followed.get_mut(&id) else {
            return CaughtUp::over(Delivered::Nobody);
        };
        let taken = match stream.take(page) {
            Ok(taken) => taken,
            Err(reason) => return CaughtUp::over(self.give_up(&id, reason)),
        };
        let read_after = (!taken.all && !taken.last).then(|| stream.read_after());
        if taken.all {
            stream.phase = Phase::Running;
        }
        CaughtUp {
            read_after,
            delivered: self.delivered(id, inbox, taken.last),
        }
    }

    /// The executor will not tell what it said.
    pub(in super::super) fn cannot_catch_up(&mut self, id: &str, reason: &str) -> Delivered {
        self.give_up(id, &format!("its output cannot be fetched: {reason}"))
    }
}

impl CaughtUp {
    fn over(delivered: Delivered) -> CaughtUp {
        CaughtUp {
            delivered,
            read_after: None,
        }
    }
}

/// What a page meant to its process.
struct Taken {
    /// Nothing is left to be fetched.
    all: bool,
    /// The last event was passed on.
    last: bool,
}

impl Stream {
    fn read_after(&self) -> u64 {
        self.order.next_seq() - 1
    }

    fn take(&mut self, page: &ReadResult<'_>) -> Result<Taken, &'static str> {
        let mut last = false;
        for chunk in &page.chunks {
            let Some(missing) = chunk.seq.checked_sub(self.order.next_seq()) else {
                continue;
            };
            let bytes = frame::read_base64(&chunk.chunk)
                .ok_or("the executor sent output that is not base64")?;
            self.explain(missing, page, false);
            self.inbox.push(ProcessEvent::Output {
                stream: chunk.stream,
                bytes: Bytes::from(bytes),
            });
            last |= self.advance_to(chunk.seq + 1);
        }
        if !page.chunks.is_empty() || last {
            return Ok(Taken { all: false, last });
        }
        // Nothing more is retained, so `nextSeq` counts everything that ever happened.
        let missing = page.next_seq.saturating_sub(self.order.next_seq());
        self.explain(missing, page, true);
        if page.closed {
            self.inbox.push(ProcessEvent::Closed);
            return Ok(Taken {
                all: true,
                last: true,
            });
        }
        let last = self.advance_to(page.next_seq);
        let found_no_room = matches!(
            self.phase,
            Phase::CatchingUp {
                found_no_room: true
            }
        );
        if found_no_room {
            self.phase = Phase::CatchingUp {
                found_no_room: false,
            };
        }
        let all = !found_no_room && !self.order.has_gap();
        Ok(Taken { all, last })
    }

    /// Tells what `missing` events in front of the next output were: its end, or output that is
    /// gone. At the end of everything the last ones may be its end and that of its output.
    fn explain(&mut self, missing: u64, page: &ReadResult<'_>, at_the_end: bool) {
        let ended = page.exited && !self.exited && (at_the_end || missing == 1);
        let told = u64::from(ended) + u64::from(at_the_end && page.closed);
        if missing > told {
            self.inbox.push(ProcessEvent::Missed {
                events: missing - told,
            });
        }
        if ended {
            self.exited = true;
            self.inbox.push(ProcessEvent::Exited {
                // An executor that says no code knows none; the wire has it when `exited` is set.
                code: page.exit_code.unwrap_or(1),
                sandbox_denied: page.sandbox_denied,
            });
        }
    }

    /// Goes on with event `next`; tells whether the last one was passed on.
    fn advance_to(&mut self, next: u64) -> bool {
        let mut last = false;
        let (exited, inbox) = (&mut self.exited, &self.inbox);
        self.order.advance_to(next, |_, event| {
            let is_exit = matches!(event, ProcessEvent::Exited { .. });
            last |= event == ProcessEvent::Closed;
            if !(is_exit && *exited) {
                inbox.push(event);
            }
            *exited |= is_exit;
        });
        last
    }
}
