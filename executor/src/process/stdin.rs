//! What a program is still to read: one queue, in the order of arrival.
//!
//! A write is *accepted* as soon as no more than [`UNREAD_MAX`] bytes up to and including it wait
//! for the program; until then its caller waits, and nobody else. Each write has an id, and an id
//! that was seen is not written again.

mod ids;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use tokio::sync::oneshot;

pub use self::ids::REMEMBERED;
use self::ids::{WriteId, WriteIds};
use super::Process;
use crate::os::Input;

/// Input a program has not read yet. More is not refused: its writer waits.
pub const UNREAD_MAX: usize = 4 * 1024 * 1024;

/// Who has more than this to write when a pipe is full is given a larger one.
const WORTH_ENLARGING: usize = 16 * 1024;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteStatus {
    /// It will reach the program, or has before under the same id.
    Accepted,
    /// The program has no input, or none any more.
    StdinClosed,
}

/// A write that was begun.
#[derive(Debug)]
pub enum Write {
    Done(WriteStatus),
    /// The program does not read; wait for it elsewhere than on the way of other calls.
    Waiting(PendingWrite),
}

/// A write that waits for room. Dropped before the program has read of it, it never happened.
#[derive(Debug)]
pub struct PendingWrite {
    process: Arc<Process>,
    ticket: u64,
    answer: oneshot::Receiver<WriteStatus>,
}

impl PendingWrite {
    pub(super) fn new(process: Arc<Process>, waiting: Waiting) -> PendingWrite {
        PendingWrite {
            process,
            ticket: waiting.ticket,
            answer: waiting.answer,
        }
    }
}

impl Future for PendingWrite {
    type Output = WriteStatus;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WriteStatus> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        // Without an answer the process is gone together with its input.
        Poll::Ready(answer.unwrap_or(WriteStatus::StdinClosed))
    }
}

impl Drop for PendingWrite {
    fn drop(&mut self) {
        self.answer.close();
        self.process.abandon_write(self.ticket);
    }
}

/// How a write began, before anybody owns the waiting.
#[derive(Debug)]
pub(super) enum Begun {
    Done(WriteStatus),
    Waiting(Waiting),
}

#[derive(Debug)]
pub(super) struct Waiting {
    ticket: u64,
    answer: oneshot::Receiver<WriteStatus>,
}

/// The input of one process.
#[derive(Debug)]
pub(super) struct Stdin {
    /// `None`: it never had one, or has none any more.
    input: Option<Input>,
    queue: VecDeque<Entry>,
    /// How many entries at the front are accepted, with how many bytes still to be written.
    accepted: usize,
    accepted_bytes: usize,
    seen: WriteIds,
    next_ticket: u64,
    /// Nothing will follow what is in the queue.
    ending: bool,
    pump: Option<Waker>,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    id: WriteId,
    rest: Bytes,
    begun: bool,
    /// Everybody who asked for this id while it waited.
    answers: Vec<oneshot::Sender<WriteStatus>>,
}

impl Stdin {
    pub(super) fn new(input: Option<Input>) -> Stdin {
        Stdin {
            input,
            queue: VecDeque::new(),
            accepted: 0,
            accepted_bytes: 0,
            seen: WriteIds::default(),
            next_ticket: 0,
            ending: false,
            pump: None,
        }
    }

    /// Takes `bytes` in. The position among other writes is decided here and now.
    pub(super) fn begin(&mut self, id: &str, bytes: Bytes) -> Begun {
        let id = WriteId::new(id);
        if self.seen.contains(&id) {
            return self.begin_again(&id);
        }
        if self.input.is_none() || self.ending {
            return Begun::Done(WriteStatus::StdinClosed);
        }
        let len = bytes.len();
        let Ok(rest) = self.write_directly(bytes) else {
            self.close();
            return Begun::Done(WriteStatus::StdinClosed);
        };
        self.seen.insert(id.clone());
        if rest.is_empty() {
            return Begun::Done(WriteStatus::Accepted);
        }
        let begun = rest.len() < len;
        let (ticket, answer) = self.enqueue(id, rest, begun);
        self.accept_what_fits();
        if let Some(pump) = self.pump.take() {
            pump.wake();
        }
        self.waiting(ticket, answer)
    }

    /// Writes as the program reads. To be called whenever the waker of `cx` was woken, as long as
    /// the program runs.
    pub(super) fn pump(&mut self, cx: &mut Context<'_>) {
        while let (Some(input), Some(head)) = (&mut self.input, self.queue.front_mut()) {
            match input.poll_write(cx, &head.rest) {
                Poll::Ready(Ok(count)) => {
                    head.rest.advance(count);
                    head.begun = true;
                    let done = head.rest.is_empty();
                    if self.accepted > 0 {
                        self.accepted_bytes -= count;
                    }
                    self.accept_what_fits();
                    if done {
                        self.queue.pop_front();
                        self.accepted -= 1;
                    }
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a program no longer reads");
                    self.close();
                }
                Poll::Pending => return,
            }
        }
        self.end_if_written();
        // Whoever puts something into the empty queue wakes us.
        match &mut self.pump {
            Some(pump) => pump.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// Ends the input behind what was written to it so far. Saying it again is harmless.
    pub(super) fn end(&mut self) -> WriteStatus {
        if self.input.is_none() && !self.ending {
            return WriteStatus::StdinClosed;
        }
        self.ending = true;
        self.end_if_written();
        WriteStatus::Accepted
    }

    fn end_if_written(&mut self) {
        if self.ending && self.queue.is_empty() {
            self.input = None;
        }
    }

    /// Nothing will be read any more: what was not accepted is answered so and may come again.
    pub(super) fn close(&mut self) {
        self.input = None;
        for entry in self.queue.drain(..).skip(self.accepted) {
            self.seen.forget(&entry.id);
            answer(entry.answers, WriteStatus::StdinClosed);
        }
        self.queue = VecDeque::new();
        self.accepted = 0;
        self.accepted_bytes = 0;
        self.pump = None;
    }

    /// Takes a write back that nobody waits for any more, if the program has read nothing of it.
    pub(super) fn abandon(&mut self, ticket: u64) {
        let waiting = self.queue.range(self.accepted..);
        let Some(at) = waiting.clone().position(|entry| entry.ticket == ticket) else {
            return;
        };
        let at = self.accepted + at;
        let entry = &self.queue[at];
        if !entry.begun && entry.answers.iter().all(oneshot::Sender::is_closed) {
            self.seen.forget(&entry.id.clone());
            self.queue.remove(at);
            self.accept_what_fits();
            self.end_if_written();
        }
    }

    fn begin_again(&mut self, id: &WriteId) -> Begun {
        let mut waiting = self.queue.range_mut(self.accepted..);
        let Some(entry) = waiting.find(|entry| entry.id == *id) else {
            return Begun::Done(WriteStatus::Accepted);
        };
        let (sender, answer) = oneshot::channel();
        entry.answers.push(sender);
        Begun::Waiting(Waiting {
            ticket: entry.ticket,
            answer,
        })
    }

    /// Most programs wait for their input: then no task has to be woken to give it to them.
    fn write_directly(&mut self, mut bytes: Bytes) -> std::io::Result<Bytes> {
        if let (Some(input), true) = (&mut self.input, self.queue.is_empty()) {
            while !bytes.is_empty() {
                match input.write_now(&bytes)? {
                    Some(count) => bytes.advance(count),
                    None if bytes.len() >= WORTH_ENLARGING && input.enlarge() => {}
                    None => break,
                }
            }
        }
        Ok(bytes)
    }

    fn enqueue(
        &mut self,
        id: WriteId,
        rest: Bytes,
        begun: bool,
    ) -> (u64, oneshot::Receiver<WriteStatus>) {
        let (sender, answer) = oneshot::channel();
        self.next_ticket += 1;
        self.queue.push_back(Entry {
            ticket: self.next_ticket,
            id,
            rest,
            begun,
            answers: vec![sender],
        });
        (self.next_ticket, answer)
    }

    fn waiting(&self, ticket: u64, answer: oneshot::Receiver<WriteStatus>) -> Begun {
        let last_accepted = self.accepted.checked_sub(1).map(|at| self.queue[at].ticket);
        if last_accepted >= Some(ticket) {
            Begun::Done(WriteStatus::Accepted)
        } else {
            Begun::Waiting(Waiting { ticket, answer })
        }
    }

    fn accept_what_fits(&mut self) {
        while let Some(entry) = self.queue.get_mut(self.accepted) {
            if self.accepted_bytes + entry.rest.len() > UNREAD_MAX {
                return;
            }
            self.accepted_bytes += entry.rest.len();
            self.accepted += 1;
            answer(std::mem::take(&mut entry.answers), WriteStatus::Accepted);
        }
    }
}

fn answer(waiting: Vec<oneshot::Sender<WriteStatus>>, status: WriteStatus) {
    for sender in waiting {
        // Who does not wait any more does not need to know.
        let _ = sender.send(status);
    }
}
