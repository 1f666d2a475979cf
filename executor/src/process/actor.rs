//! The task that owns one child from its start to its close.
//!
//! It ends when the process is closed: the program has ended and either both outputs have, or the
//! process was terminated and what its output still held was read. Every descriptor is closed by
//! then. Aborting the task drops the child, and with it the group is killed.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use farstep_protocol::method::process::OutputStream;

use super::Process;
use super::reader::{Piece, Reader};
use crate::os::{ExitWatch, Output};

/// What is read at most from one output of a terminated process: more than a pipe holds, and an
/// end, should a survivor go on writing.
const LAST_WORDS_MAX: usize = 2 * 1024 * 1024;
/// What a process is said to have answered whose end was taken from us. Not possible as long as
/// nobody else in this program waits for children.
const UNKNOWN_EXIT: i32 = 255;

/// Told the exit code of a program, once, when it has ended.
pub struct WhenEnded(Box<dyn FnOnce(i32) + Send + Sync>);

impl WhenEnded {
    pub fn new(tell: impl FnOnce(i32) + Send + Sync + 'static) -> WhenEnded {
        WhenEnded(Box::new(tell))
    }
}

impl fmt::Debug for WhenEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WhenEnded")
    }
}

/// The task, before it runs. It holds the parts of a child that nobody else touches.
pub(super) struct Actor {
    process: Arc<Process>,
    exit: Option<ExitWatch>,
    stdout: Reader,
    stderr: Option<Reader>,
    stderr_first: bool,
    when_ended: Option<WhenEnded>,
}

enum Happened {
    Exited(i32),
    Stdout(Piece),
    Stderr(Piece),
    Room,
}

impl Actor {
    pub(super) fn new(
        process: Arc<Process>,
        exit: ExitWatch,
        stdout: Output,
        stderr: Option<Output>,
        when_ended: Option<WhenEnded>,
    ) -> Actor {
        let first = if stdout.is_terminal() {
            OutputStream::Pty
        } else {
            OutputStream::Stdout
        };
        Actor {
            process,
            exit: Some(exit),
            stdout: Reader::new(stdout, first),
            stderr: stderr.map(|output| Reader::new(output, OutputStream::Stderr)),
            stderr_first: false,
            when_ended,
        }
    }

    pub(super) async fn run(mut self) {
        while !self.is_over() {
            match self.next().await {
                Happened::Exited(code) => self.exited(code),
                Happened::Stdout(piece) => record(&self.process, &mut self.stdout, piece),
                Happened::Stderr(piece) => {
                    if let Some(stderr) = &mut self.stderr {
                        record(&self.process, stderr, piece);
                    }
                }
                Happened::Room => {}
            }
        }
        self.process.closed();
    }

    fn is_over(&self) -> bool {
        self.exit.is_none()
            && self.stdout.is_ended()
            && self.stderr.as_ref().is_none_or(Reader::is_ended)
    }

    async fn next(&mut self) -> Happened {
        let process = Arc::clone(&self.process);
        let room = process.has_room();
        let inputs = process.inputs();
        tokio::select! {
            happened = poll_fn(|cx| self.poll(cx, room, inputs)) => happened,
            () = process.wait_room(), if !room => Happened::Room,
        }
    }

    /// Only finds out what happened; state changes in the caller.
    fn poll(&mut self, cx: &mut Context<'_>, room: bool, inputs: u64) -> Poll<Happened> {
        // The end beats output, which may never end; input beats output, because a program that
        // reads nothing may have nothing to say.
        if let Some(exit) = &mut self.exit {
            if let Poll::Ready(code) = exit.poll_exit(cx) {
                return Poll::Ready(Happened::Exited(code.unwrap_or_else(|error| {
                    tracing::error!(%error, "the end of a process is lost");
                    UNKNOWN_EXIT
                })));
            }
            self.process.stdin().pump(cx);
        }
        if !room {
            return Poll::Pending;
        }
        // Neither output may starve the other.
        self.stderr_first = !self.stderr_first;
        for stderr in [self.stderr_first, !self.stderr_first] {
            let reader = if stderr {
                self.stderr.as_mut()
            } else {
                Some(&mut self.stdout)
            };
            if let Some(reader) = reader
                && !reader.is_ended()
            {
                reader.prepare(|| self.process.take_evicted());
                let Poll::Ready(piece) = reader.poll_piece(cx, inputs) else {
                    continue;
                };
                return Poll::Ready(match stderr {
                    true => Happened::Stderr(piece),
                    false => Happened::Stdout(piece),
                });
            }
        }
        Poll::Pending
    }

    fn exited(&mut self, code: i32) {
        self.exit = None;
        if let Some(WhenEnded(tell)) = self.when_ended.take() {
            tell(code);
        }
        self.process.stdin().close();
        let terminated = self.process.was_terminated();
        for reader in [Some(&mut self.stdout), self.stderr.as_mut()]
            .into_iter()
            .flatten()
        {
            if terminated {
                take_last_words(&self.process, reader);
                reader.close();
            } else if self.process.has_room()
                && let Some(piece) = reader.take_now()
            {
                // What it wrote just before its end is most useful before the news of it.
                record(&self.process, reader, piece);
            }
        }
        self.process.exited(code);
    }
}

fn record(process: &Arc<Process>, reader: &mut Reader, piece: Piece) {
    match piece {
        Piece::Bytes(bytes) => process.output(reader.stream(), bytes),
        Piece::End => reader.close(),
    }
}

/// Takes out what was written before the kill, whether the log is full or not: it is little, and
/// would be lost otherwise.
fn take_last_words(process: &Arc<Process>, reader: &mut Reader) {
    let mut taken = 0;
    while taken < LAST_WORDS_MAX
        && let Some(Piece::Bytes(bytes)) = reader.take_now()
    {
        taken += bytes.len();
        process.output(reader.stream(), bytes);
    }
}
