//! One output of a process, read in pieces worth sending.
//!
//! The first output goes out at once. A program that writes piece after piece is then given a
//! millisecond to write some more before it is read again, and meanwhile its writes wake nobody.
//! That is for programs that talk by themselves: one that answers its input, a terminal, and a
//! stream that would fill its pipe in that time are never held up.
//!
//! ```text
//!            ┌──── a run of small pieces ────┐
//!            │                               ▼
//!   wait for an event ◀── nothing came ── pause ◀──┐
//!            ▲                               │     │ something came
//!            └──── more than a pipe holds ── drain ┘
//! ```

mod buffer;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use farstep_protocol::method::process::OutputStream;
use tokio::time::{Instant, Sleep, sleep};

use self::buffer::Buffer;
use crate::os::{Output, Read};

/// Half of what an ordinary pipe holds: whoever writes so much at a time profits from a larger
/// one. Pieces below are worth waiting for company.
const FILLS_PIPE: usize = 32 * 1024;
/// So many small pieces right behind each other make a program a chatty one.
const RUN: u32 = 4;
/// The same for one that was too fast for pauses a moment ago.
const RUN_OF_A_FAST_ONE: u32 = 1024;
/// How close "right behind each other" is, and how long to wait for more.
const PAUSE: Duration = Duration::from_millis(1);
/// Most of what a pipe holds, ordinary and enlarged: if that much came in one pause the program
/// was held up, or nearly, and it needs no help to write large pieces.
const NEARLY_FULL: usize = 56 * 1024;
const NEARLY_FULL_ENLARGED: usize = 896 * 1024;

/// What was read.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Bytes),
    End,
}

/// Owns the output and decides when to read it.
#[derive(Debug)]
pub(super) struct Reader {
    output: Output,
    stream: OutputStream,
    buffer: Buffer,
    phase: Phase,
    /// Small pieces right behind each other so far, and how many of them are enough for a pause.
    run: u32,
    run_max: u32,
    last_read: Instant,
    /// The count of writes to the program when it was read last.
    last_input: u64,
}

#[derive(Debug)]
enum Phase {
    /// The next byte wakes us.
    Watching,
    /// The program is given time to write some more.
    Pausing(Pin<Box<Sleep>>),
    /// What came in the pause is read: so much until now.
    Draining(usize),
}

impl Reader {
    pub(super) fn new(output: Output, stream: OutputStream) -> Reader {
        Reader {
            output,
            stream,
            buffer: Buffer::default(),
            phase: Phase::Watching,
            run: 0,
            run_max: RUN,
            last_read: Instant::now(),
            last_input: 0,
        }
    }

    pub(super) fn stream(&self) -> OutputStream {
        self.stream
    }

    pub(super) fn is_ended(&self) -> bool {
        self.output.is_ended()
    }

    pub(super) fn close(&mut self) {
        self.phase = Phase::Watching;
        self.buffer = Buffer::default();
        self.output.close();
    }

    /// Makes sure that the next piece has somewhere to go: where earlier ones were that are gone
    /// by now, if it is a large one.
    pub(super) fn prepare<I: Iterator<Item = Bytes>>(&mut self, evicted: impl FnOnce() -> I) {
        self.buffer.prepare(evicted);
    }

    /// The next piece, of at most `max` bytes. `input` counts the writes to the program: what comes
    /// after one is an answer. Cancel-safe: a piece that was read is returned by the same poll.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        input: u64,
        max: usize,
    ) -> Poll<Piece> {
        loop {
            match &mut self.phase {
                Phase::Pausing(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    self.phase = Phase::Draining(0);
                }
                Phase::Draining(drained) => {
                    let drained = *drained;
                    if drained >= self.nearly_full() {
                        self.phase = Phase::Watching;
                        self.run = 0;
                        self.run_max = RUN_OF_A_FAST_ONE;
                    } else if let Some((piece, more)) = self.read_now(max) {
                        let drained = drained + self.note(&piece);
                        if more || drained >= self.nearly_full() {
                            self.phase = Phase::Draining(drained);
                        } else {
                            // Not until there is nothing: a program that writes all the time
                            // would keep us reading crumbs.
                            self.pause();
                        }
                        return Poll::Ready(piece);
                    } else if drained > 0 {
                        self.pause();
                    } else {
                        self.phase = Phase::Watching;
                        self.run = 0;
                    }
                }
                Phase::Watching => {
                    let output = &mut self.output;
                    let read = self
                        .buffer
                        .read(max, |space| output.poll_read(cx, space, max));
                    let piece = ready!(read);
                    let piece = understand(piece).map_or(Piece::End, |(piece, _)| piece);
                    let len = self.note(&piece);
                    self.after_event(len, input);
                    return Poll::Ready(piece);
                }
            }
        }
    }

    /// What is there right now, at most `max` bytes, whether it was to be waited for or not.
    pub(super) fn take_now(&mut self, max: usize) -> Option<Piece> {
        self.phase = Phase::Watching;
        self.read_now(max).map(|(piece, _)| piece)
    }

    /// A piece if there is one, and whether there may be more behind it.
    fn read_now(&mut self, max: usize) -> Option<(Piece, bool)> {
        let output = &mut self.output;
        match self
            .buffer
            .read(max, |space| Poll::Ready(output.read_now(space, max)))
        {
            Poll::Ready(piece) => understand(piece),
            Poll::Pending => None,
        }
    }

    fn after_event(&mut self, len: usize, input: u64) {
        if len == 0 || len >= FILLS_PIPE || self.output.is_terminal() {
            self.run = 0;
            return;
        }
        let now = Instant::now();
        let is_answer = std::mem::replace(&mut self.last_input, input) != input;
        let close = now.duration_since(std::mem::replace(&mut self.last_read, now)) < PAUSE;
        if close && !is_answer {
            self.run += 1;
        } else {
            self.run = 1;
            self.run_max = RUN;
        }
        if self.run >= self.run_max {
            self.run_max = RUN;
            self.pause();
        }
    }

    fn pause(&mut self) {
        self.output.disarm();
        self.phase = Phase::Pausing(Box::pin(sleep(PAUSE)));
    }

    fn nearly_full(&self) -> usize {
        if self.output.is_enlarged() {
            NEARLY_FULL_ENLARGED
        } else {
            NEARLY_FULL
        }
    }

    /// Adapts to the size of pieces.
    fn note(&mut self, piece: &Piece) -> usize {
        let Piece::Bytes(bytes) = piece else {
            return 0;
        };
        if bytes.len() >= FILLS_PIPE {
            self.output.enlarge();
        }
        self.buffer.note(bytes.len());
        bytes.len()
    }
}

/// A piece, and whether there may be more behind it. An output that cannot be read is at its end.
fn understand(piece: io::Result<(Read, Bytes)>) -> Option<(Piece, bool)> {
    match piece {
        Ok((Read::Some, bytes)) => Some((Piece::Bytes(bytes), false)),
        Ok((Read::Filled, bytes)) => Some((Piece::Bytes(bytes), true)),
        Ok((Read::Nothing, _)) => None,
        Ok((Read::End, _)) => Some((Piece::End, false)),
        Err(error) => {
            tracing::warn!(%error, "the output of a program cannot be read");
            Some((Piece::End, false))
        }
    }
}
