//! What a driver says: which message is next, and which is not said at all.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use farstep_protocol::frame;
use farstep_protocol::method::process::{TERMINATE, TerminateParams};
use farstep_transport::{Text, Wire, WireError};
use futures_util::SinkExt;

use super::super::call::{CallError, Command, Purpose};
use super::{Again, BATCH, Call, Driver, Pending};

/// Calls under way at once, as many as executors allow a connection. Beyond it the lanes wait;
/// control does not.
const CALLS_MAX: usize = 1024;

/// Our own messages that may wait for the wire. A peer that makes us say more without taking any
/// of it gets no more answers.
const OWN_MAX: usize = 1024;

impl<W: Wire> Driver<W> {
    /// Asks for the end of a process without waiting for it.
    pub(super) fn end(&mut self, id: &str) {
        self.last_ticket += 1;
        let Ok(request) = self.caller.register(self.last_ticket) else {
            tracing::warn!(process = id, "executor answers nothing, process left to it");
            return;
        };
        self.waiting
            .insert(self.last_ticket, Pending::End(id.into()));
        self.ending += 1;
        let params = TerminateParams {
            process_id: id.into(),
        };
        let mut text = String::new();
        frame::request(&mut text, &request, TERMINATE, &params);
        self.say(text);
    }

    pub(super) fn say(&mut self, text: String) {
        if self.own.len() < OWN_MAX {
            self.own.push_back(Text::from(text));
        }
    }

    /// Sends what waits. Ready when all of it is on its way.
    pub(super) fn poll_outbound(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        for _ in 0..BATCH {
            let Some(wire) = &mut self.wire else {
                return Poll::Pending;
            };
            ready!(wire.poll_ready_unpin(cx))?;
            let message = self.poll_message(cx);
            let Some(wire) = &mut self.wire else {
                return Poll::Pending;
            };
            match message {
                Poll::Ready(text) => {
                    self.sent += text.len() as u64;
                    wire.start_send_unpin(text)?;
                }
                Poll::Pending => return wire.poll_flush_unpin(cx),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The next message to send.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Text> {
        if let Some(text) = self.own.pop_front() {
            return Poll::Ready(text);
        }
        loop {
            let command = ready!(self.poll_command(cx));
            if let Some(text) = self.open(command) {
                return Poll::Ready(text);
            }
        }
    }

    fn poll_command(&mut self, cx: &mut Context<'_>) -> Poll<Command> {
        if let Some(command) = self.again.pop_front() {
            return Poll::Ready(command);
        }
        if let Poll::Ready(Some(command)) = self.lanes.control.poll_recv(cx) {
            return Poll::Ready(command);
        }
        if !self.has_room() {
            // The next reply makes room and another turn.
            return Poll::Pending;
        }
        for lane in [&mut self.lanes.small, &mut self.lanes.bulk] {
            if let Poll::Ready(Some(command)) = lane.poll_recv(cx) {
                return Poll::Ready(command);
            }
        }
        Poll::Pending
    }

    /// Whether another call may be under way; forgets those nobody waits for if need be.
    fn has_room(&mut self) -> bool {
        if self.waiting.len() - self.ending < CALLS_MAX {
            return true;
        }
        let caller = &mut self.caller;
        self.waiting.retain(|_, pending| match pending {
            Pending::Call(call) if call.waiting.is_given_up() => {
                caller.abandon(&call.id);
                false
            }
            Pending::Call(_) | Pending::End(_) | Pending::Page(_) | Pending::Probe => true,
        });
        self.waiting.len() - self.ending < CALLS_MAX
    }

    /// Files a call and writes its request; `None` when there is nothing to send.
    fn open(&mut self, command: Command) -> Option<Text> {
        let Command {
            encode,
            waiting,
            room,
        } = command;
        // Whoever stopped waiting before it was sent wants it not to happen.
        if waiting.reply.is_closed() {
            return None;
        }
        if let Purpose::Start { id, inbox } = &waiting.purpose {
            let followed = (Arc::clone(id), Arc::clone(inbox));
            if self.session.streams.open(followed.0, followed.1).is_err() {
                let reason = format!("process id `{id}` is in use");
                waiting.end(Err(CallError::NotSent { reason }));
                return None;
            }
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let id = match self.caller.register(ticket) {
            Ok(id) => id,
            Err(error) => {
                let reason = error.to_string();
                waiting.end(Err(CallError::NotSent { reason }));
                return None;
            }
        };
        let mut text = String::new();
        encode(&mut text, &id);
        // What is not repeated is the wire's now, and the next big message may queue up.
        let repeatable = waiting.purpose.is_repeatable();
        let again = repeatable.then_some(Again { encode, room });
        let call = Call { id, waiting, again };
        self.waiting.insert(ticket, Pending::Call(call));
        Some(Text::from(text))
    }

    /// Nothing queued will be sent, and nothing more is taken in.
    pub(super) fn refuse_queued(&mut self, reason: &str) {
        let lanes = &mut self.lanes;
        for lane in [&mut lanes.control, &mut lanes.small, &mut lanes.bulk] {
            lane.close();
            while let Ok(command) = lane.try_recv() {
                let reason = reason.to_owned();
                command.waiting.end(Err(CallError::NotSent { reason }));
            }
        }
    }
}
