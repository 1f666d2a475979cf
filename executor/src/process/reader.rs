//! One output of a process, read in pieces worth sending.
//!
//! The first output goes out at once. A program that writes line after line is then given a
//! millisecond to write some more before it is read again, and meanwhile its writes wake nobody.
//! That is for programs that talk by themselves: one that answers its input, a terminal, and a
//! stream of large pieces are never held up.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use farstep_protocol::method::process::OutputStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::os::{Output, READ_MAX, Read};

/// A piece below this is worth waiting for company.
const SMALL: usize = 1024;
/// So many small pieces right behind each other make a program a chatty one.
const RUN: u32 = 4;
/// How close "right behind each other" is, and how long to wait for more.
const PAUSE: Duration = Duration::from_millis(1);
/// Half of what an ordinary pipe holds: whoever writes so much at a time profits from a larger
/// one, and must not be held up without.
const FILLS_PIPE: usize = 32 * 1024;
/// From here on a stream is fast: its pieces are read to where they stay.
const BULK: usize = 16 * 1024;
/// Where a fast stream is read to, piece behind piece.
const SLAB: usize = 4 * READ_MAX;
/// A piece below this is copied out even so: it must not keep a whole slab alive.
const COPIED: usize = 4 * 1024;
/// A stream that was fast has become slow when so many pieces in a row were copied.
const SLOWED_DOWN: u32 = 16;

thread_local! {
    /// Small pieces pass through here: what is kept of them is exactly as long as they are.
    static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}
/// What an ordinary pipe can hold at most.
const SCRATCH_LEN: usize = 64 * 1024;

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
    /// Set while the program is given time to write some more.
    pause: Option<Pin<Box<Sleep>>>,
    run: u32,
    last_read: Instant,
    /// The count of writes to the program when it was read last.
    last_input: u64,
    /// Where a fast stream goes; `None` while it is not.
    slab: Option<BytesMut>,
    small_in_slab: u32,
}

impl Reader {
    pub(super) fn new(output: Output, stream: OutputStream) -> Reader {
        Reader {
            output,
            stream,
            pause: None,
            run: 0,
            last_read: Instant::now(),
            last_input: 0,
            slab: None,
            small_in_slab: 0,
        }
    }

    pub(super) fn stream(&self) -> OutputStream {
        self.stream
    }

    pub(super) fn is_ended(&self) -> bool {
        self.output.is_ended()
    }

    pub(super) fn close(&mut self) {
        self.pause = None;
        self.output.close();
    }

    /// The next piece. `input` counts the writes to the program: what comes after one is an
    /// answer. Cancel-safe: a piece that was read is returned by the same poll.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>, input: u64) -> Poll<Piece> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
            match self.read_with(|output, buffer| output.read_now(buffer)) {
                Some(piece) => {
                    self.after_pause(&piece);
                    return Poll::Ready(piece);
                }
                None => self.run = 0,
            }
        }
        let piece = self.read_with(|output, buffer| match output.poll_read(cx, buffer) {
            Poll::Ready(read) => read,
            Poll::Pending => Ok(Read::Nothing),
        });
        match piece {
            Some(piece) => {
                self.after_event(&piece, input);
                Poll::Ready(piece)
            }
            None => Poll::Pending,
        }
    }

    /// What is there right now, whether it was to be waited for or not.
    pub(super) fn take_now(&mut self) -> Option<Piece> {
        self.pause = None;
        self.read_with(|output, buffer| output.read_now(buffer))
    }

    /// Reads into the right place and cuts out what was read.
    fn read_with(
        &mut self,
        read: impl FnOnce(&mut Output, &mut BytesMut) -> io::Result<Read>,
    ) -> Option<Piece> {
        let output = &mut self.output;
        let outcome = match &mut self.slab {
            Some(slab) => {
                if slab.capacity() < READ_MAX / 2 {
                    *slab = BytesMut::with_capacity(SLAB);
                }
                read(output, slab).map(|read| cut(&read, slab))
            }
            None => SCRATCH.with_borrow_mut(|scratch| {
                scratch.reserve(SCRATCH_LEN);
                let piece = read(output, scratch).map(|read| copy(&read, scratch));
                scratch.clear();
                piece
            }),
        };
        outcome.unwrap_or_else(|error| {
            tracing::warn!(%error, "the output of a program cannot be read");
            Some(Piece::End)
        })
    }

    fn after_event(&mut self, piece: &Piece, input: u64) {
        let Piece::Bytes(bytes) = piece else {
            return;
        };
        self.follow_speed(bytes.len());
        if bytes.len() >= SMALL || self.output.is_terminal() {
            self.run = 0;
            return;
        }
        let now = Instant::now();
        let is_answer = std::mem::replace(&mut self.last_input, input) != input;
        let close = now.duration_since(std::mem::replace(&mut self.last_read, now)) < PAUSE;
        self.run = if close && !is_answer { self.run + 1 } else { 1 };
        if self.run >= RUN {
            self.output.disarm();
            self.pause = Some(Box::pin(sleep(PAUSE)));
        }
    }

    fn after_pause(&mut self, piece: &Piece) {
        let Piece::Bytes(bytes) = piece else {
            return;
        };
        let enlarged = self.follow_speed(bytes.len());
        let fast = if enlarged { READ_MAX } else { FILLS_PIPE };
        if bytes.len() < fast {
            self.pause = Some(Box::pin(sleep(PAUSE)));
        } else {
            self.run = 0;
        }
    }

    /// Makes room for a fast stream, and gives it up for a slow one. Says whether the pipe is
    /// large.
    fn follow_speed(&mut self, len: usize) -> bool {
        if len < COPIED && self.slab.is_some() {
            self.small_in_slab += 1;
            if self.small_in_slab >= SLOWED_DOWN {
                self.slab = None;
            }
        } else {
            self.small_in_slab = 0;
        }
        if len >= BULK && self.slab.is_none() {
            self.slab = Some(BytesMut::new());
        }
        if len >= FILLS_PIPE {
            self.output.enlarge();
        }
        self.output.is_enlarged()
    }
}

/// Large pieces stay where they are, and the slab goes on behind them.
fn cut(read: &Read, slab: &mut BytesMut) -> Option<Piece> {
    match read {
        Read::Some(count) if *count < COPIED => {
            let piece = Bytes::copy_from_slice(slab);
            slab.clear();
            Some(Piece::Bytes(piece))
        }
        Read::Some(_) => Some(Piece::Bytes(slab.split().freeze())),
        Read::Nothing => None,
        Read::End => Some(Piece::End),
    }
}

fn copy(read: &Read, scratch: &BytesMut) -> Option<Piece> {
    match read {
        Read::Some(_) => Some(Piece::Bytes(Bytes::copy_from_slice(scratch))),
        Read::Nothing => None,
        Read::End => Some(Piece::End),
    }
}
