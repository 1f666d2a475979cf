//! A session as its one connection holds it: where the events of its processes come out.
//!
//! Processes queue up when they have something to say; each one in turn is given one event, so a
//! process that never stops does not silence the others. The event is taken from its log and made
//! a message here, outside every lock, when the connection has room for it and not before.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use farstep_protocol::frame;
use farstep_protocol::method::initialize::SessionTerms;
use farstep_protocol::method::process::{CLOSED, ClosedParams, EXITED, ExitedParams};
use farstep_protocol::output::Event;
use farstep_transport::Text;
use tokio::time::Sleep;

use crate::process::{Held, Process, Table};
use crate::session::{Attachment, SessionId};

/// How long a resumed client is given to read what it missed. Until then the output it may lack is
/// kept, and a process that would push it out waits.
pub(crate) const CATCH_UP: Duration = Duration::from_secs(30);

/// A session while it is attached. Dropping it detaches the session.
#[derive(Debug)]
pub(crate) struct Attached {
    attachment: Attachment<Table>,
    /// Runs while a resumed client may still be catching up.
    catching_up: Option<std::pin::Pin<Box<Sleep>>>,
}

impl Attached {
    pub(crate) fn opened(attachment: Attachment<Table>) -> Attached {
        Attached {
            attachment,
            catching_up: None,
        }
    }

    /// Events go on from this moment; what was missed is there to be read. In a durable session
    /// there are none: everything is read.
    pub(crate) fn resumed(attachment: Attachment<Table>) -> Attached {
        if attachment.terms().is_some() {
            return Attached::opened(attachment);
        }
        attachment.content().attach();
        Attached {
            attachment,
            catching_up: Some(Box::pin(tokio::time::sleep(CATCH_UP))),
        }
    }

    /// The terms of a durable session, as they were when it was attached.
    pub(crate) fn terms(&self) -> Option<SessionTerms> {
        self.attachment.terms()
    }

    pub(crate) fn id(&self) -> &SessionId {
        self.attachment.id()
    }

    pub(crate) fn session(&self) -> &Arc<Table> {
        self.attachment.content()
    }

    /// The next thing a process says, as a message; `None` when there is nothing, and then the
    /// task is woken when there is.
    pub(crate) fn next_event(&mut self, cx: &mut Context<'_>) -> Option<Text> {
        self.release_pins(cx);
        let queue = self.session().ready();
        loop {
            let Poll::Ready(process) = queue.poll_next(cx) else {
                return None;
            };
            // A process may have been queued for an event that was taken with the one before.
            if let Some(event) = process.take_event() {
                let message = message(&process, &event);
                queue.put_back(process);
                return Some(message);
            }
        }
    }

    fn release_pins(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = &mut self.catching_up
            && timer.as_mut().poll(cx).is_ready()
        {
            self.catching_up = None;
            self.session().release_pins();
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Before the attachment goes: the next connection must find the table detached. The table
        // of a durable session always is.
        if self.terms().is_none() {
            self.session().detach();
        }
    }
}

fn message(process: &Process, event: &Event<Held>) -> Text {
    let id = process.id();
    let mut out = String::new();
    match event {
        Event::Output(chunk) => {
            let mut fetched = Vec::new();
            // What waits to be taken is not stored, so this does not fail; if it did, an empty
            // piece would keep the numbers whole.
            let bytes = chunk.bytes.load(&mut fetched).unwrap_or_else(|error| {
                tracing::error!(%error, "stored output is lost");
                &[]
            });
            frame::process_output(&mut out, id, chunk.seq, chunk.stream, bytes)
        }
        Event::Exited { seq, exit } => {
            let params = ExitedParams {
                process_id: id.into(),
                seq: *seq,
                exit_code: exit.code.into(),
                sandbox_denied: Some(exit.sandbox_denied),
            };
            frame::notification(&mut out, EXITED, &params);
        }
        Event::Closed { seq } => {
            frame::notification(
                &mut out,
                CLOSED,
                &ClosedParams {
                    process_id: id.into(),
                    seq: *seq,
                },
            );
        }
    }
    out.into()
}
