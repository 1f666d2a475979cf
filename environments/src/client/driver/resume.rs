//! From one connection of a session to the next.
//!
//! What may be sent again is, with what it takes to do no harm twice; of everything else the
//! caller learns that its fate is unknown (`environments` section 6). What waits in the lanes was
//! not sent and simply goes on waiting.

use std::sync::Arc;

use farstep_protocol::caller::Caller;
use farstep_protocol::frame;
use farstep_protocol::method::process::{READ, ReadParams, ReadResult};
use farstep_transport::Wire;
use futures_util::FutureExt as _;

use super::super::Link;
use super::super::call::{CallError, Command, Outcome, Purpose};
use super::probe::Watch;
use super::{Call, Driver, Pending, SessionId};

/// How much output the first page after a loss may bring: the first lines do not wait for
/// megabytes, and over a link that breaks again and again something gets through each time.
pub(super) const PAGE_BYTES_FIRST: u64 = 64 << 10;

/// How much a page may bring when those before it arrived, each twice as large as the last. Large
/// enough that a round trip costs little.
const PAGE_BYTES_MAX: u64 = 1 << 20;

impl<W: Wire> Driver<W> {
    /// The session to be taken up again.
    pub(crate) fn session(&self) -> SessionId {
        self.session.id.clone()
    }

    /// What everybody else may know of the connection.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Settles what the lost connection leaves behind.
    pub(crate) fn suspend(&mut self, reason: &str) {
        self.link.recover(true);
        // All of it carries ids of the old connection, and the requests we refused are gone too.
        self.own.clear();
        self.ending = 0;
        self.unwanted.extend(self.session.streams.suspend());
        // In the order they were sent: two writes to one process must not change places.
        let mut sent: Vec<_> = self.waiting.drain().collect();
        sent.sort_unstable_by_key(|(ticket, _)| *ticket);
        for (_, pending) in sent {
            match pending {
                Pending::Call(call) => self.again.extend(repeated(call, reason)),
                Pending::End(id) => self.unwanted.push(id),
                Pending::Page(_) | Pending::Probe => {}
            }
        }
    }

    /// Goes on over another wire, whose handshake took the session up again.
    pub(crate) fn resume(&mut self, wire: W, caller: Caller<u64>) {
        self.watch = Watch::over(&wire);
        self.wire = Some(wire);
        self.caller = caller;
        // Whatever was thought of the connection before it.
        let _ = self.link.doubted().now_or_never();
        self.page_bytes = PAGE_BYTES_FIRST;
        for id in std::mem::take(&mut self.unwanted) {
            self.end(&id);
        }
        for (id, after) in self.session.streams.resume() {
            self.read_page(id, after);
        }
        self.link.recover(false);
    }

    fn read_page(&mut self, id: Arc<str>, after: u64) {
        self.last_ticket += 1;
        let Ok(request) = self.caller.register(self.last_ticket) else {
            let reason = "the executor answers nothing";
            let delivered = self.session.streams.cannot_catch_up(&id, reason);
            return self.act_on(delivered);
        };
        let params = ReadParams {
            process_id: (&*id).into(),
            after_seq: after,
            max_bytes: Some(self.page_bytes),
            wait_ms: 0,
        };
        let mut text = String::new();
        frame::request(&mut text, &request, READ, &params);
        self.waiting.insert(self.last_ticket, Pending::Page(id));
        self.say(text);
    }

    pub(super) fn take_page(&mut self, id: &Arc<str>, outcome: Outcome) {
        let page = outcome.and_then(|reply| {
            let page: ReadResult<'_> = reply.parse(READ)?;
            Ok(self.session.streams.catch_up(id, &page))
        });
        match page {
            Ok(page) => {
                self.page_bytes = (2 * self.page_bytes).min(PAGE_BYTES_MAX);
                self.act_on(page.delivered);
                if let Some(after) = page.read_after {
                    self.read_page(Arc::clone(id), after);
                }
            }
            Err(error) => {
                let delivered = self.session.streams.cannot_catch_up(id, &error.to_string());
                self.act_on(delivered);
            }
        }
    }
}

/// What becomes of a call whose connection ended before its reply.
fn repeated(call: Call, reason: &str) -> Option<Command> {
    let Call { waiting, again, .. } = call;
    match again {
        // A write whose caller went away goes on: those behind it count on it.
        Some(again) if !waiting.reply.is_closed() || is_write(&waiting.purpose) => Some(Command {
            encode: again.encode,
            waiting,
            room: again.room,
        }),
        _ => {
            let reason = reason.to_owned();
            waiting.end(Err(CallError::Lost { reason }));
            None
        }
    }
}

fn is_write(purpose: &Purpose) -> bool {
    matches!(purpose, Purpose::Write { .. })
}
